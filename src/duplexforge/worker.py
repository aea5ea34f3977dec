"""The one loop of all queue roles: claim, fetch, work, settle by error class, count.

A role is a :class:`Step`: it can tell whether a task's output is already committed, fetch its input, and do the work.
The loop claims and fetches the next task in a second thread while the current one is worked on (with ``lanes`` above 1:
while that many are), renews leases *only while the step shows progress*, and on a stop request claims no more, lets the
running tasks finish within ``drain_seconds``, and hands the rest back uncounted.
"""

from __future__ import annotations

import math
import queue as queues
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from duplexforge import log, metrics
from duplexforge.config import QueueSettings
from duplexforge.errors import DuplexforgeError, Retry
from duplexforge.held import Beats, Held, Holdings
from duplexforge.limits import Limits
from duplexforge.queues.base import Lease, TaskQueue
from duplexforge.records import Task
from duplexforge.step import Progress as Progress
from duplexforge.step import Step as Step
from duplexforge.step import Tally as Tally

K = TypeVar("K", bound=Task)
_IDLE_WAIT = 1.0
# How soon the loop sees a request to stop.
_STOP_LOOK = 0.05
# A task that was sent away this often counts as failed: a site that never has time for it will not have it today.
_MOST_WAITS = 50
# How long the other lanes may take to hand back their tasks once this process must end.
_LANE_GRACE = 20.0


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
        lanes: int = 1,
        limits: Limits | None = None,
    ) -> None:
        self.queue, self.step, self.settings, self.drain = queue, step, settings, drain
        self.stopping = threading.Event()
        self.tally = Tally()
        self.limits = limits or Limits()
        self.recycled = False
        self._lanes = lanes
        self._held: Holdings[K] = Holdings(queue.stage, settings.stall_seconds)
        self._scratch = scratch
        self._deadline: float | None = None
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._fetching = threading.Event()
        self._wake = threading.Event()
        self._fatal: BaseException | None = None
        self._log = log.get("worker", stage=queue.stage)

    def stop(self, grace: float | None = None) -> None:
        """Ask for a stop; the running task may go on for ``grace`` seconds (None: the setting's). Safe in a signal."""
        deadline = time.monotonic() + (self.settings.drain_seconds if grace is None else grace)
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
        self.stopping.set()

    @property
    def moved_at(self) -> float:
        """Monotonic seconds of the last sign of life."""
        return self._held.moved_at

    def run(self) -> Tally:
        """Work until stopped or drained. Raises what a HALT error says; every lease is settled before it returns."""
        ready: queues.Queue[Held[K] | None] = queues.Queue(maxsize=1)
        threads = [
            threading.Thread(target=self._prefetch, args=(ready,), name="prefetch", daemon=True),
            threading.Thread(target=self._renew_loop, name="renew", daemon=True),
        ]
        lanes = [
            threading.Thread(target=self._lane, args=(ready,), name=f"lane-{number}", daemon=True)
            for number in range(1, self._lanes)
        ]
        for thread in threads + lanes:
            thread.start()
        try:
            self._lane(ready)
            self._join(lanes)
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

    def _lane(self, ready: queues.Queue[Held[K] | None]) -> None:
        """Work on one task after the other."""
        try:
            while (held := self._next(ready)) is not None:
                self._handle(held)
            self._offer(ready, None)  # the end is the other lanes' too
        except BaseException as error:  # noqa: BLE001 - raised again by run(), in the main thread
            self._fatal = self._fatal or error
            self.stop(grace=0)

    def _join(self, lanes: list[threading.Thread]) -> None:
        """Wait for the other lanes; not for one that hangs in a broken device."""
        for lane in lanes:
            while lane.is_alive() and not (self._fatal and self.overdue_for(_LANE_GRACE)):
                lane.join(timeout=_STOP_LOOK)

    def _next(self, ready: queues.Queue[Held[K] | None]) -> Held[K] | None:
        while not self.stopping.is_set():
            with suppress(queues.Empty):
                return ready.get(timeout=_STOP_LOOK)
        return None

    # -- claiming, one task ahead ----------------------------------------------------------------------------------

    def _prefetch(self, ready: queues.Queue[Held[K] | None]) -> None:
        try:
            while not self.stopping.is_set():
                # One task ahead and no more. And a worker that hangs would claim its own task again, while livez said
                # that all is well.
                if not ready.empty() or self._held.stalled():
                    self.stopping.wait(_STOP_LOOK)
                    continue
                self._held.moved_at = time.monotonic()
                lease = self.queue.claim(wait=0.0 if self.drain else _IDLE_WAIT)
                if lease is None:
                    if self.drain and self.queue.stats().open == 0:
                        break
                    if self.drain:
                        self._wake.wait(_IDLE_WAIT)
                        self._wake.clear()
                    continue
                if self.stopping.is_set() or self._held.stalled():
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
        self._held.add(held)
        self._fetching.set()
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
            for held in self._held.all():
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
                self._held.start(held)
                beats = Beats(self._held, held, self.overdue)
                result = self.step.work(lease.task, held.fetched, f"a{lease.attempt}-{lease.nonce}", beats)
            lease.complete(result)
        except Exception as error:  # noqa: BLE001 - the boundary: every error ends in a settled lease
            word, reason = self._settle(lease, error)
        finally:
            self._held.forget(held)
            self._wake.set()
        self._count(word, reason, time.monotonic() - started)
        self._look_after_itself()

    def _settle(self, lease: Lease[K], error: Exception) -> tuple[str, str]:
        rule = error.retry if isinstance(error, DuplexforgeError) else Retry.LATER
        reason = error.reason if isinstance(error, DuplexforgeError) else "bug"
        say: Callable[..., None] = self._log.warning
        if rule is Retry.RELEASE:
            lease.release()
            word = "released"
        elif rule is Retry.ABANDON:
            word = "released"
        elif rule is Retry.WAIT and lease.attempt < _MOST_WAITS:
            lease.release(after=getattr(error, "after", None) or self.settings.retry_seconds)
            word = "released"
        elif rule is Retry.HALT:
            lease.release()
            self._fatal, word = error, "released"
            self.stop(grace=0)
        elif rule is Retry.BROKEN and self._fatal is not None:
            # The device broke under another task before: this one is not to blame.
            lease.release()
            word = "released"
        else:
            if rule is Retry.BROKEN:
                self._fatal = error
                self.stop(grace=0)
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
            self._held.forget(held)
        self._count("released", "preempted", 0.0)

    def _count(self, word: str, reason: str, seconds: float) -> None:
        with self._lock:
            setattr(self.tally, word, getattr(self.tally, word) + 1)
        metrics.TASKS.labels(self.queue.stage, word, reason).inc()
        if word == "completed":
            metrics.TASK_SECONDS.labels(self.queue.stage).observe(seconds)

    # -- leases and ends -------------------------------------------------------------------------------------------

    def _renew_loop(self) -> None:
        while not self._finished.wait(self.settings.lease_seconds / 6):
            self._held.renew_all()

    def _look_after_itself(self) -> None:
        """Ask for a fresh process after many tasks or much memory: what leaks is the libraries' and not to be found."""
        if self.recycled or not (why := self.limits.reached(self.tally.settled)):
            return
        self._log.info("this worker makes way for a fresh one", why=why)
        self.recycled = True
        self.stop(grace=math.inf)

    def overdue(self) -> bool:
        """Whether a stop was asked for and its grace is over."""
        return self.overdue_for(0.0)

    def overdue_for(self, seconds: float) -> bool:
        """Whether the grace has been over for ``seconds``."""
        return self._deadline is not None and time.monotonic() >= self._deadline + seconds
