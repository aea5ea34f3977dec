"""``duplexforge doctor``: every defect is named with its cure, and what is well is left in peace."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from duplexforge import doctor
from duplexforge.cli import app
from duplexforge.config import ProcessSettings
from duplexforge.doctor import gpu, packages, paths, weights
from duplexforge.doctor.finding import Finding
from duplexforge.doctor.probe import Facts, look, probe
from duplexforge.errors import ConfigError, ModelError
from duplexforge.processing import emilia
from Emilia import registry
from Emilia.config import load_config
from Emilia.registry import load_registry, write_lock

ROOT = Path(__file__).resolve().parents[2]
EMILIA = ProcessSettings(emilia_preset="emilia")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EMILIA_PATH", "EMILIA_PRESET", "SCRATCH_DIR", "PUBLISH_DIR", "HF_REPO_ID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models' folder in which every file of the preset ``emilia`` has the right size, and nothing in it."""
    folder = tmp_path / "models"
    for model in load_registry().values():
        for file in model.files if not model.package else ():
            place = folder / model.folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as made:
                made.truncate(min(file.size or 0, 1000))
    return folder


def found(folder: Path) -> dict[str, Finding]:
    return {one.check.removeprefix("model: "): one for one in weights.of_preset(EMILIA, folder)}


def test_missing_models_come_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    seen = found(tmp_path / "models")
    assert {name for name, one in seen.items() if one.ok} == {"silero-vad", "dnsmos"}
    assert seen["mdx-inst-hq-3"].cure == "python cache_models.py --models mdx-inst-hq-3"
    assert str(tmp_path / "models" / "UVR-MDX-NET-Inst_HQ_3.onnx") in seen["mdx-inst-hq-3"].seen
    medium = seen["faster-whisper-medium"].seen
    assert medium == f"4 of 4 files in {tmp_path / 'models' / 'faster-whisper-medium'} are missing"


def test_gated_models_come_with_the_page_to_accept(tmp_path: Path) -> None:
    cure = found(tmp_path)["segmentation-3.0"].cure
    assert "accept the conditions on https://huggingface.co/pyannote/segmentation-3.0" in cure
    assert "HF_TOKEN" in cure
    assert cure.endswith("python cache_models.py --models segmentation-3.0")
    assert "accept" not in found(tmp_path)["wespeaker-resnet34-lm"].cure


def test_damaged_models_are_told_from_missing_ones(models: Path) -> None:
    seen = found(models)["wespeaker-resnet34-lm"]
    assert not seen.ok
    assert "has 1000 bytes instead of 26645418" in seen.seen
    os.truncate(models / "speaker-diarization-3.1" / "embedding" / "pytorch_model.bin", 26645418)
    assert "is not the published file" in found(models)["wespeaker-resnet34-lm"].seen


def test_a_right_model_is_well(tmp_path: Path) -> None:
    model = load_registry()["dnsmos"]
    source = registry.packaged(model, model.files[0])
    assert source
    (tmp_path / "sig_bak_ovr.onnx").write_bytes(source.read_bytes())
    assert found(tmp_path)["dnsmos"] == Finding("model: dnsmos", True, "1.2 MB")
    (tmp_path / "sig_bak_ovr.onnx").write_bytes(source.read_bytes()[::-1])
    assert not found(tmp_path)["dnsmos"].ok


@pytest.mark.parametrize("obstacle", ["folder", "dangling link"])
def test_unreadable_models_are_not_cured_by_fetching(tmp_path: Path, obstacle: str) -> None:
    place = tmp_path / "UVR-MDX-NET-Inst_HQ_3.onnx"
    if obstacle == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "gone")
    seen = found(tmp_path)["mdx-inst-hq-3"]
    assert not seen.ok
    assert seen.cure == f"let this user read {place}, or remove what stands in its place"


def test_a_record_nobody_can_read_and_an_unknown_preset(tmp_path: Path) -> None:
    (tmp_path / registry.LOCK).write_text("{")
    with pytest.raises(ConfigError, match="delete it"):
        weights.of_preset(EMILIA, tmp_path)
    with pytest.raises(ConfigError, match="huge"):
        weights.configured(ProcessSettings(emilia_preset="huge"))


