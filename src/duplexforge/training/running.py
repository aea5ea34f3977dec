"""One training run from a recipe to exported weights: the place of this process, its trackers, and what SIGTERM means."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from duplexforge.errors import ModelError, RetryLater
from duplexforge.training.recipe import Recipe

if TYPE_CHECKING:
    from duplexforge.training.remote import Remote

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """How the run ended, as it is told to the one who started it.

    ``exit_code`` is 0, but 75 for a run that was stopped among several processes: whoever starts those takes 0 for done.
    """

    reason: str
    step: int
    rank: int
    output: str
    figures: dict[str, float] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: getattr(self, name) for name in ("reason", "step", "output", "figures", "exported")}

    def to_text(self) -> str:
        """For people."""
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items()) or "not evaluated yet"
        said = {"done": "done", "plateau": "ended, as it got no better", "stopped": "stopped; --resume auto goes on"}
        return f"{said[self.reason]} after {self.step} steps: {scores}; {', '.join(self.exported) or self.output}"


def run(
    recipe: Recipe,
    *,
    resume: str | None,
    wandb_project: str | None,
    wandb_key: str | None,
    open_remote: Callable[[], Remote] | None = None,
) -> Outcome:
    """Run ``recipe``; what it saves goes to the store too where ``open_remote`` opens one.

    A ModelError when torch is not installed, a StoreError when the last checkpoint is on this disk alone.
    """
    want_torch()
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
        remote = open_remote() if open_remote and place.rank == 0 else None
        try:
            ended = Run(recipe, trainer, place, trackers, stop=stopping.is_set, remote=remote).go(resume)
        finally:
            if trackers:
                trackers.close()
        if remote:
            remote.close()
        # The first to leave is taken for a failure, and the others are ended: the first process may still be sending.
        distributed.wait_for_all(place.size)
    code = RetryLater.exit_code if ended.reason == "stopped" and distributed.launched() else 0
    exported = [str(path) for path in ended.exported]
    return Outcome(ended.reason, ended.step, place.rank, str(recipe.output), dict(ended.figures), exported, code)


def want_torch() -> None:
    """ModelError when torch is not installed."""
    try:
        import torch  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ModelError("training wants torch: pip install torch, then duplexforge[train]") from error


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
