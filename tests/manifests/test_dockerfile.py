"""The image's recipe: two targets that run as nobody, pinned bases, the Makefile's order, models and token where they belong.

No image is built here. What the recipe runs in Python is run where it can be without network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from duplexforge import __version__
from tests.manifests import dockerfile
from tests.manifests.dockerfile import Instruction, Stage
from tests.manifests.kustomize import pod_specs
from tests.manifests.tree import ROOT, deployments, workloads

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8")
ARGUMENTS, STAGES = dockerfile.parse(TEXT)
BY_NAME = {stage.name: stage for stage in STAGES}
FINAL = [BY_NAME["light"], BY_NAME["gpu"]]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    """The versions of requirements.txt by name."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.partition("==") for line in lines if "==" in line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in rows}


# -- stages --------------------------------------------------------------------------------------------------------------


def test_two_targets_and_no_others_are_meant_to_run() -> None:
    assert {stage.name for stage in STAGES if stage.all("ENTRYPOINT")} == {"light", "gpu"}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_bases_are_stages_or_pinned_images(stage: Stage) -> None:
    base = dockerfile.resolved(stage.base, ARGUMENTS)
    if base not in BY_NAME:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[a-z0-9.-]*", base), base
        digests = {name: "sha256:" + "0" * 64 for name in ARGUMENTS if name.endswith("_DIGEST")}
        assert dockerfile.resolved(stage.base, ARGUMENTS | digests) == f"{base}@sha256:{'0' * 64}"


def test_the_python_is_the_one_that_the_project_asks_for() -> None:
    assert ARGUMENTS["PYTHON_IMAGE"].startswith("python:3.11.")
    assert PROJECT["requires-python"] == ">=3.11"


@pytest.mark.parametrize("stage", FINAL, ids=lambda stage: stage.name)
def test_it_runs_as_nobody(stage: Stage) -> None:
    users = [step.rest for step in stage.all("USER")]
    assert users == ["10001:10001"]
    last = [step.word for step in stage.steps if step.word in ("USER", "COPY", "ADD")]
    assert last[-1] == "USER", "what is copied after USER could be written by it"
    # The pods ask for the same number.
    for one in workloads(deployments()).values():
        context = pod_specs(one)[0]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)


@pytest.mark.parametrize("stage", FINAL, ids=lambda stage: stage.name)
def test_the_entry_is_a_list_under_an_init(stage: Stage) -> None:
    (entry,), (default,) = stage.all("ENTRYPOINT"), stage.all("CMD")
    assert entry.words == ["tini", "--", "duplexforge"]
    assert default.words == ["--help"]
    for one in workloads(deployments()).values():
        assert pod_specs(one)[0]["containers"][0]["command"][:3] == entry.words
    installs = " ".join(BY_NAME[stage.name if stage.name == "light" else "gpu-python"].commands())
    assert re.search(r"apt-get install .*\btini\b", installs)


def test_a_shell_form_is_no_list() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        _ = Instruction("ENTRYPOINT", "duplexforge process | tee log").words


