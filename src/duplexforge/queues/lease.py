"""A lease of the prefix queue: one object that only its owner writes after creating it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

from duplexforge.errors import DuplexforgeError, InputError, LeaseLost
from duplexforge.queues.base import K
from duplexforge.records import Ended, Lease, Task, parse

if TYPE_CHECKING:
    from duplexforge.queues.prefix import PrefixQueue


class PrefixLease(Generic[K]):
    """See ``queues.base.Lease``. Writes of the lease object are serialised: renewal runs in another thread."""

    def __init__(self, queue: PrefixQueue[K], task_id: str, attempt: int, record: Lease, body: bytes | None) -> None:
        self.task_id, self.attempt, self.body = task_id, attempt, body
        self._queue, self._record = queue, record
        self._task: K | None = None
        self._settled = False
        self._write_lock = threading.Lock()

    @property
    def task(self) -> K:
        """The task, parsed at first use; InputError(``bad_record``) when the body makes no sense."""
        if self._task is None:
            what = f"task {self.task_id} of the {self._queue.stage} queue"
            task = parse(self._queue.model, self.body or b"", what)
            if task.id not in ("", self.task_id):
                raise InputError(f"{what} calls itself {task.id!r}: its file name is its id", reason="bad_record")
            self._task = task.model_copy(update={"id": self.task_id})
        return self._task

    @property
    def nonce(self) -> str:
        """The word that marks this attempt's files."""
        return self._record.nonce

    @property
    def failures(self) -> int:
        """Earlier attempts that failed or expired."""
        return self._record.failures

    def renew(self) -> None:
        """Write the lease again, then look for a later attempt: whoever is fenced off learns it here."""
        with self._write_lock:
            if self._settled:
                return
            self._queue.store.put(self._key(self.attempt), self._record.to_bytes())
        if not self.still_mine():
            raise LeaseLost(f"task {self.task_id}: attempt {self.attempt + 1} took over")
        self._queue.tidy()

    def still_mine(self) -> bool:
        """Whether no later attempt exists."""
        return self._queue.store.head(self._key(self.attempt + 1)) is None

    def complete(self, result: dict[str, Any] | None = None) -> None:
        """Write ``completed``, then remove the todo; the leases follow in bulk (see ``PrefixQueue.retire``)."""
        self._settle()
        queue = self._queue
        ended = Ended.of(self.task, "completed", self.attempt, failures=self.failures, result=result or {})
        queue.store.put_if_absent(queue.layout.completed(queue.stage, self.task_id), ended.to_bytes())
        if self.attempt > 1:
            queue.store.delete(queue.layout.failed(queue.stage, self.task_id))
        queue.retire(self.task_id, self.attempt)

    def release(self, after: float = 0.0) -> None:
        """Mark the lease as released; the next attempt does not count this one as a failure."""
        self._end_attempt("released", after)

    def fail(self, error: BaseException, *, permanent: bool, after: float | None = None) -> bool:
        """Count the failure; the task ends as failed when it is ``permanent`` or the limit is reached."""
        reason = error.reason if isinstance(error, DuplexforgeError) else "bug"
        message = str(error) or type(error).__name__
        if permanent or self.failures + 1 >= self.task.attempt_limit:
            self.give_up(reason, message)
            return True
        delay = self._queue.settings.retry_seconds * 2**self.failures if after is None else after
        self._end_attempt("failed", delay, reason=reason, error=message)
        return False

    def give_up(self, reason: str, message: str, *, failures: int | None = None) -> None:
        """End the task as failed: ``failed`` is written, then todo and leases go. ``failures`` includes this attempt's."""
        self._settle()
        queue = self._queue
        try:
            task: Task = self.task
        except InputError:
            task = Task.model_construct(id=self.task_id, body=(self.body or b"").decode("utf-8", "replace")[:4000])
        count = self.failures + 1 if failures is None else failures
        ended = Ended.of(task, "failed", self.attempt, failures=count, reason=reason, message=message[:2000])
        queue.store.put_if_absent(queue.layout.failed(queue.stage, self.task_id), ended.to_bytes())
        queue.clean(self.task_id, self.attempt)

    def _settle(self) -> None:
        with self._write_lock:
            self._settled = True

    def _end_attempt(self, outcome: str, after: float, **why: str) -> None:
        self._settle()
        not_before = self._queue.store.now() + after if after > 0 else None
        record = self._record.model_copy(update={"outcome": outcome, "not_before": not_before, **why})
        self._queue.store.put(self._key(self.attempt), record.to_bytes())

    def _key(self, attempt: int) -> str:
        return self._queue.layout.lease(self._queue.stage, self.task_id, attempt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._settled:
            self.release()