def test_the_record_of_an_unpinned_model_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "Emilia"
    shutil.copytree(ROOT / "Emilia", copy, ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.bin"))
    content = json.loads((copy / "config.json").read_text())
    content["models"]["mdx-inst-hq-3"]["files"] = {"UVR-MDX-NET-Inst_HQ_3.onnx": {}}
    (copy / "config.json").write_text(json.dumps(content))
    (copy / "models" / "UVR-MDX-NET-Inst_HQ_3.onnx").write_bytes(b"abc")
    record = {"sha256": "0" * 64, "size": 3}
    write_lock(copy / "models", {"mdx-inst-hq-3": {"revision": "", "files": {"UVR-MDX-NET-Inst_HQ_3.onnx": record}}})
    program = (
        "from duplexforge.config import ProcessSettings; from duplexforge.doctor import weights;"
        "print(weights.of_preset(ProcessSettings(emilia_preset='emilia'))[0].seen)"
    )
    monkeypatch.setenv("EMILIA_PATH", str(copy))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is not the published file" in done.stdout


# -- packages ----------------------------------------------------------------------------------------------------------


def test_presets_want_the_packages_of_their_engines() -> None:
    assert packages.wanted(load_config(None)) == []
    names = packages.wanted(load_config(None, preset="emilia"))
    assert names[0] == "torch"
    assert set(names) == {
        "torch", "torchaudio", "torchcodec", "pyannote.audio", "onnxruntime", "ctranslate2", "faster_whisper",
    }  # fmt: skip


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages that fail on import as real ones do: with a bad library, by killing Python, by hanging on nothing."""
    for name, body in {
        "bad_library": "import ctypes, pathlib\nctypes.CDLL(str(pathlib.Path(__file__).with_name('lib.so')))",
        "killer": "import os\nos.kill(os.getpid(), 11)",
        "chatty": "print('hello from the import')\n__version__ = '1.2'",
        "needy": "import not_there_at_all",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(body)
    (tmp_path / "bad_library" / "lib.so").write_bytes(b"\x7fELF but not really")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    return tmp_path


def test_probe_tells_how_each_import_went(broken: Path) -> None:
    facts = probe(["chatty", "bad_library", "absent", "absent.part", "needy", "json", "killer", "never_reached"])
    assert facts["chatty"] == Facts("1.2")
    assert facts["bad_library"].error.startswith("OSError: ")
    assert "lib.so" in facts["bad_library"].error
    assert facts["absent"] == facts["absent.part"] == Facts(missing=True)
    assert "not_there_at_all" in facts["needy"].error
    assert facts["json"].error == ""
    assert facts["killer"].error == facts["never_reached"].error == "importing it ends Python with code -11"


def test_probe_knows_onnxruntime() -> None:
    facts = look("onnxruntime")
    assert facts.version
    assert "CPUExecutionProvider" in facts.providers


TORCH = Facts("2.13.0+cpu")
TORCHAUDIO = Facts(error="OSError: Could not load this library: /x/torchaudio/lib/_torchaudio.abi3.so\n…")


@pytest.mark.parametrize(
    ("probed", "check", "cure"),
    [
        ({"torch": Facts(missing=True)}, "torch", "pip install -c requirements.txt torch, then "),
        ({"torch": TORCH, "pyannote.audio": Facts(missing=True)}, "pyannote.audio", "'duplexforge[emilia,cpu]'"),
        ({"torch": TORCH, "torchaudio": TORCHAUDIO}, "torchaudio", "python -m Emilia.models.torchaudio_mend"),
        ({"torch": TORCH, "pyannote.audio": TORCHAUDIO}, "pyannote.audio", "python -m Emilia.models.torchaudio_mend"),
        (
            {"torch": replace(TORCH, cuda="13.0"), "torchaudio": TORCHAUDIO},
            "torchaudio",
            "pip install --force-reinstall --no-deps -c requirements.txt torchaudio",
        ),
        (
            {"torchcodec": Facts(error="RuntimeError: libnvrtc.so.13: cannot open shared object file")},
            "torchcodec",
            "-c requirements.txt torchcodec",
        ),
        (
            {"torchcodec": Facts(error="RuntimeError: Could not load libtorchcodec: undefined symbol: _ZN3c104impl")},
            "torchcodec",
            "-c requirements.txt torchcodec",
        ),
    ],
)
def test_broken_packages(probed: dict[str, Facts], check: str, cure: str) -> None:
    *good, bad = packages.of_engines("emilia", probed, gpu=False)
    assert all(one.ok for one in good)
    assert not bad.ok
    assert bad.check == f"package: {check}"
    assert cure in bad.cure


def test_the_gpu_decides_which_onnxruntime_is_named() -> None:
    missing = packages.of_engines("emilia", {"onnxruntime": Facts(missing=True)}, gpu=True)[0]
    assert "'duplexforge[emilia,gpu]'" in missing.cure


def test_torchcodec_without_ffmpeg_is_well_since_nothing_needs_it() -> None:
    error = (
        "RuntimeError: libavutil.so.59: cannot open shared object file\nlibswscale.so.7: cannot open shared object file"
    )
    assert packages.of_engines("emilia", {"torchcodec": Facts(error=error)}, gpu=False)[0].ok


def test_whole_packages_are_one_line() -> None:
    seen = packages.of_engines("emilia", {"torch": TORCH, "torchaudio": Facts("2.11.0")}, gpu=False)
    assert seen == [Finding("packages: preset emilia", True, "torch 2.13.0+cpu, torchaudio 2.11.0")]


# -- the GPU and its libraries -----------------------------------------------------------------------------------------


def driver(tmp_path: Path, gpus: int = 2, version: str = "580.65.06") -> Path:
    """A driver's folder as it is in /proc."""
    for number in range(gpus):
        (tmp_path / "nvidia" / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    words = (
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun Jul 27 06:54:38 UTC 2025\nGCC version: 12\n"
    )
    (tmp_path / "nvidia" / "version").write_text(words)
    return tmp_path / "nvidia"


def test_no_gpu_is_well(tmp_path: Path) -> None:
    assert gpu.present("lite", None, tmp_path / "none") == (Finding("GPU", True, "none; the preset needs none"), False)
    seen, used = gpu.present("emilia", None, tmp_path / "none")
    assert (seen.ok, used) == (True, False)
    assert seen.seen == "none; preset emilia runs on the CPU, slowly"


def test_gpus_of_the_driver(tmp_path: Path) -> None:
    here = driver(tmp_path)
    assert gpu.present("emilia", None, here) == (Finding("GPU", True, "2, driver 580.65.06"), True)
    assert gpu.present("emilia", ["1"], here) == (Finding("GPU", True, "1, driver 580.65.06"), True)
    hidden, used = gpu.present("emilia", [], here)
    assert (hidden.ok, used) == (True, False)
    assert "hidden by CUDA_VISIBLE_DEVICES" in hidden.seen
    wrong, _ = gpu.present("emilia", ["0", "2"], here)
    assert not wrong.ok
    assert "names 2, and the driver shows 2" in wrong.seen
    assert gpu.present("emilia", ["GPU-1f2e"], here)[0].ok


def test_the_open_kernel_module_has_a_version_too(tmp_path: Path) -> None:
    here = driver(tmp_path)
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build  (dvs-builder@U16)\n"
    (here / "version").write_text(line)
    assert gpu.present("emilia", None, here)[0].seen == "2, driver 570.133.20"


def test_a_gpu_that_is_named_and_not_there(tmp_path: Path) -> None:
    seen, used = gpu.present("emilia", ["0"], tmp_path / "none")
    assert not seen.ok
    assert not used
    assert "unset CUDA_VISIBLE_DEVICES" in seen.cure


@pytest.mark.parametrize(
    ("facts", "version", "words", "cure"),
    [
        (Facts("2.13.0+cpu"), "580.65.06", "is a CPU build", "CUDA builds"),
        (Facts("2.13.0", cuda="13.0"), "535.104.05", "driver 535.104.05 is too old", "580 or newer"),
        (Facts("2.13.0", cuda="13.0"), "580.65.06", "finds no GPU", "/dev/nvidia0"),
        (Facts("2.6.0", cuda="12.6"), "535.104.05", "finds no GPU", "/dev/nvidia0"),
    ],
)
def test_torch_without_a_gpu(tmp_path: Path, facts: Facts, version: str, words: str, cure: str) -> None:
    seen = gpu.torch(facts, driver(tmp_path, version=version))
    assert not seen.ok
    assert words in seen.seen
    assert cure in seen.cure


def test_torch_with_a_gpu(tmp_path: Path) -> None:
    assert gpu.torch(Facts("2.13.0", cuda="13.0", gpus=2), driver(tmp_path)).ok


CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("facts", "installed", "words"),
    [
        (Facts("1.31.1", providers=CUDA[1:]), ["onnxruntime"], "is the CPU build"),
        (Facts("1.31.1", providers=CUDA[1:]), ["onnxruntime", "onnxruntime-gpu"], "hides onnxruntime-gpu"),
        (Facts("1.24.4", providers=CUDA, cuda="12.8"), ["onnxruntime-gpu"], "wants CUDA 12, torch brings CUDA 13.0"),
    ],
)
def test_onnxruntime_that_will_not_use_the_gpu(facts: Facts, installed: list[str], words: str) -> None:
    seen = gpu.onnxruntime(facts, "13.0", installed)
    assert not seen.ok
    assert words in seen.seen
    assert "onnxruntime-gpu" in seen.cure
    assert ("pip uninstall -y onnxruntime," in seen.cure) == ("onnxruntime" in installed)


def test_onnxruntime_that_fits() -> None:
    assert gpu.onnxruntime(Facts("1.31.1", providers=CUDA, cuda="13.0"), "13.0", ["onnxruntime-gpu"]).ok
    assert gpu.onnxruntime(Facts("1.31.1", providers=CUDA, cuda="13.0"), "", ["onnxruntime-gpu"]).ok


def test_cublas_is_looked_for_as_the_recogniser_does() -> None:
    assert gpu.cublas(lambda: "/somewhere/libcublas.so.12").seen == "/somewhere/libcublas.so.12"

    def nowhere() -> str:
        raise ModelError("The model libcublasLt.so.12 is missing")

    seen = gpu.cublas(nowhere)
    assert not seen.ok
    assert "libcublasLt.so.12 is missing" in seen.seen
    assert "nvidia-cublas-cu12" in seen.cure


def test_cublas_of_the_pipeline_that_is_missing_is_a_model_error(tmp_path: Path) -> None:
    package = tmp_path / "Emilia"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("API_VERSION = 1\nclass ModelMissing(Exception): ...\n")
    (package / "models" / "__init__.py").touch()
    body = "import Emilia\ndef load_cublas():\n    raise Emilia.ModelMissing('no libcublas')\n"
    (package / "models" / "cublas.py").write_text(body)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "Emilia"}
    try:
        with pytest.raises(ModelError, match="no libcublas"):
            emilia.load_cublas(ProcessSettings(emilia_path=str(package)))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "Emilia"]:
            del sys.modules[name]
        sys.modules.update(before)


