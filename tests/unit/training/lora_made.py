"""A tiny model, a small duplex data set built for it by the builder itself, and recipes over both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from duplexforge.duplex.build import build
from tests.duplex.thinker import tiny_thinker
from tests.unit.duplex.building import Made, settings, talk

# Each pair talks to itself alone, so that the splits have something to cut.
PAIRS = (("ann", "bob"), ("cid", "dee"), ("eve", "fay"), ("gus", "hal"), ("ida", "jon"))


@dataclass(frozen=True)
class Ground:
    """Where the model and the data set lie."""

    model: Path
    data: Path


def ground(folder: Path, *, whole: bool = False) -> Ground:
    """Both, made in ``folder``."""
    model = tiny_thinker(folder / "model", whole=whole)
    corpus = Made([talk(f"c{number}", pair, group=f"g{number}") for number, pair in enumerate(PAIRS)])
    told = settings(model, window=3.2, splits=(0.6, 0.2, 0.2))
    build(corpus, told, folder / "set", source="made")
    return Ground(model, folder / "set")


def recipe_text(made: Ground, output: Path, *, epochs: int = 2, **tables: str) -> str:
    """A recipe small enough for a test; ``tables`` add lines to a table."""
    extra = {name: tables.get(name, "") for name in ("model", "losses", "optimizer", "loop")}
    return f"""
trainer = "lora"
output = "{output}"
seed = 3
[data]
folder = "{made.data}"
[model]
rank = 4
alpha = 4
weights = "fp32"
{extra["model"]}
[losses]
{extra["losses"]}
[optimizer]
learning_rate = 2e-2
betas = [0.9, 0.99]
warmup_steps = 1
{extra["optimizer"]}
[loop]
epochs = {epochs}
steps_per_epoch = 3
batch_size = 2
threads = 1
{extra["loop"]}
"""
