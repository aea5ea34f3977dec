"""One training run from a recipe to exported weights: the place of this process, its trackers, and what SIGTERM means."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from duplexforge.errors import ModelError
from duplexforge.training.recipe import Recipe

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """How the run ended, as it is told to the one who started it."""

    reason: str
    step: int
    rank: int
    output: str
    figures: dict[str, float] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: getattr(self, name) for name in ("reason", "step", "output", "figures", "exported")}

    def to_text(self) -> str:
        """For people."""
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items()) or "not evaluated yet"
        said = {"done": "done", "plateau": "ended, as it got no better", "stopped": "stopped; --resume auto goes on"}
        return f"{said[self.reason]} after {self.step} steps: {scores}; {', '.join(self.exported) or self.output}"


def run(recipe: Recipe, *, resume: str | None, wandb_project: str | None, wandb_key: str | None) -> Outcome:
    """Run ``recipe``. A ModelError when torch is not installed."""
    try:
        import torch  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ModelError("training wants torch: pip install torch, then duplexforge[train]") from error
    from duplexforge.training import distributed
    from duplexforge.training.loop import Run
    from duplexforge.training.trackers import open_trackers
    from duplexforge.training.trainers import open_trainer

    with _asked_to_stop() as stopping, distributed.joined() as place:
        trainer = open_trainer(recipe, place)
        trackers = None
        if place.rank == 0:
            facts = recipe.model_dump(mode="json")
            trackers = open_trackers(recipe.output, wandb_project=wandb_project, wandb_key=wandb_key, facts=facts)
        try:
            ended = Run(recipe, trainer, place, trackers, stop=stopping.is_set).go(resume)
        finally:
            if trackers:
                trackers.close()
    exported = [str(path) for path in ended.exported]
    return Outcome(ended.reason, ended.step, place.rank, str(recipe.output), dict(ended.figures), exported)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set: the step that runs is finished and saved first. A second one ends at once."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