@pytest.mark.parametrize("stage", FINAL, ids=lambda stage: stage.name)
def test_labels_tell_the_version(stage: Stage) -> None:
    labels = dict(re.findall(r'(\S+)="([^"]*)"', " ".join(step.rest for step in stage.all("LABEL"))))
    assert labels["org.opencontainers.image.version"] == __version__ == PROJECT["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]
    assert labels["org.opencontainers.image.title"] == f"duplexforge-{stage.name}"


def test_the_pods_images_are_these() -> None:
    images = {pod_specs(one)[0]["containers"][0]["image"] for one in workloads(deployments()).values()}
    assert images == {f"duplexforge-{stage.name}:{__version__}" for stage in FINAL}


# -- what it fetches -----------------------------------------------------------------------------------------------------


def test_nothing_comes_from_a_pipe_or_an_address() -> None:
    for stage in STAGES:
        assert not stage.all("ADD"), "ADD fetches and unpacks"
        for command in stage.commands():
            assert not re.search(r"\b(curl|wget|git clone)\b|https?://|\|\s*(ba)?sh\b", command), command
            assert "|" not in command, "a pipe hides a failure"


def test_packages_are_bound_to_their_pins() -> None:
    for stage in STAGES:
        for command in stage.commands():
            if command.startswith("pip install"):
                pinned = "-c requirements.txt" in command or "==" in command
                assert pinned or command == "pip install --no-deps --force-reinstall .", command
            if command.startswith("apt-get install"):
                assert "--no-install-recommends" in command


def test_extras_are_the_projects_and_tests_stay_out() -> None:
    (light,) = [step.rest for step in BY_NAME["light-build"].all("ARG") if step.rest.startswith("EXTRAS=")]
    gpu = re.search(r'"\.\[(.*?)\]"', " ".join(BY_NAME["gpu-build"].commands()))
    assert gpu
    for extras in (light.partition("=")[2].split(","), gpu[1].split(",")):
        assert set(extras) <= set(PROJECT["optional-dependencies"])
        assert not {"test", "heavy"} & set(extras)
    assert {"download", "upload", "sqs", "autokick", "duplex"} <= set(light.partition("=")[2].split(","))
    assert {"emilia", "gpu", "duplex", "train", "lora"} <= set(gpu[1].split(","))


def order(stage: Stage, *patterns: str) -> list[int]:
    """At which command each pattern is first met."""
    commands = stage.commands()
    return [next(n for n, command in enumerate(commands) if re.search(pattern, command)) for pattern in patterns]


def test_packages_come_in_the_makefiles_order() -> None:
    build = BY_NAME["gpu-build"]
    places = order(
        build, r"requirements\.txt torch$", r"requirements\.txt torchcodec$", r"\.\[emilia,gpu,",
        r"pip uninstall --yes onnxruntime$", r"--no-deps --force-reinstall onnxruntime-gpu", r"torchaudio_mend",
    )  # fmt: skip
    assert places == sorted(set(places))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = [
        makefile.index(text) for text in ("$(PIP) torch\n", "$(PIP) torchcodec\n", "[emilia,cpu", "torchaudio_mend")
    ]
    assert made == sorted(made), "the Makefile has another order now"


def test_both_runtimes_of_onnx_have_one_version() -> None:
    assert pins()["onnxruntime"] == pins()["onnxruntime-gpu"]
    assert "nvidia-cublas-cu12" in PROJECT["optional-dependencies"]["gpu"], "CTranslate2 opens CUDA 12's cuBLAS"


def test_source_comes_after_packages() -> None:
    for name in ("light-build", "gpu-build"):
        steps = BY_NAME[name].steps
        source = next(n for n, step in enumerate(steps) if step.word == "COPY" and step.rest.startswith("src "))
        packages = [n for n, step in enumerate(steps) if step.word == "RUN" and "-c requirements.txt" in step.rest]
        assert max(packages) < source


# -- models and the token --------------------------------------------------------------------------------------------------


def test_the_token_is_a_secret_of_one_step() -> None:
    for stage in STAGES:
        for step in stage.steps:
            if step.word in ("ARG", "ENV", "LABEL"):
                assert not re.search(r"TOKEN|SECRET|PASSWORD|_KEY\b", step.rest), step
    steps = [step for stage in STAGES for step in stage.all("RUN") if "type=secret" in step.rest]
    assert len(steps) == 1
    assert "id=hf_token,env=HF_TOKEN" in steps[0].rest
    assert steps[0].commands[0].startswith("python cache_models.py")


def test_models_are_in_the_image_where_the_pipeline_looks() -> None:
    gpu = BY_NAME["gpu"]
    assert "--from=models /models /app/Emilia/models" in [step.rest for step in gpu.all("COPY")]
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(step.rest for step in gpu.all("ENV"))))
    assert environment["EMILIA_PATH"] == "/app/Emilia"
    assert environment["HF_HUB_OFFLINE"] == "1", "nothing is fetched when a container starts"
    assert environment["PYANNOTE_METRICS_ENABLED"] == "0"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_variables_are_settings_or_known(stage: Stage) -> None:
    from tests.manifests.rules import SETTINGS

    known = SETTINGS | {
        "PATH", "HOME", "TMPDIR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PIP_DISABLE_PIP_VERSION_CHECK",
        "PIP_ROOT_USER_ACTION", "DEBIAN_FRONTEND", "HF_HUB_OFFLINE", "PYANNOTE_METRICS_ENABLED",
        "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    }  # fmt: skip
    for step in stage.all("ENV"):
        assert set(re.findall(r"(\w+)=\S+", step.rest)) <= known


# -- its Python steps, run -------------------------------------------------------------------------------------------------


def python(command: str, *more: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A step of the recipe with this interpreter."""
    words = shlex.split(command.replace("${EMILIA_PRESET}", "emilia"))
    assert words[0] == "python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "EMILIA_"))}
    return subprocess.run(
        [sys.executable, *words[1:], *more], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def fetching() -> list[str]:
    """The commands that have to do with models."""
    return [command for command in BY_NAME["models"].commands() if command.startswith("python cache_models.py")]


def test_the_models_that_would_be_fetched_are_pinned() -> None:
    fetch, _ = fetching()
    told = python(fetch, "--list", "--json")
    assert told.returncode == 0, told.stderr
    import json

    rows = json.loads(told.stdout)
    assert {row["model"] for row in rows} >= {"segmentation-3.0", "faster-whisper-medium", "mdx-inst-hq-3"}
    for row in rows:
        assert "not pinned" not in row["pinned"], row["model"]


def test_the_check_after_fetching_fails_while_a_model_is_missing(tmp_path: Path) -> None:
    fetch, check = fetching()
    assert "--check" in check
    told = python(check.replace("/models", str(tmp_path)))
    assert told.returncode == 69, told.stderr
    assert "faster-whisper-medium  missing" in told.stdout
    assert "--preset" in fetch


def test_the_mend_runs_and_may_find_nothing_to_do() -> None:
    (step,) = [command for command in BY_NAME["gpu-build"].commands() if "torchaudio_mend" in command]
    told = python(step)
    assert (told.returncode, told.stderr) == (0, "")


def test_the_pythons_modules_are_there() -> None:
    (step,) = [command for command in BY_NAME["gpu-python"].commands() if command.startswith("python -c")]
    told = python(step)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("stage", FINAL, ids=lambda stage: stage.name)
def test_the_image_tries_itself(stage: Stage) -> None:
    (command,) = [one for one in stage.commands() if one.startswith("duplexforge")]
    told = python("python -m " + command)
    assert told.stdout == f"duplexforge {__version__}\n"


# -- the ignore file -----------------------------------------------------------------------------------------------------


def test_what_is_copied_is_sent() -> None:
    for stage in STAGES:
        for step in stage.all("COPY"):
            if "--from=" not in step.rest:
                for name in step.rest.split()[:-1]:
                    path = ROOT / name.strip("/")
                    assert path.exists(), name
                    inside = (
                        [one.relative_to(ROOT).as_posix() for one in path.rglob("*.py")] if path.is_dir() else [name]
                    )
                    assert inside
                    assert all(dockerfile.sent(one, IGNORE) for one in inside), name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/duplexforge/cli.py", True),
        ("Emilia/models/whisper.py", True),
        ("Emilia/config.json", True),
        ("pyproject.toml", True),
        ("Emilia/models/faster-whisper-medium/model.bin", False),
        ("Emilia/models/UVR-MDX-NET-Inst_HQ_3.onnx", False),
        ("Emilia/models/models.lock.json", False),
        ("src/duplexforge/__pycache__/cli.cpython-311.pyc", False),
        (".env", False),
        (".git/config", False),
        ("data/raw.mp3", False),
        ("tests/conftest.py", False),
    ],
)
def test_only_what_the_image_is_made_of_is_sent(path: str, expected: bool) -> None:
    assert dockerfile.sent(path, IGNORE) is expected


def test_the_reader_reads() -> None:
    arguments, (first, second) = dockerfile.parse(
        '# a\nARG X=1\nFROM img:${X} AS one\nRUN --mount=type=cache,target=/c a \\\n  # why\n  && b\nFROM one AS two\nCMD ["x"]\n'
    )
    assert arguments == {"X": "1"}
    assert first.commands() == ["a", "b"]
    assert dockerfile.resolved(first.base, arguments) == "img:1"
    assert second.all("CMD")[0].words == ["x"]