def test_only_what_was_imported_is_looked_at(tmp_path: Path) -> None:
    probed = {"torch": Facts("2.13.0", cuda="13.0", gpus=1), "onnxruntime": Facts(error="OSError: …")}
    assert [one.check for one in gpu.libraries(probed, [], str, driver(tmp_path))] == ["torch on the GPU"]
    probed["onnxruntime"] = Facts("1.31.1", providers=CUDA, cuda="12.8")
    seen = gpu.libraries(probed, ["onnxruntime-gpu"], str, driver(tmp_path / "other"))
    assert [one.ok for one in seen] == [True, False]


# -- paths -------------------------------------------------------------------------------------------------------------


def test_emilia_path(tmp_path: Path) -> None:
    assert paths.package(ProcessSettings()).ok
    (tmp_path / "file").write_text("")
    for place in ("absent", "file", "file/below"):
        seen = paths.package(ProcessSettings(emilia_path=str(tmp_path / place)))
        assert not seen.ok
        assert str(tmp_path / place) in seen.seen
        assert "EMILIA_PATH" in seen.cure


@pytest.mark.parametrize("obstacle", ["no configuration", "configuration is a folder", "models is a file", "no models"])
def test_emilia_path_with_something_missing(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "models").mkdir()
    (tmp_path / "config.json").write_text("{}")
    broken = tmp_path / ("config.json" if "configuration" in obstacle else "models")
    if obstacle == "no configuration":
        broken.unlink()
    elif obstacle == "configuration is a folder":
        broken.unlink()
        broken.mkdir()
    else:
        broken.rmdir()
        if obstacle == "models is a file":
            broken.write_text("")
    seen = paths.package(ProcessSettings(emilia_path=str(tmp_path)))
    assert not seen.ok
    assert f"{broken} cannot be read" in seen.seen


