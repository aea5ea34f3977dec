"""``duplexforge train base`` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from duplexforge.config import child_environment
from duplexforge.training import recipe
from tests.unit.training import made
from tests.unit.training.test_base import text


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duplexforge", "train", "base", *map(str, arguments)]
    environment = child_environment(STORE_URL="")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_recipe_of_another_trainer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(made.recipe_text(tmp_path / "speech", tmp_path / "out"))
    done = run(tmp_path, "--recipe", "r.toml")
    assert done.returncode == 2
    assert "is a recipe of the trainer codec, not of base" in done.stderr


def test_the_shipped_recipe_is_one() -> None:
    found = recipe.load(Path(__file__).resolve().parents[2] / "examples" / "recipes" / "base.toml")
    assert found.trainer == "base"
    assert found.model["books"] == 5


@pytest.mark.heavy
def test_train_base_writes_weights(tmp_path: Path) -> None:
    made.training_folder(tmp_path, seconds=0.8)
    (tmp_path / "r.toml").write_text(text(tmp_path))
    done = run(tmp_path, "--recipe", "r.toml", "--num-epochs", 1, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["reason"], said["step"]) == ("done", 2)
    assert (tmp_path / "out" / "base.safetensors").is_file()
