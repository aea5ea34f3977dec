"""The trainer of speaker encoders: its verbs, its runs, what it exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.errors import ConfigError, InputError
from duplexforge.models import speakers
from duplexforge.training import recipe as recipes
from tests.unit.training import made
from tests.unit.training.speakers_made import recipe_text, voices_folder

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices_folder(tmp_path_factory.mktemp("speakers"))


def recipe_of(folder: Path, output: Path, *, epochs: int = 2, **tables: str) -> Any:
    output.mkdir(parents=True, exist_ok=True)
    path = output / "recipe.toml"
    path.write_text(recipe_text(folder, output, epochs=epochs, **tables))
    return recipes.load(path)


def trainer(folder: Path, output: Path, place: Any = None, **tables: str) -> Any:
    from duplexforge.training.trainers import Place, open_trainer

    return open_trainer(recipe_of(folder, output, **tables), place or Place())


def run(folder: Path, output: Path, resume: str | None = None, stop: int = 0, epochs: int = 2, **tables: str) -> Any:
    """A run to its end, or for ``stop`` steps."""
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    recipe = recipe_of(folder, output, epochs=epochs, **tables)
    asked = iter(range(1, 1000))
    return Run(recipe, open_trainer(recipe, Place()), Place(), None, stop=lambda: next(asked) == stop).go(resume)


def test_voices_are_told_apart_after_some_steps(folder: Path, tmp_path: Path) -> None:
    ended = run(folder, tmp_path, epochs=25, loop="evaluate_every = 25")
    assert (ended.reason, ended.step) == ("done", 75)
    assert set(ended.figures) == {"score", "identified", "eer", "eer_seen", "min_dcf"}
    assert ended.figures["score"] == -ended.figures["eer"]
    # By chance, it would be a third and a half.
    assert ended.figures["identified"] > 0.9
    assert ended.figures["eer_seen"] < 0.2
    encoder = speakers.read(ended.exported[0])
    once, again, other = (
        encoder.embed(made.voice(1.5, pitch, seed)) for pitch, seed in ((100, 71), (100, 72), (180, 73))
    )
    assert float(once @ again) > float(once @ other) + 0.3


def test_the_file_says_what_it_was_made_of_and_no_place(folder: Path, tmp_path: Path) -> None:
    encoder = speakers.read(run(folder, tmp_path, epochs=1).exported[0])
    assert json.loads(encoder.facts["recipe"])["model"]["channels"] == 16
    data = json.loads(encoder.facts["data"])
    assert (data["speakers"], data["synthetic"], len(data["manifest"])) == (3, 0, 64)
    assert data["hours"] == pytest.approx(3 * 4 * 0.8 / 3600, abs=1e-4)
    whole = json.dumps(dict(encoder.facts))
    assert str(tmp_path) not in whole
    assert str(folder) not in whole


def test_what_is_exported_says_what_torch_says(folder: Path, tmp_path: Path) -> None:
    import torch

    one = trainer(folder, tmp_path)
    torch.manual_seed(5)
    network = one.build()[0].module.network.eval()
    encoder = speakers.read(one.export(tmp_path)[0])
    wave = made.voice(1.2, 140)
    frames = speakers.heard(speakers.log_mel(wave))
    with torch.no_grad():
        told = network(torch.from_numpy(frames)[None])[0].numpy()
    np.testing.assert_allclose(encoder.embed(wave), told, atol=1e-4)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "first")
    assert run(folder, tmp_path / "second", stop=2).reason == "stopped"
    second = run(folder, tmp_path / "second", resume="auto")
    assert first.exported[0].read_bytes() == second.exported[0].read_bytes()


def test_one_batch_can_be_learned(folder: Path, tmp_path: Path) -> None:
    ended = run(folder, tmp_path, epochs=10, loop="overfit = true")
    assert ended.figures == {"score": 0.0, "identified": 1.0}


def test_processes_and_parts_share_one_batch(folder: Path, tmp_path: Path) -> None:
    import torch

    from duplexforge.training.trainers import Place

    (whole,) = trainer(folder, tmp_path).batches(4)
    shares = [trainer(folder, tmp_path, Place(rank, 2), loop="accumulate = 2").batches(4) for rank in (0, 1)]
    assert [len(share) for share in shares] == [2, 2]
    for rank, share in enumerate(shares):
        torch.testing.assert_close(torch.cat([part.frames for part in share]), whole.frames[rank::2])
        assert torch.cat([part.numbers for part in share]).tolist() == whole.numbers[rank::2].tolist()


def test_each_shift_makes_other_people(folder: Path, tmp_path: Path) -> None:
    one = trainer(
        folder, tmp_path, model="shifts = [-3.0, 0.0, 3.0]\naugment = { noisy = 0.0, tilt_db = 0.0, masks = 0 }"
    )
    assert one.build()[0].module.directions.weight.shape == (9, speakers.SIZE)
    numbers = [number for step in range(6) for number in one.batches(step)[0].numbers.tolist()]
    assert {number // 3 for number in numbers} == {0, 1, 2}
    # Who is asked for is the person as they are.
    assert {one._number(row) for row in one._voices.kept} == {3, 4, 5}
    for wrong in ("[1.0]", "[0.0, 2.0, 2.0]", "[0.0, 0.0]"):
        with pytest.raises(ConfigError, match=r"0\.0 must be one of the shifts"):
            trainer(folder, tmp_path, model=f"shifts = {wrong}")


def test_one_held_out_voice_is_told_from_those_that_were_learned(tmp_path: Path) -> None:
    made_of = voices_folder(tmp_path, speakers=3, files=4, held=1)
    figures = run(made_of, tmp_path / "out", epochs=1).figures
    assert "eer" in figures
    assert figures["score"] == -figures["eer"]


def test_without_held_out_voices_the_score_is_that_of_learned_ones(tmp_path: Path) -> None:
    made_of = voices_folder(tmp_path, speakers=2, files=6, held=0)
    figures = run(made_of, tmp_path / "out", epochs=1).figures
    assert set(figures) == {"score", "identified", "eer_seen"}
    assert figures["score"] == -figures["eer_seen"]


def test_two_files_a_voice_are_enough_to_be_known_again(tmp_path: Path) -> None:
    made_of = voices_folder(tmp_path, speakers=2, files=2, held=0)
    figures = run(made_of, tmp_path / "out", epochs=1).figures
    assert figures == {"score": figures["identified"] - 1, "identified": figures["identified"]}


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[model\].*nothing is called width"):
        trainer(folder, tmp_path, model="width = 3")
    with pytest.raises(ConfigError, match=r"\[losses\].*margin"):
        trainer(folder, tmp_path, losses="margin = 2.0")
    with pytest.raises(InputError, match="cannot be shared evenly"):
        trainer(folder, tmp_path, loop="accumulate = 3")
    plain = made.training_folder(tmp_path / "plain", speakers=2)
    with pytest.raises(InputError, match="make the folder with duplexforge data speakers"):
        trainer(plain, tmp_path)
    lone = voices_folder(tmp_path / "lone", speakers=3, files=2, held=2)
    with pytest.raises(InputError, match="has 1 in the split train"):
        trainer(lone, tmp_path)