def test_scratch(tmp_path: Path) -> None:
    assert paths.scratch(str(tmp_path / "a" / "b")).check == "scratch space"
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "away")
    for place in ("file", "file/below", "link"):
        seen = paths.scratch(str(tmp_path / place))
        assert not seen.ok
        assert f"{tmp_path / place} cannot be written" in seen.seen
        assert "SCRATCH_DIR" in seen.cure


def test_publishing(tmp_path: Path) -> None:
    assert paths.publishing(tmp_path / "made" / "later").ok
    assert not (tmp_path / "made").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for place, named in (("file", "file"), ("file/below", "file"), ("link", "link")):
        seen = paths.publishing(tmp_path / place)
        assert not seen.ok
        assert f"{tmp_path / named} cannot be written" in seen.seen
        assert "PUBLISH_DIR" in seen.cure


AS_NOBODY = """
import os, sys
from pathlib import Path
from duplexforge.config import ProcessSettings
from duplexforge.doctor import paths
os.chdir(sys.argv[1])  # as root: the folders above are for nobody but their owner
os.setgid(65534); os.setuid(65534)
for one in (paths.scratch("closed"), paths.publishing(Path("closed/below"))):
    print(one.ok, one.seen)
"""


def test_folders_that_this_user_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "closed").chmod(0o555)
    if os.getuid() == 0:  # permissions say nothing to root, so a child becomes nobody first
        command = [sys.executable, "-c", AS_NOBODY, str(tmp_path)]
        seen = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    else:
        found = (paths.scratch("closed"), paths.publishing(Path("closed/below")))
        seen = [f"{one.ok} {one.seen}" for one in found]
    assert len(seen) == 2
    assert all(
        line.startswith("False ") and line.endswith("closed cannot be written: Permission denied") for line in seen
    )


