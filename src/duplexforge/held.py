"""The tasks that a worker holds: their leases are renewed *only while they show progress*, and one that hangs is found.

A task hangs when it has shown no progress for the stall time. One that waits for another task of the same worker shows
none of its own, so it is judged by the worker's: as long as any task moves, waiting is no fault.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from duplexforge import log, metrics
from duplexforge.errors import DuplexforgeError, LeaseLost, Preempted
from duplexforge.queues.base import Lease
from duplexforge.records import Task

K = TypeVar("K", bound=Task)


@dataclass
class Held(Generic[K]):
    """A claimed task on its way through the worker; ``beat_at`` is monotonic seconds of the last progress shown."""

    lease: Lease[K]
    folder: tempfile.TemporaryDirectory[str]
    fetched: Any = None
    error: BaseException | None = None
    skip: bool = False
    working: bool = False
    waiting: bool = False
    lost: threading.Event = field(default_factory=threading.Event)
    beat_at: float = field(default_factory=time.monotonic)


class Holdings(Generic[K]):
    """Everything that one worker holds; safe for all of its threads. ``moved_at`` is when any task last moved."""

    def __init__(self, stage: str, stall_seconds: float) -> None:
        self.moved_at = time.monotonic()
        self._stage, self._stall_seconds = stage, stall_seconds
        self._by_id: dict[int, Held[K]] = {}
        self._lock = threading.Lock()
        self._log = log.get("worker", stage=stage)

    def add(self, held: Held[K]) -> None:
        """Take a task on."""
        with self._lock:
            self._by_id[id(held)] = held
        metrics.LEASES.labels(self._stage).inc()

    def forget(self, held: Held[K]) -> None:
        """A settled task: its folder is removed."""
        with self._lock:
            known = self._by_id.pop(id(held), None) is not None
        held.folder.cleanup()
        if known:
            metrics.LEASES.labels(self._stage).dec()

    def all(self) -> list[Held[K]]:
        """The tasks held now."""
        with self._lock:
            return list(self._by_id.values())

    def start(self, held: Held[K]) -> None:
        """The work on a task begins."""
        held.beat_at, held.working = time.monotonic(), True

    def beat(self, held: Held[K]) -> None:
        """A task has moved."""
        held.beat_at = self.moved_at = time.monotonic()
        held.waiting = False

    def stalled(self) -> bool:
        """Whether any task hangs."""
        return any(self._hangs(held) for held in self.all())

    def _hangs(self, held: Held[K]) -> bool:
        since = max(held.beat_at, self.moved_at) if held.waiting else held.beat_at
        return held.working and time.monotonic() - since > self._stall_seconds

    def renew_all(self) -> None:
        """Renew the leases of all tasks that show progress."""
        for one in self.all():
            self._renew(one)

    def _renew(self, held: Held[K]) -> None:
        if self._hangs(held):
            if not held.lost.is_set():
                self._log.error("no progress, so the task will be run again elsewhere", task=held.lease.task_id)
            held.lost.set()
            return
        if not held.working and not held.lost.is_set() and self.stalled():
            # It would wait behind a task that hangs: better it goes to another worker, uncounted.
            held.lost.set()
            held.error = LeaseLost(f"task {held.lease.task_id} was handed back: the one before it hangs")
            held.lease.release()
            return
        try:
            held.lease.renew()
        except LeaseLost:
            held.lost.set()
        except DuplexforgeError as error:
            self._log.warning("lease not renewed this time", task=held.lease.task_id, error=str(error))


class Beats(Generic[K]):
    """The progress of one task, as its step shows it (:class:`duplexforge.step.Progress`)."""

    def __init__(self, holdings: Holdings[K], held: Held[K], overdue: Callable[[], bool]) -> None:
        self._holdings, self._held, self._overdue = holdings, held, overdue

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        self._holdings.beat(self._held)
        self._check(what, fraction)

    def wait(self, what: str = "", fraction: float = 0.0) -> None:
        self._held.waiting = True
        self._check(what, fraction)

    def check_lease(self) -> None:
        if not self._held.lease.still_mine():
            raise LeaseLost(f"task {self._held.lease.task_id} was taken over before its commit")
        self.beat("commit")

    def _check(self, what: str, fraction: float) -> None:
        if self._held.lost.is_set():
            raise LeaseLost(f"task {self._held.lease.task_id} was taken over")
        if self._overdue():
            raise Preempted(f"stopped at {what or 'a checkpoint'} ({fraction:.0%})")
