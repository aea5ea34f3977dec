"""A lease of the SQS queue: the store's lease, and the message that brought the task here.

The store decides in everything. What is said to SQS afterwards only makes the message come back at the right time, or
never; where SQS does not hear it, the message comes back by itself and is found to be stale.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from duplexforge.errors import LeaseLost, RetryLater
from duplexforge.queues.base import K
from duplexforge.queues.lease import PrefixLease
from duplexforge.queues.sqs_message import Message
from duplexforge.records import Lease

if TYPE_CHECKING:
    from duplexforge.queues.sqs import SqsQueue


class SqsLease(PrefixLease[K]):
    """See ``queues.base.Lease``."""

    def __init__(
        self, queue: SqsQueue[K], task_id: str, attempt: int, record: Lease, *, body: bytes | None, message: Message
    ) -> None:
        super().__init__(queue, task_id, attempt, record, body)
        self.message = message
        self._sqs = queue

    def renew(self) -> None:
        """Renew the store's lease and hide the message for as long.

        SQS would show the message to somebody else after 12 hours, whatever is asked of it: an attempt that takes so long
        is ended before, as a failure of this reason. Raises LeaseLost then, and when a later attempt exists.
        """
        if self._settled:
            return
        if self.message.age > self._sqs.hold_seconds:
            self._overstayed()
        super().renew()
        length = self._queue.settings.lease_seconds
        # Every third of a lease is often enough, and renewals come more often.
        if time.monotonic() - self.message.hidden_at >= length / 3:
            self._sqs.hide(self.message, length)

    def _overstayed(self) -> None:
        why = f"the attempt took {self.message.age / 3600:.1f} hours, and SQS hides a message for 12 at most"
        self.fail(RetryLater(why, reason="sqs_limit"), permanent=False)
        self._sqs.log.error("attempt ended before SQS's limit of 12 hours", task=self.task_id, attempt=self.attempt)
        raise LeaseLost(f"task {self.task_id}: {why}", reason="sqs_limit")

    def complete(self, result: dict[str, Any] | None = None) -> None:
        """Write ``completed``, then have the message deleted."""
        super().complete(result)
        self._sqs.done_with(self.message)

    def give_up(self, reason: str, message: str, *, failures: int | None = None) -> None:
        """End the task as failed; its body goes to the dead-letter queue with the reason, the message is deleted."""
        super().give_up(reason, message, failures=failures)
        body = (self.body or b"").decode("utf-8", "replace")
        self._sqs.dead_letters.put(self.task_id, body or self.message.body, reason, message)
        self._sqs.done_with(self.message)

    def leave(self, seconds: float) -> None:
        """Release the task for workers that understand it; to this kind its message comes again in ``seconds``."""
        super()._end_attempt("released", 0.0)
        self._sqs.hide(self.message, seconds)
        self.message.settled = True

    def _end_attempt(self, outcome: str, after: float, **why: str) -> None:
        super()._end_attempt(outcome, after, **why)
        self._sqs.hide(self.message, after)
        self.message.settled = True
