"""The trainer ``lora`` on a tiny Qwen3-Omni and a data set of our own builder: what it learns, keeps, and leaves alone."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import child_environment
from duplexforge.errors import ConfigError, InputError, ModelError
from duplexforge.training import recipe as recipes
from tests.unit.training import lora_made
from tests.unit.training.lora_made import Ground

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return lora_made.ground(tmp_path_factory.mktemp("lora"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Nothing here is large enough for more, and on a busy machine threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(
    ground: Ground,
    output: Path,
    *,
    resume: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    changes: dict[str, Any] | None = None,
    **tables: Any,
) -> tuple[Any, dict[str, Any], Any]:
    """Run a small recipe in this process; how it ended, the last checkpoint and the trainer."""
    from duplexforge.training import checkpoints
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    output.mkdir(exist_ok=True)
    path = output / "recipe.toml"
    path.write_text(lora_made.recipe_text(ground, output, **tables))
    recipe = recipes.load(path, {"model.evaluate_windows": 2, **(changes or {})})
    trainer = open_trainer(recipe, Place())
    ended = Run(recipe, trainer, Place(), None, stop=stop).go(resume)
    found = checkpoints.newest(output / "checkpoints", "cpu")
    assert found
    return ended, found[1], trainer


def digest(state: dict[str, Any]) -> int:
    """A sum over weights and optimisers, and nothing else."""
    from duplexforge.training import checkpoints

    return checkpoints.digest({name: state[name] for name in ("parts", "optimizers")})


def test_it_learns_and_leaves_the_base_alone(ground: Ground, tmp_path: Path) -> None:
    import torch

    from duplexforge.models.qwen import opening

    ended, state, trainer = run(
        ground, tmp_path, epochs=10, loop="overfit = true\nevaluate_every = 10", model="silence_rows = true"
    )
    _, _, fresh = run(
        ground, tmp_path / "fresh", epochs=1, changes={"optimizer.learning_rate": 1e-9}, loop="overfit = true"
    )
    start = fresh.evaluate()
    assert ended.figures["train/loss"] < start["train/loss"] - 1.0
    assert ended.figures["score"] == -ended.figures["train/loss"]
    # Adapters and optimiser, and not one of the frozen weights.
    names = state["parts"]["lora"]
    assert sorted({name.split("/")[-3] for name in names if "lora" in name}) == ["lora_A", "lora_B"]
    assert len(names) == 2 * 4 * 2 + 2
    assert not [name for name in names if "audio_tower" in name]
    base = dict(opening.load_thinker(ground.model, precision="fp32").named_parameters())
    now = {
        name.replace(".base_layer", "").replace(".token_adapter", "").replace(".original_module", ""): value
        for name, value in trainer._learner.thinker.named_parameters()
        if not value.requires_grad
    }
    assert now.keys() == base.keys()
    for name, value in base.items():
        assert torch.equal(value, now[name]), name
        assert now[name].grad is None


def test_stopped_and_resumed_is_as_if_unbroken(ground: Ground, tmp_path: Path) -> None:
    more = {"model": "dropout = 0.2", "losses": "silence_weight = 0.3"}
    _, whole, _ = run(ground, tmp_path / "whole", **more)
    steps = itertools.count(1)
    output = tmp_path / "broken"
    ended, _, _ = run(ground, output, stop=lambda: next(steps) == 4, **more)
    assert (ended.reason, ended.step) == ("stopped", 4)
    ended, state, _ = run(ground, output, resume="auto", **more)
    assert (ended.reason, ended.step) == ("done", 6)
    assert digest(state) == digest(whole)
    assert digest(run(ground, tmp_path / "other", changes={"seed": 4}, **more)[1]) != digest(whole)
    with pytest.raises(ConfigError, match=r"another model\.rank"):
        run(ground, output, resume="auto", changes={"model.rank": 5}, **more)


def test_accumulating_and_checkpointing_change_memory_and_not_the_step(ground: Ground, tmp_path: Path) -> None:
    import torch

    states = []
    for name, loop in (("plain", ""), ("parts", "accumulate = 2"), ("saving", "gradient_checkpointing = true")):
        # Parts of unlike weight: the step is that of the whole batch all the same.
        _, state, trainer = run(ground, tmp_path / name, epochs=1, losses="silence_weight = 0.1", loop=loop)
        assert trainer._learner.thinker.is_activation_checkpointing == (name == "saving")
        states.append(state)
    for name, tensor in states[0]["parts"]["lora"].items():
        torch.testing.assert_close(states[1]["parts"]["lora"][name], tensor, rtol=0, atol=2e-3, msg=name)
    assert digest(states[2]) == digest(states[0])


def test_the_silence_weight_weighs(ground: Ground, tmp_path: Path) -> None:
    figures = {}
    for weight in (0.0, 1.0, 20.0):
        ended, _, _ = run(
            ground,
            tmp_path / str(weight),
            epochs=4,
            losses=f"silence_weight = {weight}",
            loop="evaluate_every = 4",
            changes={"model.evaluate_windows": 6},
        )
        figures[weight] = ended.figures
    assert figures[0.0]["validation/loss"] == pytest.approx(figures[0.0]["validation/text_loss"])
    assert figures[0.0]["validation/silence_loss"] > figures[1.0]["validation/silence_loss"]
    assert figures[20.0]["validation/silence_loss"] < figures[1.0]["validation/silence_loss"]
    assert figures[0.0]["validation/takeover"] >= figures[20.0]["validation/takeover"]


def test_the_loss_is_that_of_plain_loops(ground: Ground, tmp_path: Path) -> None:
    """Text and silence alone, each label given all before it, silence at its weight; sound has no label."""
    import torch

    from duplexforge.models.qwen import forward
    from duplexforge.training.trainers import Place, open_trainer

    path = tmp_path / "recipe.toml"
    path.write_text(lora_made.recipe_text(ground, tmp_path, losses="silence_weight = 0.25"))
    trainer: Any = open_trainer(recipes.load(path), Place())
    trainer.build()
    (batch,) = trainer.batches(0)
    silence = trainer._data.format.silence_token_id
    assert bool((batch["labels"][batch["input_ids"] == trainer._collator.audio_token_id] == -100).all())
    with torch.no_grad():
        logs = torch.log_softmax(forward.logits(trainer._learner.thinker, batch).float(), dim=-1)
        loss, told = trainer.step("lora", batch, 0)
    total = weight = quiet = 0.0
    for row, labels in enumerate(batch["labels"].tolist()):
        for place, label in enumerate(labels):
            if label != -100:
                share = 0.25 if label == silence else 1.0
                total -= share * float(logs[row, place - 1, label])
                weight += share
                quiet -= share * float(logs[row, place - 1, label]) * (label == silence)
    assert float(loss) == pytest.approx(total / weight, rel=1e-4)
    assert told["loss/silence"] == pytest.approx(quiet / weight, rel=1e-4)
    assert told["loss/text"] + told["loss/silence"] == pytest.approx(float(loss), rel=1e-5)


def test_bf16_runs(ground: Ground, tmp_path: Path) -> None:
    import torch

    tables = lora_made.recipe_text(ground, tmp_path, epochs=1).replace('"fp32"', '"bf16"')
    (tmp_path / "recipe.toml").write_text(tables)
    from duplexforge.training.loop import Run
    from duplexforge.training.trainers import Place, open_trainer

    recipe = recipes.load(tmp_path / "recipe.toml", {"loop.precision": "bf16", "model.silence_rows": True})
    trainer: Any = open_trainer(recipe, Place())
    ended = Run(recipe, trainer, Place(), None, stop=lambda: False).go()
    assert ended.figures["validation/loss"] > 0
    kinds = {one.dtype for one in trainer._learner.parameters() if not one.requires_grad}
    assert kinds == {torch.bfloat16}
    # What learns small steps is kept precisely.
    assert {one.dtype for one in trainer._learner.parameters() if one.requires_grad} == {torch.float32}


def test_killed_and_resumed_is_as_if_unbroken_and_sigterm_saves(ground: Ground, tmp_path: Path) -> None:
    from duplexforge.training import checkpoints

    steps = "save_every = 1\nevaluate_every = 20"
    output = tmp_path / "killed"
    output.mkdir()
    recipe = output / "recipe.toml"
    text = lora_made.recipe_text(ground, output, epochs=400, loop=steps, model="evaluate_windows = 2")
    recipe.write_text(text)
    command = [
        sys.executable,
        "-m",
        "duplexforge",
        "train",
        "lora",
        "--recipe",
        str(recipe),
        "--resume",
        "auto",
        "--json",
    ]
    environment = child_environment(OMP_NUM_THREADS="1")
    for number, wanted in ((signal.SIGKILL, 2), (signal.SIGTERM, 4)):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        while (checkpoints.found(output / "checkpoints") or [0])[-1] < wanted and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=120)
        reached = checkpoints.found(output / "checkpoints")[-1]
    assert process.returncode == 0
    assert json.loads(said)["reason"] == "stopped"
    assert json.loads(said)["step"] == reached
    # The learning rate follows the length of the run, so the unbroken one is as long, and stopped at the same step.
    count = itertools.count(1)
    _, same, _ = run(
        ground,
        tmp_path / "unbroken",
        stop=lambda: next(count) == reached,
        changes={"loop.epochs": 400},
        loop=steps,
    )
    found = checkpoints.newest(output / "checkpoints", "cpu")
    assert found
    assert digest(found[1]) == digest(same)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model.four_bit": True}, ModelError, "4-bit weights want a CUDA device"),
        ({"model.four_bit": True, "model.shard": True}, ConfigError, "do not go together"),
        ({"model.base": "./nowhere"}, ModelError, "there is no folder ./nowhere"),
        ({"model.targets": ["gate_proj"]}, ConfigError, "targets"),
        ({"model.targets": []}, ConfigError, "must name at least one"),
        ({"model.evaluate": []}, ConfigError, "must name at least one"),
        ({"data.seconds": 2.0}, ConfigError, "has no seconds"),
        ({"loop.accumulate": 3}, ConfigError, "cannot be shared evenly"),
        ({"data.folder": "nowhere"}, ConfigError, "there is no folder nowhere"),
        ({"data.folder": "/"}, InputError, "has no manifest"),
    ],
)
def test_what_is_refused(
    ground: Ground, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(ground, tmp_path, changes=change)
    assert not (tmp_path / "checkpoints").exists()


def test_a_data_set_of_another_model_is_refused(ground: Ground, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(ground.model, other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = other / name
        path.write_text(path.read_text().replace("<|object_ref_start|>", "<|something_else|>"))
    with pytest.raises(ConfigError, match=r"the silence token .* was built for another model"):
        run(ground, tmp_path / "out", changes={"model.base": str(other)})
