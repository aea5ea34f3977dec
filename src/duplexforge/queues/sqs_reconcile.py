"""Finds the tasks that have no message and sends them one.

A message is missing when whoever put the task died before it was sent, when it grew older than the queue keeps messages,
or when SQS moved it to the dead-letter queue by its own count. Which tasks that happened to nobody can ask SQS; but while
it holds fewer messages than there are open tasks, so many are missing. That many free tasks are sent one, oldest first.
Some of them may have one already: a second does no harm, it is deleted when the task has ended. So that second messages hide
no missing one, free tasks are also sent one when none can be received, as long as there are not twice as many as tasks.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from duplexforge.layout import name_of
from duplexforge.queues.sqs_client import Channel
from duplexforge.queues.sqs_message import of_id
from duplexforge.storage import ObjectMeta

if TYPE_CHECKING:
    from duplexforge.queues.sqs import SqsQueue

# Memory: a run remembers no more tasks than this, the next one finds the rest.
_MOST = 20_000
# So many messages more than twice the open tasks are borne.
_SPARE = 10


class Reconciler:
    """Looks every ``interval`` seconds at most, one worker for all of a queue. 0 seconds: always, and each for itself."""

    def __init__(self, queue: SqsQueue[Any], channel: Channel, interval: float, rng: random.Random) -> None:
        self._queue, self._channel, self._interval, self._rng = queue, channel, interval, rng
        self._next = 0.0

    def due(self) -> bool:
        """Whether this worker may take a turn now."""
        return time.monotonic() >= self._next

    def run(self, *, forced: bool = False) -> int:
        """Send what is missing; how many. Without ``forced`` nothing when another worker took the turn."""
        self._next = time.monotonic() + self._interval * self._rng.uniform(1.0, 1.5)
        if not forced and not self._take_turn():
            return 0
        missing = self.missing()
        if missing <= 0:
            return 0
        # SQS counts a minute late, so what was put only now may seem to be missing.
        before = self._queue.store.now() - (0.0 if forced else self._interval)
        oldest = heapq.nsmallest(min(missing, _MOST), self._free(before))
        self._channel.send([of_id(task_id) for _, task_id in oldest])
        if oldest:
            self._queue.log.warning("tasks without a message were sent one", tasks=len(oldest))
        return len(oldest)

    def missing(self) -> int:
        """By how many the open tasks outnumber the messages, as far as SQS can tell."""
        open_tasks = sum(1 for _ in self._todo())
        if not open_tasks:
            return 0
        counts = self._channel.counts()
        if counts.visible == 0 and any(True for _ in self._free(self._queue.store.now())):
            # A second message of one task may stand for the missing one of another: nothing can be had, but a task is free.
            return max(open_tasks - counts.total, min(open_tasks, _SPARE + 2 * open_tasks - counts.total))
        return open_tasks - counts.total

    def _todo(self) -> Iterator[ObjectMeta]:
        return self._queue.waiting()

    def _free(self, before: float) -> Iterator[tuple[float, str]]:
        is_held = self._queue.holder()
        for meta in self._todo():
            if meta.modified <= before and not is_held(name_of(meta.key)):
                yield meta.modified, name_of(meta.key)

    def _take_turn(self) -> bool:
        if self._interval <= 0:
            return True
        store, layout, stage = self._queue.store, self._queue.layout, self._queue.stage
        number = int(store.now() // self._interval)
        key = layout.turn(stage, number)
        if not store.put_if_absent(key, self._queue.owner.encode()):
            return False
        store.delete([meta.key for meta in store.list(layout.turns(stage)) if meta.key < key])
        return True
