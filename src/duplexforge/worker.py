"""The one loop of all queue roles: claim, fetch, work, settle by error class, count.

A role is a :class:`Step`: it can tell whether a task's output is already committed, fetch its input, and do the work.
The loop claims and fetches the next task in a second thread while the current one is worked on, renews leases *only
while the step shows progress*, and on a stop request claims no more, lets the running task finish within
``drain_seconds``, and hands the rest back uncounted.
"""

from __future__ import annotations

import queue as queues
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from duplexforge import log, metrics
from duplexforge.config import QueueSettings
from duplexforge.errors import DuplexforgeError, LeaseLost, Preempted, Retry
from duplexforge.queues.base import Lease, TaskQueue
from duplexforge.records import Task
from duplexforge.step import Progress as Progress
from duplexforge.step import Step as Step
from duplexforge.step import Tally as Tally

K = TypeVar("K", bound=Task)
_IDLE_WAIT = 1.0
# How soon the loop sees a request to stop.
_STOP_LOOK = 0.05


@dataclass
class Held(Generic[K]):
    """A claimed task on its way through the worker; ``beat_at`` is monotonic seconds of the last progress shown."""

    lease: Lease[K]
    folder: tempfile.TemporaryDirectory[str]
    fetched: Any = None
    error: BaseException | None = None
    skip: bool = False
    working: bool = False
    lost: threading.Event = field(default_factory=threading.Event)
    beat_at: float = field(default_factory=time.monotonic)


