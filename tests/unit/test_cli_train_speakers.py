"""``duplexforge train speakers`` as a person types it, and its weights where they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duplexforge.config import child_environment
from duplexforge.training import recipe
from tests.unit.training import made, speakers_made


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duplexforge", *map(str, arguments)]
    environment = child_environment(STORE_URL="")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_recipe_of_another_trainer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(made.recipe_text(tmp_path / "speech", tmp_path / "out"))
    done = run(tmp_path, "train", "speakers", "--recipe", "r.toml")
    assert done.returncode == 2
    assert "is a recipe of the trainer codec, not of speakers" in done.stderr


def test_the_shipped_recipe_is_one() -> None:
    found = recipe.load(Path(__file__).resolve().parents[2] / "examples" / "recipes" / "speakers.toml")
    assert found.trainer == "speakers"
    assert 0.0 in found.model["shifts"]


@pytest.mark.heavy
def test_the_shipped_recipe_fits_the_trainer() -> None:
    from duplexforge.training.speaker_encoder import Losses, Model

    found = recipe.load(Path(__file__).resolve().parents[2] / "examples" / "recipes" / "speakers.toml")
    assert recipe.section(Model, found.model, "[model]").channels == 128
    assert recipe.section(Losses, found.losses, "[losses]").margin > 0


@pytest.mark.heavy
def test_from_recordings_to_voices(tmp_path: Path) -> None:
    from duplexforge.duplex.speakers import load_embedder

    made.recordings(tmp_path / "in", speakers=3, files=4, seconds=0.8)
    done = run(tmp_path, "data", "speakers", "in", "--out", "speakers", "--validation", "s2")
    assert done.returncode == 0, done.stderr
    (tmp_path / "r.toml").write_text(speakers_made.recipe_text(tmp_path / "none", tmp_path / "out", epochs=1))
    done = run(
        tmp_path, "train", "speakers", "--recipe", "r.toml", "--data-dir", "speakers", "--batch-size", 4, "--json"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["reason"], said["step"]) == ("done", 3)
    assert {"eer", "identified"} <= said["figures"].keys()
    embedder = load_embedder(str(tmp_path / "out" / "speakers.safetensors"))
    voice = embedder.embed(made.voice(1.5, 120))
    assert voice is not None
    assert np.linalg.norm(voice) == pytest.approx(1, abs=1e-5)


@pytest.mark.heavy
def test_a_folder_of_one_voice_is_refused_in_one_sentence(tmp_path: Path) -> None:
    speakers_made.voices_folder(tmp_path, speakers=1, held=0)
    (tmp_path / "r.toml").write_text(speakers_made.recipe_text(tmp_path / "speakers", tmp_path / "out"))
    done = run(tmp_path, "train", "speakers", "--recipe", "r.toml")
    assert done.returncode == 65
    assert done.stderr.startswith("duplexforge: a speaker encoder learns to tell voices apart, and ")
    assert done.stderr.count("\n") == 1
