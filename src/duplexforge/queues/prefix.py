"""The prefix queue: tasks, leases and outcomes as objects in any store; create-if-absent is its only primitive.

How a claim works, and why a crash anywhere leaves it readable, is told in ``claim`` and in README ("The claim"). Cost
of the common path: the lease is created, the body read, ``completed`` written, the todo removed: four requests a task
(three where tasks end by the second and todos go together), and a few listings for up to a thousand claims.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic

from duplexforge import log
from duplexforge.config import QueueSettings
from duplexforge.errors import InputError
from duplexforge.idset import IdSet
from duplexforge.layout import Layout
from duplexforge.queues.base import K, QueueStats, Requeued
from duplexforge.queues.candidates import Candidates
from duplexforge.queues.inspecting import requeue
from duplexforge.queues.lease import PrefixLease
from duplexforge.queues.states import by_task
from duplexforge.queues.sweeping import sweep
from duplexforge.queues.view import LeaseView, Seen
from duplexforge.records import Ended, Lease, parse
from duplexforge.storage import PAGE, Store

_PUT_THREADS = 32
# Leases that are kept back: more of them make every listing longer, fewer make more requests a task.
_GARBAGE = 16
# Tasks that end within so many seconds of each other are tidied up together.
_BRISK = 1.0


class PrefixQueue(Generic[K]):
    """A queue of ``model`` tasks for one stage. Safe to share between the threads of one worker."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        stage: str,
        model: type[K],
        settings: QueueSettings,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.store, self.layout, self.stage, self.model, self.settings = store, layout, stage, model, settings
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._rng = rng or random.Random()
        self._view = LeaseView(store, layout, stage, settings.lease_seconds)
        self._candidates = Candidates(store, layout, stage, self._view, self._rng)
        self._lock = threading.Lock()
        self._garbage: list[str] = []
        self._done: list[str] = []
        self._ended_at = -_BRISK
        self._log = log.get("queue", stage=stage)

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, task: K) -> bool:
        """Add a task; False when its id is waiting, running, completed or failed."""
        if self._ended(task.id):
            return False
        if not self.store.put_if_absent(self.layout.todo(self.stage, task.id), task.to_bytes()):
            return False
        if self._ended(task.id):
            # It ended between the two looks, and this todo would run it again.
            self.store.delete(self.layout.todo(self.stage, task.id))
            return False
        return True

    def put_many(self, tasks: Iterable[K]) -> int:
        """Add tasks in a stream; how many were new. Ids known when it starts are skipped without a request each."""
        stream = iter(tasks)
        first = list(itertools.islice(stream, 8))
        if len(first) < 8:
            return sum(self.put(task) for task in first)
        added = 0
        with IdSet() as known, ThreadPoolExecutor(max_workers=_PUT_THREADS) as pool:
            for state in ("todo", "completed", "failed"):
                known.update(self._ids(state))
            rest = itertools.chain(first, stream)
            while chunk := list(itertools.islice(rest, PAGE)):
                had = known.known(task.id for task in chunk)
                added += sum(pool.map(self._create, [task for task in chunk if task.id not in had]))
        return added

    def _create(self, task: K) -> bool:
        return self.store.put_if_absent(self.layout.todo(self.stage, task.id), task.to_bytes())

    def _ended(self, task_id: str) -> str | None:
        for state, key in (("completed", self.layout.completed), ("failed", self.layout.failed)):
            if self.store.head(key(self.stage, task_id)):
                return state
        return None

    # -- claiming --------------------------------------------------------------------------------------------------

    def claim(self, wait: float = 0.0) -> PrefixLease[K] | None:
        """Lease the next free task, waiting up to ``wait`` seconds for one.

        A free task has no lease, or one that expired, was released or failed for now. Its next attempt's lease is
        created if absent: of many claimants one wins. Only then is the body read, so a task that ended meanwhile is
        seen as gone.
        """
        deadline = time.monotonic() + wait
        pause = 0.1
        while True:
            if lease := self._claim_once():
                return lease
            self.flush()
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, pause * self._rng.uniform(0.5, 1.0)))
            pause = min(pause * 2, 5.0)

    def _claim_once(self) -> PrefixLease[K] | None:
        for task_id in self._candidates.ids():
            seen = self._view.free(task_id, self.store.now())
            if seen is None:
                continue
            began = time.monotonic()
            if lease := self._try(task_id, seen):
                return lease
            self._candidates.lost(time.monotonic() - began)
        return None

    def _try(self, task_id: str, seen: Seen) -> PrefixLease[K] | None:
        record = Lease(
            owner=self.owner,
            nonce=uuid.uuid4().hex[:8],
            granted=self.store.now(),
            length=self.settings.lease_seconds,
            failures=seen.failures,
        )
        attempt = seen.attempt + 1
        if not self.store.put_if_absent(self.layout.lease(self.stage, task_id, attempt), record.to_bytes()):
            self._view.taken(task_id, attempt, self.store.now())
            return None
        lease = self._leased(task_id, attempt, record, self.store.find(self.layout.todo(self.stage, task_id)))
        self._view.taken(task_id, attempt, self.store.now())
        return lease if self._worth_running(lease, seen) else None

    def _leased(self, task_id: str, attempt: int, record: Lease, body: bytes | None) -> PrefixLease[K]:
        return PrefixLease(self, task_id, attempt, record, body)

    def _worth_running(self, lease: PrefixLease[K], seen: Seen) -> bool:
        if lease.body is None:
            self.discard([self.layout.lease(self.stage, lease.task_id, lease.attempt)])
            return False
        # A first attempt cannot meet an end: whoever ends a task removes its todo before its leases.
        if lease.attempt > 1 and (state := self._ended(lease.task_id)):
            self.finish(lease.task_id, lease.attempt)
            self._log.info("finished the cleaning of an ended task", task=lease.task_id, state=state)
            return False
        try:
            limit = lease.task.attempt_limit
        except InputError as error:
            self._refuse(lease, error)
            return False
        if seen.failures >= limit:
            why = seen.error or f"the worker vanished {seen.failures} times"
            lease.give_up(seen.reason or "expired", why, failures=seen.failures)
            return False
        return True

    def _refuse(self, lease: PrefixLease[K], error: InputError) -> None:
        """A body that nobody can read ends as failed; one for a newer program is left to newer workers, uncounted."""
        if error.reason != "newer_version":
            lease.fail(error, permanent=True)
            return
        self._candidates.skipped.add(lease.task_id)
        lease.release()
        self._log.warning("task left to newer workers", task=lease.task_id, error=str(error))

    # -- ends ------------------------------------------------------------------------------------------------------

    def clean(self, task_id: str, attempt: int) -> None:
        """Remove the todo, then leases 1 to ``attempt`` of an ended task (in that order, see ``_worth_running``)."""
        self.store.delete(self.layout.todo(self.stage, task_id))
        self._delete_leases(task_id, attempt)

    def _delete_leases(self, task_id: str, attempt: int) -> None:
        self.store.delete([self.layout.lease(self.stage, task_id, number) for number in range(1, attempt + 1)])

    def finish(self, task_id: str, attempt: int) -> None:
        """Clean up after an ended task from outside. Should it be revived in this very moment, its todo is put back."""
        key = self.layout.todo(self.stage, task_id)
        body = self.store.find(key)
        if body is None:
            # Should a todo come now it is a revived one, and not ours to remove.
            self._delete_leases(task_id, attempt)
            return
        self.clean(task_id, attempt)
        if not self._ended(task_id):
            self.store.put_if_absent(key, body)

    def retire(self, task_id: str, attempt: int) -> None:
        """Tidy up after a completed task: its todo at once, unless tasks end so fast that many go in one request."""
        todo, now = self.layout.todo(self.stage, task_id), time.monotonic()
        with self._lock:
            brisk, self._ended_at = now - self._ended_at < _BRISK, now
            if brisk:
                self._done.append(todo)
        if not brisk:
            self.store.delete(todo)
        self.discard([self.layout.lease(self.stage, task_id, number) for number in range(1, attempt + 1)])

    def discard(self, keys: list[str]) -> None:
        """Remove lease objects some time soon, many in one request."""
        with self._lock:
            self._garbage += keys
            full = len(self._garbage) >= _GARBAGE
        if full:
            self.flush()

    def flush(self) -> None:
        """Remove what was kept back: todos first, for a task whose leases have gone before its todo would run again."""
        with self._lock:
            todos, self._done = self._done, []
            leases, self._garbage = self._garbage, []
        for keys in (todos, leases):
            if keys:
                self.store.delete(keys)

    def tidy(self) -> None:
        """Flush when todos of ended tasks were kept back: they do not wait for the end of a slow task."""
        if self._done:
            self.flush()

    close = flush

    # -- looking ---------------------------------------------------------------------------------------------------

    def _ids(self, state: str) -> Iterator[str]:
        return self._candidates.known(self.store.list(self.layout.queue_prefix(self.stage, state)))

    def stats(self) -> QueueStats:
        """Counts by state. What a crash left half cleaned is counted once, as what it is."""
        self._view.refresh()
        now = self.store.now()
        counts: Counter[str] = Counter()
        for task_id, states in self._states():
            if state := next((one for one in ("completed", "failed") if one in states), None):
                counts[state] += 1
            # A worker's own count leaves out what it must leave to newer ones, or it would never be done.
            elif task_id not in self._candidates.skipped:
                counts["running" if self._view.running(task_id, now) else "waiting"] += 1
        return QueueStats(counts["waiting"], counts["running"], counts["completed"], counts["failed"])

    def _states(self) -> Iterator[tuple[str, set[str]]]:
        # Todos are read before the ends, page by page: a task that ends meanwhile is seen twice rather than not at all.
        return by_task({state: self._ids(state) for state in ("todo", "failed", "completed")})

    def ended(self, outcome: str) -> Iterator[Ended]:
        """Records of ``completed`` or ``failed`` tasks in id order, read eight at a time."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            for page in self.store.pages(self.layout.queue_prefix(self.stage, outcome)):
                bodies = pool.map(self.store.find, [meta.key for meta in page])
                for meta, body in zip(page, bodies, strict=True):
                    if body is not None:
                        yield parse(Ended, body, meta.key)

    def dead(self) -> Iterator[Ended]:
        """Failed tasks that nobody completed."""
        return (record for record in self.ended("failed") if self._ended(record.id) == "failed")

    # -- mending ---------------------------------------------------------------------------------------------------

    def revive(self, task_id: str) -> bool:
        """Put a failed task back with a clean count; False when it is not failed, was completed after all, or is held."""
        key = self.layout.failed(self.stage, task_id)
        body = self.store.find(key)
        if body is None or self._ended(task_id) == "completed":
            return False
        record = parse(Ended, body, key)
        self._view.refresh()
        if self._view.running(task_id, self.store.now()):  # a zombie failed what another attempt works on
            return False
        self.clean(task_id, self._view.attempts(task_id))
        task = parse(self.model, json.dumps(record.task).encode(), key)
        # First the todo, so that a crash between the two leaves a failed task and not none. A sweep that sees both
        # removes the todo, hence the second put.
        self.store.put_if_absent(self.layout.todo(self.stage, task_id), task.to_bytes())
        self.store.delete(key)
        self.put(task)
        return True

    def requeue(self, task_id: str) -> Requeued:
        """Let an open task be claimed now."""
        return requeue(self.store, self.layout, self.stage, task_id, length=self.settings.lease_seconds)

    def sweep(self, done: Callable[[K], bool] | None = None) -> int:
        """Finish what crashes left: todos and leases of ended tasks, failed tasks whose output is committed."""
        self._view.refresh()
        return sweep(self, self._view, self._states(), done)
