"""What can be trained, by name, and the verbs that the loop asks of it.

A new trainer is one module with a class that has them, and one line in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from duplexforge.errors import ConfigError
from duplexforge.training.recipe import Recipe

TRAINERS = {
    "codec": "duplexforge.training.codec:CodecTrainer",
    "base": "duplexforge.training.base:BaseTrainer",
    "lora": "duplexforge.training.lora:LoraTrainer",
    "s2s": "duplexforge.training.s2s:S2STrainer",
    "speakers": "duplexforge.training.speaker_encoder:SpeakerTrainer",
}


@dataclass(frozen=True)
class Part:
    """What one optimiser moves: the module that is saved, and the phase of a step that is its turn.

    ``together``: it is evaluated by all processes, and not by the first alone; their trainer puts the figures together.
    """

    name: str
    module: Any
    together: bool = False


@dataclass(frozen=True)
class Place:
    """Where this process stands: its number among ``size``, and its device ("cpu", "cuda:0")."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"


class Trainer(Protocol):
    """The five verbs and their helpers. Whatever is random is drawn from (seed, step) alone, so that a run which was
    stopped and taken up again goes on as if it never had been.
    """

    def build(self) -> Sequence[Part]:
        """The parts, on their device. Called once, before anything else; from the seed alone."""
        ...

    def start(self) -> None:
        """What a fresh run does before its first step, such as k-means; not called when it is resumed."""
        ...

    def steps_per_epoch(self) -> int:
        """Steps that hear the data once, or what the recipe says."""
        ...

    def phases(self, epoch: int) -> Sequence[str]:
        """Names of the parts in the order in which a step of ``epoch`` moves them."""
        ...

    def batches(self, step: int) -> Sequence[Any]:
        """This process's share of ``step``, in as many parts as the recipe accumulates."""
        ...

    def step(self, phase: str, batch: Any, step: int) -> tuple[Any, Mapping[str, float]]:
        """The loss (a tensor) of one part of the batch in one phase, and figures worth writing down."""
        ...

    def settle(self, step: int) -> bool:
        """Called after each step; True when it changed weights by hand, so that all processes take those of the first."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Figures on what was held out; ``score`` among them, where more is better."""
        ...

    def export(self, folder: Path) -> Sequence[Path]:
        """Write what others run, without anything that only training needs; returns the files."""
        ...


def open_trainer(recipe: Recipe, place: Place) -> Trainer:
    """The trainer that ``recipe`` names; a ConfigError when there is none."""
    if recipe.trainer not in TRAINERS:
        raise ConfigError(f"there is no trainer {recipe.trainer}; there are {', '.join(TRAINERS)}")
    module, _, name = TRAINERS[recipe.trainer].partition(":")
    made: Trainer = getattr(import_module(module), name)(recipe, place)
    return made