# -- as a person meets it ----------------------------------------------------------------------------------------------


def test_cures_keep_their_brackets_and_fit_a_hundred_columns() -> None:
    findings = [
        Finding("packages: upload", False, "pyarrow", "pip install -c requirements.txt 'duplexforge[upload]'"),
        Finding("model: m", False, f"/a/very/{'long/' * 30}path is missing", "python cache_models.py --models m"),
        Finding("GPU", True, "none; the preset needs none"),
    ]
    shown = io.StringIO()
    doctor.show(findings, Console(file=shown, width=100))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["no", "packages:", "upload", "pyarrow"]
    assert lines[1].strip() == "→ pip install -c requirements.txt 'duplexforge[upload]'"
    assert lines[-1].startswith("ok")
    assert "long/path is missing" in shown.getvalue().replace("\n", "").replace(" " * 22, "")


def test_command_names_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCRATCH_DIR", str(tmp_path / "file" / "scratch"))
    monkeypatch.setenv("PUBLISH_DIR", str(tmp_path / "file" / "published"))
    monkeypatch.setenv("EMILIA_PRESET", "huge")
    answer = CliRunner().invoke(app, ["doctor", "--json", "--store", "file://./data"])
    assert answer.exit_code == 78
    wrong = {row["check"]: row for row in json.loads(answer.stdout) if not row["ok"]}
    assert set(wrong) == {"preset huge", "scratch space", "publishing"}
    assert all(row["cure"] for row in wrong.values())


def test_command_when_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = CliRunner().invoke(app, ["doctor", "--json", "--store", "file://./data"])
    rows = {row["check"]: row for row in json.loads(answer.stdout)}
    assert [row for row in rows.values() if not row["ok"]] == []
    assert answer.exit_code == 0
    assert "silero-vad" in rows["pipeline: lite"]["seen"]
    assert rows["model: silero-vad"]["ok"]


def test_command_with_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")
    answer = CliRunner().invoke(app, ["doctor", "--json", "--store", "file://./data"])
    rows = {row["check"]: row for row in json.loads(answer.stdout)}
    assert not rows["GPU"]["ok"]
    assert "pipeline: lite" not in rows  # loaded only once everything it needs is well


# -- roles that not everybody has ------------------------------------------------------------------------------------------


def test_what_training_lacks_is_told_and_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("torch", "peft", "transformers") else name)
    seen = {one.check.removeprefix("packages: "): one for one in packages.of_roles()}
    assert set(seen) == {"download", "process", "upload", "report", "duplex", "train", "lora"}
    assert all(one.ok for one in seen.values())
    assert seen["train"].seen == "without torch: not to be used here"
    assert seen["train"].cure == (
        "pip install -c requirements.txt torch, then pip install -c requirements.txt 'duplexforge[train]'"
    )
    assert seen["duplex"].cure == "pip install -c requirements.txt 'duplexforge[duplex]'"
    assert seen["lora"].seen == "without torch, peft, transformers: not to be used here"
    monkeypatch.setattr(packages, "find_spec", lambda name: name)
    assert {(one.seen, one.cure) for one in packages.of_roles()} == {("all there", "")}


def test_what_every_role_wants_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "av" else name)
    assert {one.check: one.ok for one in packages.of_roles() if not one.ok} == {
        "packages: download": False,
        "packages: process": False,
    }


def test_the_packages_are_those_of_the_extras() -> None:
    import re
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    def named(extra: str) -> set[str]:
        found: set[str] = set()
        for one in extras[extra]:
            inner = re.fullmatch(r"duplexforge\[(.*)\]", one)
            found |= set().union(*map(named, inner[1].split(","))) if inner else {one.replace("-", "_")}
        return found

    for role, names in packages._OPTIONAL.items():
        assert set(names) <= named(role), role
