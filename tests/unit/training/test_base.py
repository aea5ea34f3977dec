"""The trainer base: its verbs, its runs, what it exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.errors import ConfigError, InputError
from duplexforge.models import base_weights
from duplexforge.models.base import BaseCodec
from duplexforge.training import recipe as recipes
from tests.unit.training import made

pytestmark = pytest.mark.heavy


def text(folder: Path, **changes: str) -> str:
    """A recipe small enough for a test."""
    found = f"""
trainer = "base"
output = "{folder / "out"}"
seed = 3
[data]
folder = "{folder / "speech"}"
seconds = 0.4
gain_db = [-6.0, 0.0]
[model]
books = 2
entries = 16
hidden = 8
start_seconds = 4.0
start_rounds = 2
[optimizer]
warmup_steps = 2
learning_rate = 3e-3
[loop]
epochs = 2
steps_per_epoch = 2
batch_size = 4
threads = 1
"""
    for old, new in changes.items():
        assert f"\n{old} = " in found
        found = "\n".join(f"{old} = {new}" if line.startswith(f"{old} = ") else line for line in found.split("\n"))
    return found


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    made.training_folder(folder, seconds=0.8)
    return folder


def trainer(folder: Path, **changes: str) -> Any:
    from duplexforge.training.trainers import Place, open_trainer

    path = folder / "recipe.toml"
    path.write_text(text(folder, **changes))
    return open_trainer(recipes.load(path), Place())


def run(folder: Path, output: Path, resume: str | None = None, stop: int = 0, **changes: str) -> Any:
    """A run to its end, or for ``stop`` steps."""
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    path = folder / "recipe.toml"
    path.write_text(text(folder, output=f'"{output}"', **changes))
    recipe = recipes.load(path)
    asked = iter(range(1, 1000))
    return Run(recipe, open_trainer(recipe, Place()), Place(), None, stop=lambda: next(asked) == stop).go(resume)


def test_a_run_ends_with_weights_that_speak(speech: Path, tmp_path: Path) -> None:
    ended = run(speech, tmp_path)
    assert (ended.reason, ended.step) == ("done", 4)
    assert set(ended.figures) == {"score", "mel", "spectrum", "level", "vector_db"}
    assert ended.figures["score"] == -ended.figures["mel"]
    codec = BaseCodec(base_weights.read(ended.exported[0]))
    assert codec.books == 3
    wave = made.voice(0.6, 140, seed=9)
    tokens = codec.tokens(wave)
    sound = codec.decoder().push_tokens(tokens[None])[0][: len(wave)]
    assert abs(20 * np.log10(sound.std() / wave.std())) < 6


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(speech: Path, tmp_path: Path) -> None:
    first = run(speech, tmp_path / "first")
    assert run(speech, tmp_path / "second", stop=1).reason == "stopped"
    second = run(speech, tmp_path / "second", resume="auto")
    assert first.exported[0].read_bytes() == second.exported[0].read_bytes()


def test_steps_make_it_better_than_the_plain_synthesis(speech: Path, tmp_path: Path) -> None:
    before = run(speech, tmp_path / "a", epochs="1", steps_per_epoch="1", learning_rate="1e-9")
    after = run(speech, tmp_path / "b", epochs="1", steps_per_epoch="25", batch_size="2")
    assert after.figures["spectrum"] < before.figures["spectrum"]


def test_one_batch_can_be_learned(speech: Path, tmp_path: Path) -> None:
    changes = {"batch_size": "2\noverfit = true", "epochs": "1"}
    before = run(speech, tmp_path / "a", steps_per_epoch="1", learning_rate="1e-9", **changes)
    after = run(speech, tmp_path / "b", steps_per_epoch="25", **changes)
    assert after.figures["mel"] < 0.95 * before.figures["mel"]


def test_synthetic_speakers_get_their_share(tmp_path: Path) -> None:
    from duplexforge.training.base import _shares
    from duplexforge.training.speech import SpeechRow

    rows = [
        SpeechRow(path="x", speaker=name, split="train", samples=16_000, sha256="")
        for name in ("anna", "bert", "synthetic-te-ravi")
    ]
    counts = {tuple(row.speaker for row in some): count for some, count in _shares(rows, 0.4, 10)}
    assert counts == {("synthetic-te-ravi",): 4, ("anna", "bert"): 6}
    assert _shares(rows, 0.0, 10) == [(rows, 10)]
    assert _shares(rows[:2], 0.4, 10) == [(rows[:2], 10)]


def test_level_distance_is_in_bels() -> None:
    import torch

    from duplexforge.training.base import level_distance

    wave = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 16_000)).astype(np.float32) * 0.1)
    assert float(level_distance(wave, wave)) == 0
    assert float(level_distance(wave * 10, wave)) == pytest.approx(2, abs=0.01)
    other = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 16_000)).astype(np.float32) * 0.1)
    # Another noise of the same power is nearly the same.
    assert float(level_distance(other, wave)) < 0.25


def test_what_is_wrong_is_said(speech: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[model\].*entries"):
        trainer(speech, entries="5000")
    with pytest.raises(InputError, match="cannot be shared evenly"):
        trainer(speech, batch_size="3\naccumulate = 2")


def test_books_and_network_are_held_as_the_recipe_says(speech: Path) -> None:
    held = trainer(speech).build()[0].module
    assert not held.books.vectors.requires_grad
    assert held.net[0].weight.requires_grad
    both = trainer(speech, hidden='8\nlearn = ["books"]').build()[0].module
    assert both.books.vectors.requires_grad
    assert not both.net[0].weight.requires_grad
