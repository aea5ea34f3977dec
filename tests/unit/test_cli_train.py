"""``duplexforge train`` and ``duplexforge data`` as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from duplexforge.config import child_environment
from tests.unit.training import made

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command in a folder of its own."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "duplexforge", *map(str, arguments)]
        environment = child_environment(STORE_URL="", **variables)
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_data_speech_writes_a_folder_and_says_what_was_bad(run: Run, tmp_path: Path) -> None:
    source = made.recordings(tmp_path / "in", speakers=3, files=1, seconds=0.5)
    done = run("data", "speech", source, "--out", "speech", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["speakers"] == {"train": 1, "validation": 1, "test": 1}
    (source / "s0" / "bad.mp3").write_bytes(b"nothing")
    done = run("data", "speech", "all=in/*", "--out", "second")
    assert done.returncode == 65
    assert "s0/bad.mp3" in done.stdout or "bad.mp3: " in done.stdout
    assert "too few speakers" in done.stdout


def test_data_speech_refuses_what_is_not_there(run: Run) -> None:
    done = run("data", "speech", "none", "--out", "speech")
    assert (done.returncode, done.stderr) == (2, "duplexforge: there is no file or folder none\n")
    done = run("data", "speech", "x=none/*.wav", "--out", "speech")
    assert (done.returncode, done.stderr) == (2, "duplexforge: nothing matches none/*.wav\n")


def test_train_says_what_is_wrong_with_a_recipe(run: Run, tmp_path: Path) -> None:
    done = run("train", "codec", "--recipe", "none.toml")
    assert done.returncode == 78
    assert "cannot read the recipe none.toml" in done.stderr
    text = made.recipe_text(tmp_path / "speech", tmp_path / "out")
    (tmp_path / "r.toml").write_text(text.replace("warmup_steps", "warmup_step"))
    done = run("train", "codec", "--recipe", "r.toml")
    assert done.returncode == 78
    assert "nothing is called optimizer.warmup_step" in done.stderr
    (tmp_path / "r.toml").write_text(text.replace('"codec"', '"s2s"'))
    done = run("train", "codec", "--recipe", "r.toml")
    assert done.returncode == 2
    assert "is a recipe of the trainer s2s" in done.stderr


@pytest.mark.heavy
def test_train_runs_stops_and_goes_on(run: Run, tmp_path: Path) -> None:
    speech = made.training_folder(tmp_path)
    (tmp_path / "r.toml").write_text(made.recipe_text(speech, tmp_path / "out", epochs=1))
    done = run("train", "codec", "--recipe", "r.toml", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["reason"], said["step"]) == ("done", 3)
    assert (tmp_path / "out" / "token.safetensors").is_file()
    # A second start in the same place would mix two runs.
    done = run("train", "codec", "--recipe", "r.toml")
    assert done.returncode == 78
    assert "--resume auto goes on" in done.stderr
    done = run("train", "codec", "--recipe", "r.toml", "--resume", "auto", "--num-epochs", "2", "--json")
    assert json.loads(done.stdout)["step"] == 6
    done = run("train", "codec", "--recipe", "r.toml", "--resume", "none", "--wandb-project", "p")
    assert done.returncode == 78
    assert "set WANDB_API_KEY" in done.stderr
