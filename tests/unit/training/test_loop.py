"""The loop: a run that was broken off ends with the weights of one that was not."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import child_environment
from duplexforge.errors import ConfigError, InputError
from duplexforge.training import recipe as recipes
from tests.unit.training import made

pytestmark = pytest.mark.heavy

JUDGES = "discriminators = true\ndiscriminator_start_epoch = 1\njudge_width = 2"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.training_folder(tmp_path_factory.mktemp("speech"))


def run(
    speech: Path,
    output: Path,
    *,
    resume: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    changes: dict[str, Any] | None = None,
    **tables: str,
) -> tuple[Any, dict[str, Any]]:
    """Run a small recipe in this process; how it ended and the last checkpoint."""
    from duplexforge.training import checkpoints
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    output.mkdir(exist_ok=True)
    path = output / "recipe.toml"
    path.write_text(made.recipe_text(speech, output, **tables))
    recipe = recipes.load(path, changes)
    ended = Run(recipe, open_trainer(recipe, Place()), Place(), None, stop=stop).go(resume)
    found = checkpoints.newest(output / "checkpoints", "cpu")
    assert found
    return ended, found[1]


def digest(state: dict[str, Any]) -> int:
    """A sum over weights and optimisers, and nothing else."""
    from duplexforge.training import checkpoints

    return checkpoints.digest({name: state[name] for name in ("parts", "optimizers")})


def test_stopped_and_resumed_is_as_if_unbroken(speech: Path, tmp_path: Path) -> None:
    tables = {"losses": JUDGES, "model": "dropout = 0.5", "data": "gain_db = [-6.0, 3.0]"}
    _, whole = run(speech, tmp_path / "whole", **tables)
    # Before the judges join, in the very moment, and with them.
    for after in (1, 3, 4):
        steps = itertools.count(1)
        output = tmp_path / f"broken-{after}"
        ended, _ = run(speech, output, stop=lambda steps=steps, after=after: next(steps) == after, **tables)
        assert (ended.reason, ended.step) == ("stopped", after)
        ended, state = run(speech, output, resume="auto", **tables)
        assert (ended.reason, ended.step) == ("done", 6)
        assert digest(state) == digest(whole)
    assert digest(run(speech, tmp_path / "other", changes={"seed": 4}, **tables)[1]) != digest(whole)


def test_killed_and_resumed_is_as_if_unbroken(speech: Path, tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    _, whole = run(speech, tmp_path / "whole", epochs=20, loop="save_every = 1\nevaluate_every = 20")
    output = tmp_path / "killed"
    output.mkdir()
    recipe = output / "recipe.toml"
    recipe.write_text(made.recipe_text(speech, output, epochs=20, loop="save_every = 1\nevaluate_every = 20"))
    command = [sys.executable, "-m", "duplexforge", "train", "codec", "--recipe", str(recipe), "--resume", "auto"]
    process = subprocess.Popen(command, env=child_environment(OMP_NUM_THREADS="1"), stderr=subprocess.PIPE)
    while len(checkpoints.found(output / "checkpoints")) < 2 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    reached = checkpoints.found(output / "checkpoints")[-1]
    assert reached < 60
    done = subprocess.run(
        command, env=child_environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f'"step": {reached}' in done.stderr
    found = checkpoints.newest(output / "checkpoints", "cpu")
    assert found
    assert digest(found[1]) == digest(whole)


def test_sigterm_saves_and_ends_well(speech: Path, tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(made.recipe_text(speech, tmp_path / "out", epochs=10_000))
    command = [sys.executable, "-m", "duplexforge", "train", "codec", "--recipe", str(recipe), "--json"]
    process = subprocess.Popen(command, env=child_environment(OMP_NUM_THREADS="1"), stdout=subprocess.PIPE, text=True)
    while not checkpoints.found(tmp_path / "out" / "checkpoints") and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    report = json.loads(said)
    assert report["reason"] == "stopped"
    assert checkpoints.found(tmp_path / "out" / "checkpoints")[-1] == report["step"]


def test_accumulating_changes_memory_and_not_the_step(speech: Path, tmp_path: Path) -> None:
    import torch

    states = []
    for parts in (1, 2):
        # The losses of waves and of networks are means over crops; spectral convergence is a ratio over the whole part.
        _, state = run(
            speech,
            tmp_path / str(parts),
            epochs=1,
            loop=f"accumulate = {parts}",
            losses="spectrum = 0.0\nmel = 0.0",
            model="dropout = 0.0",
        )
        states.append(state["parts"]["codec"])
    for name, tensor in states[0].items():
        if not name.endswith("used"):
            assert torch.allclose(tensor, states[1][name], atol=2e-4), name


def test_checkpointed_gradients_are_the_same(speech: Path, tmp_path: Path) -> None:
    _, plain = run(speech, tmp_path / "plain", epochs=1)
    _, saving = run(speech, tmp_path / "saving", epochs=1, loop="gradient_checkpointing = true")
    assert digest({**plain}) == digest({**saving})


def test_bf16_runs(speech: Path, tmp_path: Path) -> None:
    ended, _ = run(speech, tmp_path / "bf16", epochs=1, loop='precision = "bf16"')
    assert ended.figures["snr"] > 0


def test_a_run_ends_where_it_gets_no_better(speech: Path, tmp_path: Path) -> None:
    ended, _ = run(speech, tmp_path / "p", epochs=50, loop="patience = 2\nleast_gain = 100.0")
    assert (ended.reason, ended.step) == ("plateau", 9)
    assert ended.exported


def test_judges_join_at_their_epoch(speech: Path, tmp_path: Path) -> None:
    _, before = run(speech, tmp_path / "a", epochs=1, losses=JUDGES)
    _, after = run(speech, tmp_path / "b", epochs=2, losses=JUDGES)
    assert not before["optimizers"]["judges"]["state"]
    assert after["optimizers"]["judges"]["state"]


def test_another_recipe_or_model_is_refused(speech: Path, tmp_path: Path) -> None:
    run(speech, tmp_path, epochs=1)
    with pytest.raises(ConfigError, match=r"another model\.hidden"):
        run(speech, tmp_path, resume="auto", changes={"model.hidden": 9})
    with pytest.raises(ConfigError, match="--resume auto goes on with it"):
        run(speech, tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        run(speech, tmp_path, resume=str(tmp_path / "none.pt"))


def test_overfit_reaches_the_gate(speech: Path, tmp_path: Path) -> None:
    """One batch of one voice: 15 dB must come out, whatever the held-out speakers give."""
    ended, _ = run(
        speech,
        tmp_path / "o",
        epochs=40,
        loop="overfit = true\nevaluate_every = 10",
        changes={
            "model.entries": 128,
            "model.groups": [1, 2, 5],
            "model.start_rounds": 4,
            "model.start_steps": 100,
            "model.tilt": 0.0,
            "model.dropout": 0.0,
            "loop.batch_size": 1,
            "losses.spectrum": 0.0,
            "losses.mel": 0.0,
            "optimizer.learning_rate": 1e-3,
        },
    )
    assert ended.figures["snr"] >= 15
