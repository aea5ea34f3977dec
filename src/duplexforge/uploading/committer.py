"""Gathers the finished shards of one process into shared commits: the first lane that waits commits for all.

The Hub counts commits and every one costs a round of requests, so shards that are ready at about the same time go
together. A lane that cannot go on (stopped, lease lost, killed) never takes another's shard with it: the next waiting
lane finds it still waiting and commits it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from duplexforge.errors import LeaseLost, Preempted
from duplexforge.step import Progress
from duplexforge.uploading.shard import Beat

S = TypeVar("S")
R = TypeVar("R")
_LOOK_SECONDS = 0.05
# A lane that got no task for this long will hardly get one soon.
_QUIET_SECONDS = 1.0


@dataclass
class _Place(Generic[S, R]):
    """A shard that waits, and what became of it."""

    shard: S
    done: threading.Event = field(default_factory=threading.Event)
    result: R | Exception | None = None


class Committer(Generic[S, R]):
    """``commit`` gives one result or error a shard, in their order, for at most ``most`` shards, while ``turn`` is held.

    The first of the ``lanes`` that waits gives the others up to ``wait_seconds`` to join it.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[S], Beat], Sequence[R | Exception]],
        turn: Callable[[Beat], AbstractContextManager[Beat]],
        *,
        lanes: int,
        most: int,
        wait_seconds: float,
    ) -> None:
        self._commit, self._turn, self._wait_seconds = commit, turn, wait_seconds
        self._most, self._full = most, min(most, lanes)
        self._waiting: list[_Place[S, R]] = []
        self._at_work = 0
        self._changed = 0.0
        self._lock = threading.Lock()
        self._leading = threading.Lock()

    @contextmanager
    def lane(self) -> Iterator[None]:
        """A lane at work, for whose shard the others may wait."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, lanes: int) -> None:
        with self._lock:
            self._at_work += lanes
            self._changed = time.monotonic()

    def publish(self, shard: S, progress: Progress) -> R:
        """Have a shard committed, by this lane or another; its result, or its error is raised."""
        place: _Place[S, R] = _Place(shard)
        with self._lock:
            self._waiting.append(place)
        try:
            while not place.done.is_set():
                if self._leading.acquire(blocking=False):
                    try:
                        if not place.done.is_set():
                            self._lead(place, progress)
                    finally:
                        self._leading.release()
                else:
                    progress.wait("waiting for a commit", 0.92)
                    place.done.wait(_LOOK_SECONDS)
        finally:
            with self._lock:
                if place in self._waiting:
                    self._waiting.remove(place)
        if isinstance(place.result, Exception):
            raise place.result
        assert place.result is not None
        return place.result

    def _lead(self, mine: _Place[S, R], progress: Progress) -> None:
        """Commit everything that waits; the caller holds the lead."""
        deadline = time.monotonic() + self._wait_seconds
        while time.monotonic() < deadline and not self._enough():
            progress.beat("gathering shards", 0.92)
            time.sleep(_LOOK_SECONDS)
        group: list[_Place[S, R]] = []
        try:
            with self._turn(progress.beat) as beat:
                # Only now: more shards may have come while another process had its turn.
                with self._lock:
                    group = self._waiting[: self._most]
                results = self._commit([place.shard for place in group], beat)
        except (LeaseLost, Preempted):
            raise  # this lane's own end: the others' shards still wait
        except Exception as error:  # noqa: BLE001 - every waiting lane settles its own task by it
            group = group or [mine]
            results = [error] * len(group)
        with self._lock:
            for place, result in zip(group, results, strict=True):
                place.result = result
                if place in self._waiting:
                    self._waiting.remove(place)
                place.done.set()

    def _enough(self) -> bool:
        """Whether waiting longer would bring nothing more: every lane waits, or all that are at work and none begins."""
        with self._lock:
            quiet = time.monotonic() - self._changed > _QUIET_SECONDS
            return len(self._waiting) >= self._full or (quiet and len(self._waiting) >= self._at_work)
