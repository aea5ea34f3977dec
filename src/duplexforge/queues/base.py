"""The contract of a task queue; one suite in ``tests/contract`` runs on every backend.

A queue hands out *leases*. A lease is held by one worker, lasts as long as it is renewed, and ends by exactly one of
``complete``, ``release`` or ``fail``; leaving its block unsettled releases it. Losing a lease is normal: who commits
first wins, and the commit rule (``storage.put_if_absent`` of a manifest) makes the loser's work invisible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from duplexforge.records import Ended, Task

K = TypeVar("K", bound=Task)
K_co = TypeVar("K_co", bound=Task, covariant=True)

Requeued = Literal["claimable", "held", "ended", "unknown"]
"""What became of a task that was to be put back: anybody may claim it now, an attempt holds it, it has ended, no such task."""


@dataclass(frozen=True)
class QueueStats:
    """How many tasks are in which state; ``running`` counts leases that have not expired."""

    waiting: int
    running: int
    completed: int
    failed: int

    @property
    def open(self) -> int:
        """Tasks that have not ended."""
        return self.waiting + self.running


class Lease(Protocol[K_co]):
    """One attempt at one task. ``attempt`` counts from 1 and fences: a later attempt has a greater number."""

    @property
    def task(self) -> K_co:
        """The task; raises InputError(``bad_record``) when its body makes no sense."""

    @property
    def task_id(self) -> str:
        """The id, readable even when the body is not."""

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""

    @property
    def nonce(self) -> str:
        """A word no other attempt has; part of every key this attempt writes."""

    def renew(self) -> None:
        """Hold the task for another lease length. Raises LeaseLost when a later attempt exists."""

    def still_mine(self) -> bool:
        """Ask the queue, now, whether no later attempt exists."""

    def complete(self, result: dict[str, Any] | None = None) -> None:
        """The task is done (idempotent; also right when another attempt did it)."""

    def release(self, after: float = 0.0) -> None:
        """Hand the task back uncounted, not to be claimed before ``after`` seconds have gone."""

    def fail(self, error: BaseException, *, permanent: bool, after: float | None = None) -> bool:
        """Count a failure. True when the task has thereby ended as failed (permanent, or the limit is reached)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TaskQueue(Protocol, Generic[K]):
    """A queue of one stage."""

    stage: str

    def put(self, task: K) -> bool:
        """Add a task. False when its id is known in any state."""

    def put_many(self, tasks: Iterable[K]) -> int:
        """Add tasks in a stream (flat memory); how many were new."""

    def claim(self, wait: float = 0.0) -> Lease[K] | None:
        """The next task, or None when none could be had for ``wait`` seconds."""

    def stats(self) -> QueueStats:
        """Counts by state."""

    def ended(self, outcome: str) -> Iterator[Ended]:
        """Records of ``completed`` or ``failed`` tasks, in id order."""

    def dead(self) -> Iterator[Ended]:
        """Records of failed tasks that nobody completed, in id order."""

    def revive(self, task_id: str) -> bool:
        """Put a failed task back with a clean count. False when it is not failed, or while an attempt still holds it."""

    def requeue(self, task_id: str) -> Requeued:
        """Let an open task be claimed now, though it waits for its time or its message is lost. Never touches a live lease."""

    def sweep(self, done: Callable[[K], bool] | None = None) -> int:
        """Finish what crashes left half done; ``done`` tells whether a task's output is committed. How much it mended."""

    def close(self) -> None:
        """Write what was kept back; the queue is not used afterwards."""
