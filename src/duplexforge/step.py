"""What a role is to the worker: one kind of step, the progress it shows, and the count of what became of its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from duplexforge.records import Task

K_contra = TypeVar("K_contra", bound=Task, contravariant=True)


class Progress(Protocol):
    """What a step is given to show that it moves."""

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        """Show progress; a checkpoint: raises LeaseLost or Preempted when the task must stop here."""

    def wait(self, what: str = "", fraction: float = 0.0) -> None:
        """Say that this task waits for another one of the same worker. A checkpoint too."""

    def check_lease(self) -> None:
        """Ask the queue, now, whether the task is still ours: the last look before a commit. Raises LeaseLost."""


class Step(Protocol[K_contra]):
    """One role's work on one task."""

    def done(self, task: K_contra) -> bool:
        """Whether the output of the task is committed already."""

    def fetch(self, task: K_contra, folder: Path) -> Any:
        """Bring the input to ``folder``; what it returns is handed to ``work``. Runs in the prefetch thread."""

    def work(self, task: K_contra, fetched: Any, attempt: str, progress: Progress) -> dict[str, Any]:
        """Do the task and commit it. ``attempt`` is a name no other attempt has. Returns facts for the record."""


@dataclass
class Tally:
    """What a worker did, by outcome."""

    completed: int = 0
    skipped: int = 0
    failed: int = 0
    retried: int = 0
    released: int = 0

    @property
    def settled(self) -> int:
        """Tasks that this worker has let go of, whatever became of them."""
        return self.completed + self.skipped + self.failed + self.retried + self.released
