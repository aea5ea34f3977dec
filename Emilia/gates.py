"""How several episodes share one set of models: a gate per stage, and a record of how long each was in use.

With a gate before every stage, one episode is decoded while another is on the GPU and a third is being encoded; the
older episode always goes first, so that work started is work finished.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Gate", "Usage"]

Clock = Callable[[], float]


class Gate:
    """Lets one thread at a time through; of those that wait, the one with the lowest ticket."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._taken = False

    @contextmanager
    def passing(self, ticket: int, waiting: Callable[[], None], every: float = 1.0) -> Iterator[None]:
        """Hold the gate for the block. While another thread has it, ``waiting`` is called every ``every`` seconds; what
        it raises ends the wait. Tickets are unique.
        """
        self._enter(ticket, waiting, every)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _enter(self, ticket: int, waiting: Callable[[], None], every: float) -> None:
        with self._changed:
            heapq.heappush(self._waiting, ticket)
        try:
            while not self._try(ticket, every):
                # Outside the lock: a caller that is slow to answer must not hold up the others.
                waiting()
        except BaseException:
            with self._changed:
                self._waiting.remove(ticket)
                heapq.heapify(self._waiting)
                self._changed.notify_all()
            raise

    def _try(self, ticket: int, seconds: float) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._taken and self._waiting[0] == ticket, timeout=seconds):
                return False
            heapq.heappop(self._waiting)
            self._taken = True
            return True


class Usage:
    """Seconds during which at least one thread was inside each named block, however many were."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._inside: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._total: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the block as use of ``name``."""
        with self._lock:
            self._inside[name] = self._inside.get(name, 0) + 1
            if self._inside[name] == 1:
                self._since[name] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._inside[name] -= 1
                if not self._inside[name]:
                    self._total[name] = self._total.get(name, 0.0) + self._clock() - self._since[name]

    def seconds(self) -> dict[str, float]:
        """Seconds of use by name, blocks that are still running included."""
        with self._lock:
            now = self._clock()
            return {
                name: self._total.get(name, 0.0) + (now - self._since[name] if inside else 0.0)
                for name, inside in self._inside.items()
            }