class Worker(Generic[K]):
    """Runs a step on a queue until it is stopped, or, with ``drain``, until no task is open."""

    def __init__(
        self,
        queue: TaskQueue[K],
        step: Step[K],
        settings: QueueSettings,
        *,
        scratch: Path | None = None,
        drain: bool = False,
    ) -> None:
        self.queue, self.step, self.settings, self.drain = queue, step, settings, drain
        self.stopping = threading.Event()
        self.moved_at = time.monotonic()
        self.tally = Tally()
        self._scratch = scratch
        self._deadline: float | None = None
        self._by_id: dict[int, Held[K]] = {}
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._fetching = threading.Event()
        self._wake = threading.Event()
        self._fatal: BaseException | None = None
        self._log = log.get("worker", stage=queue.stage)

    def stop(self, grace: float | None = None) -> None:
        """Ask for a stop; the running task may go on for ``grace`` seconds (None: the setting's). Safe in a signal."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (self.settings.drain_seconds if grace is None else grace)
        self.stopping.set()

    def run(self) -> Tally:
        """Work until stopped or drained. Raises what a HALT error says; every lease is settled before it returns."""
        ready: queues.Queue[Held[K] | None] = queues.Queue(maxsize=1)
        threads = [
            threading.Thread(target=self._prefetch, args=(ready,), name="prefetch", daemon=True),
            threading.Thread(target=self._renew_loop, name="renew", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            while (held := self._next(ready)) is not None:
                self._handle(held)
        finally:
            self.stopping.set()
            self._wake.set()
            self._drop_rest(threads[0])
            self._finished.set()
            threads[1].join(timeout=5)
            with suppress(DuplexforgeError):  # what is left is swept at the next start
                self.queue.close()
        if self._fatal is not None:
            raise self._fatal
        return self.tally

    def _next(self, ready: queues.Queue[Held[K] | None]) -> Held[K] | None:
        while not self.stopping.is_set():
            with suppress(queues.Empty):
                return ready.get(timeout=_STOP_LOOK)
        return None

    # -- claiming, one task ahead ----------------------------------------------------------------------------------

    def _prefetch(self, ready: queues.Queue[Held[K] | None]) -> None:
        try:
            while not self.stopping.is_set():
                if self._stalled():
                    # Else a worker that hangs would claim its own task again, and livez would say that all is well.
                    self.stopping.wait(_STOP_LOOK)
                    continue
                self.moved_at = time.monotonic()
                lease = self.queue.claim(wait=0.0 if self.drain else _IDLE_WAIT)
                if lease is None:
                    if self.drain and self.queue.stats().open == 0:
                        break
                    if self.drain:
                        self._wake.wait(_IDLE_WAIT)
                        self._wake.clear()
                    continue
                if self.stopping.is_set() or self._stalled():
                    lease.release()
                    continue
                self._offer(ready, self._fetch(lease))
        except BaseException as error:  # noqa: BLE001 - the loop broke (store gone, access refused): tell the main thread
            self._fatal = error
        finally:
            self._fetching.clear()
            self._offer(ready, None)

    def _offer(self, ready: queues.Queue[Held[K] | None], held: Held[K] | None) -> None:
        while not self.stopping.is_set():
            with suppress(queues.Full):
                ready.put(held, timeout=_STOP_LOOK)
                return

    def _fetch(self, lease: Lease[K]) -> Held[K]:
        try:
            folder = tempfile.TemporaryDirectory(prefix="duplexforge-", dir=self._scratch, ignore_cleanup_errors=True)
        except OSError:  # no room, or no such folder: this machine's fault, not the task's
            lease.release()
            raise
        held = Held(lease, folder)
        with self._lock:
            self._by_id[id(held)] = held
            self._fetching.set()
        metrics.LEASES.labels(self.queue.stage).inc()
        try:
            if self.step.done(lease.task):
                held.skip = True
            else:
                held.fetched = self.step.fetch(lease.task, Path(held.folder.name))
        except BaseException as error:  # noqa: BLE001 - settled by the main thread, by its class
            held.error = error
        self._fetching.clear()
        return held

    def _drop_rest(self, prefetch: threading.Thread) -> None:
        """Hand back what was not started. A claim under way is waited for, a fetch is not: its lease is given up."""
        while True:
            over = not prefetch.is_alive() or self._fetching.is_set()
            with self._lock:
                unstarted = list(self._by_id.values())
            for held in unstarted:
                self._hand_back(held)
            if over:
                return
            prefetch.join(timeout=_STOP_LOOK)

    # -- one task --------------------------------------------------------------------------------------------------

    def _handle(self, held: Held[K]) -> None:
        lease, started = held.lease, time.monotonic()
        word, reason = "completed", ""
        try:
            if held.error is not None:
                raise held.error
            result: dict[str, Any] = {"skipped": "its output was committed already"}
            if held.skip:
                word = "skipped"
            else:
                held.beat_at, held.working = time.monotonic(), True
                result = self.step.work(lease.task, held.fetched, f"a{lease.attempt}-{lease.nonce}", _Beats(self, held))
            lease.complete(result)
        except Exception as error:  # noqa: BLE001 - the boundary: every error ends in a settled lease
            word, reason = self._settle(lease, error)
        finally:
            self._forget(held)
            self._wake.set()
        self._count(word, reason, time.monotonic() - started)

    def _settle(self, lease: Lease[K], error: Exception) -> tuple[str, str]:
        rule = error.retry if isinstance(error, DuplexforgeError) else Retry.LATER
        reason = error.reason if isinstance(error, DuplexforgeError) else "bug"
        say: Callable[..., None] = self._log.warning
        if rule is Retry.RELEASE:
            lease.release()
            word = "released"
        elif rule is Retry.ABANDON:
            word = "released"
        elif rule is Retry.HALT:
            lease.release()
            self._fatal, word = error, "released"
            self.stop(grace=0)
        else:
            ended = lease.fail(error, permanent=rule is Retry.PERMANENT, after=getattr(error, "after", None))
            word = "failed" if ended else "retried"
            if reason == "bug":
                say = self._log.exception
        say("task not done", task=lease.task_id, attempt=lease.attempt, settled=word, reason=reason, error=str(error))
        return word, reason

    def _hand_back(self, held: Held[K]) -> None:
        try:
            held.lease.release()
        except DuplexforgeError as error:
            self._log.warning("lease not released, so it must expire", task=held.lease.task_id, error=str(error))
        finally:
            self._forget(held)
        self._count("released", "preempted", 0.0)

    def _forget(self, held: Held[K]) -> None:
        with self._lock:
            self._by_id.pop(id(held), None)
        held.folder.cleanup()
        metrics.LEASES.labels(self.queue.stage).dec()

    def _count(self, word: str, reason: str, seconds: float) -> None:
        setattr(self.tally, word, getattr(self.tally, word) + 1)
        metrics.TASKS.labels(self.queue.stage, word, reason).inc()
        if word == "completed":
            metrics.TASK_SECONDS.labels(self.queue.stage).observe(seconds)

    # -- leases ----------------------------------------------------------------------------------------------------

    def _renew_loop(self) -> None:
        while not self._finished.wait(self.settings.lease_seconds / 6):
            with self._lock:
                held = list(self._by_id.values())
            for one in held:
                self._renew(one)

    def _hangs(self, held: Held[K]) -> bool:
        return held.working and time.monotonic() - held.beat_at > self.settings.stall_seconds

    def _stalled(self) -> bool:
        with self._lock:
            return any(self._hangs(held) for held in self._by_id.values())

    def _renew(self, held: Held[K]) -> None:
        if self._hangs(held):
            if not held.lost.is_set():
                self._log.error("no progress, so the task will be run again elsewhere", task=held.lease.task_id)
            held.lost.set()
            return
        if not held.working and not held.lost.is_set() and self._stalled():
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

    def overdue(self) -> bool:
        """Whether a stop was asked for and its grace is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline


class _Beats(Generic[K]):
    """The progress of one task, seen by the worker."""

    def __init__(self, worker: Worker[K], held: Held[K]) -> None:
        self._worker, self._held = worker, held

    def beat(self, what: str = "", fraction: float = 0.0) -> None:
        self._held.beat_at = self._worker.moved_at = time.monotonic()
        if self._held.lost.is_set():
            raise LeaseLost(f"task {self._held.lease.task_id} was taken over")
        if self._worker.overdue():
            raise Preempted(f"stopped at {what or 'a checkpoint'} ({fraction:.0%})")

    def check_lease(self) -> None:
        if not self._held.lease.still_mine():
            raise LeaseLost(f"task {self._held.lease.task_id} was taken over before its commit")
        self.beat("commit")
