"""The trainer of the speech-to-speech model: it learns to answer, it cannot cheat, and a broken run goes on as if unbroken."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.config import child_environment
from duplexforge.errors import ConfigError, InputError
from duplexforge.training import recipe as recipes
from tests.unit.training import s2s_made

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return s2s_made.pairs_folder(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(autouse=True)
def codec(monkeypatch: pytest.MonkeyPatch) -> None:
    from duplexforge.training import s2s

    monkeypatch.setattr(s2s, "open_codec", lambda _: s2s_made.Loudness())


def trainer(folder: Path, output: Path, changes: dict[str, Any] | None = None, **tables: str) -> Any:
    from duplexforge.training.trainers import Place, open_trainer

    output.mkdir(exist_ok=True)
    path = output / "recipe.toml"
    path.write_text(s2s_made.recipe_text(folder, output, **tables))
    return open_trainer(recipes.load(path, changes), Place())


def run(
    folder: Path,
    output: Path,
    *,
    resume: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    changes: dict[str, Any] | None = None,
    **tables: str,
) -> tuple[Any, dict[str, Any]]:
    from duplexforge.training import checkpoints
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place

    made = trainer(folder, output, changes, **tables)
    ended = Run(recipes.load(output / "recipe.toml", changes), made, Place(), None, stop=stop).go(resume)
    found = checkpoints.newest(output / "checkpoints", "cpu")
    assert found
    return ended, found[1]


def digest(state: dict[str, Any]) -> int:
    from duplexforge.training import checkpoints

    return checkpoints.digest({name: state[name] for name in ("parts", "optimizers")})


def test_stopped_and_resumed_is_as_if_unbroken(folder: Path, tmp_path: Path) -> None:
    tables = {"losses": "listen_steps = 2", "model": "", "loop": "accumulate = 2"}
    _, whole = run(folder, tmp_path / "whole", **tables)
    for after in (1, 4):
        steps, output = itertools.count(1), tmp_path / f"broken-{after}"
        ended, _ = run(folder, output, stop=lambda steps=steps, after=after: next(steps) == after, **tables)
        assert (ended.reason, ended.step) == ("stopped", after)
        ended, state = run(folder, output, resume="auto", **tables)
        assert (ended.reason, ended.step) == ("done", 6)
        assert digest(state) == digest(whole)
    assert digest(run(folder, tmp_path / "other", changes={"seed": 4}, **tables)[1]) != digest(whole)


def test_one_batch_is_learned_by_heart_and_said_again(folder: Path, tmp_path: Path) -> None:
    changes = {"loop.overfit": True, "loop.epochs": 1, "loop.steps_per_epoch": 300}
    ended, _ = run(folder, tmp_path / "run", changes=changes)
    assert ended.figures["answered"] == 1
    assert ended.figures["hits/text"] > 0.99
    assert ended.figures["hits/book0"] > 0.95
    assert ended.figures["loss/audio"] < 0.3
    # What was exported says the same, through the file that is served.
    from duplexforge.models.s2s import loading
    from duplexforge.models.s2s.network import TorchSteps
    from duplexforge.models.s2s.sampling import GREEDY
    from duplexforge.models.s2s.talk import Manner, Talk, generate

    network, beside = loading.load(ended.exported[0])
    made = trainer(folder, tmp_path / "run", changes)
    pairs = made._asked()
    batch = made._rows.batch(pairs, [np.random.default_rng(7) for _ in pairs])
    turns = [frames[:count] for frames, count in zip(batch.frames.numpy(), batch.frame_counts.tolist(), strict=True)]
    manners = [Manner(pair.speaker_id, pair.emotion_id, audio=GREEDY) for pair in pairs]
    answers = generate(Talk(TorchSteps(network, len(pairs))), turns, manners)
    assert [beside.vocabulary.read(answer.text) for answer in answers] == [pair.answer for pair in pairs]
    assert all(answer.ended for answer in answers)
    assert beside.shape.books == 2


def test_it_answers_questions_that_it_never_heard(folder: Path, tmp_path: Path) -> None:
    changes = {"loop.epochs": 1, "loop.steps_per_epoch": 150}
    augment = "[model.augment]\nmasks = 0\nbands = 0.0"
    ended, _ = run(folder, tmp_path / "run", changes=changes, model=augment)
    assert ended.figures["answered"] >= 0.75
    assert ended.figures["score"] == ended.figures["answered"]


def test_targets_that_are_random_are_not_foretold(folder: Path, tmp_path: Path) -> None:
    """A model that saw its targets, by a mask or a shift that is wrong, would tell any; one that does not cannot."""
    import torch

    made = trainer(folder, tmp_path / "run", {"model.dropout": 0.0})
    torch.manual_seed(0)
    learner = made.build()[0].module
    optimizer = torch.optim.AdamW(learner.parameters(), 3e-3)
    random = np.random.default_rng(0)

    def drawn() -> Any:
        batch = made.batches(0)[0]
        books, entries = batch.audio.shape[-1], made._shape.entries
        said = torch.from_numpy(random.integers(0, entries, batch.audio_labels.shape))
        labels = torch.where(batch.audio_labels == -100, -100, said)
        back = torch.roll(said, 1, dims=1)
        asked = torch.roll(batch.audio_labels, 1, dims=1) != -100
        audio = torch.where(asked, back, entries)
        audio[:, 0] = entries
        assert audio.shape[-1] == books
        return type(batch)(**{**vars(batch), "audio": audio, "audio_labels": labels})

    losses = []
    for _ in range(60):
        total, figures = learner.loss(drawn())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(figures["loss/audio"])
    assert np.mean(losses[-10:]) > 0.97 * np.log(made._shape.entries)


def test_every_process_takes_its_share_and_all_of_it(folder: Path, tmp_path: Path) -> None:
    import torch

    from duplexforge.training.trainers import Place, open_trainer

    made = trainer(folder, tmp_path / "run", loop="")
    whole = made.batches(5)[0]
    recipe = recipes.load(tmp_path / "run" / "recipe.toml")
    for rank in (0, 1):
        share = open_trainer(recipe, Place(rank, 2)).batches(5)[0]
        frames = share.frames.shape[1]
        torch.testing.assert_close(share.frames, whole.frames[rank::2, :frames])
    with pytest.raises(InputError, match="shared evenly"):
        open_trainer(recipe, Place(0, 3))


def test_gradient_checkpointing_changes_nothing_but_memory(folder: Path, tmp_path: Path) -> None:
    found = []
    for switch in (False, True):
        changes = {"loop.gradient_checkpointing": switch, "loop.epochs": 1}
        found.append(digest(run(folder, tmp_path / str(switch), changes=changes)[1]))
    assert found[0] == found[1]


def test_listening_moves_the_encoder_alone(folder: Path, tmp_path: Path) -> None:
    made = trainer(folder, tmp_path / "run", losses="listen_steps = 1")
    learner = made.build()[0].module
    batch = made.batches(0)[0]
    total, figures = made.step("s2s", batch, 0)
    total.backward()
    assert sorted(figures) == ["loss/letters", "loss/turn"]
    assert all(parameter.grad is None for parameter in learner.network.decoder.parameters())
    assert float(learner.network.encoder.enter.weight.grad.abs().max()) > 0
    assert "loss/audio" in made.step("s2s", batch, 1)[1]


def test_recipes_that_cannot_be_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 weights, the codec 2 books"):
        trainer(folder, tmp_path / "a", losses="books = [1.0, 1.0, 1.0]")
    with pytest.raises(ConfigError, match="nothing is called widht"):
        trainer(folder, tmp_path / "b", model="widht = 3")
    with pytest.raises(InputError, match="no pair of train fits into 64 frames and 4 steps"):
        trainer(folder, tmp_path / "c", {"model.steps": 4})


@pytest.mark.parametrize("size", [256, 512, 768])
def test_recipes_that_come_with_the_project_are_whole(size: int) -> None:
    from duplexforge.training.s2s import Model
    from duplexforge.training.s2s_learner import Losses

    recipe = recipes.load(Path(__file__).parents[3] / f"examples/recipes/s2s-{size}.toml")
    assert recipe.trainer == "s2s"
    assert recipes.section(Model, recipe.model, "[model]").width == size
    assert len(recipes.section(Losses, recipe.losses, "[losses]").books) == 6


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(s2s_made.recipe_text(tmp_path / "none", tmp_path / "out"))
    command = [sys.executable, "-m", "duplexforge", "train", "s2s", "--recipe", str(tmp_path / "r.toml")]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert "train_pairs.json: No such file or directory; duplexforge data dialogues makes such a folder" in done.stderr
