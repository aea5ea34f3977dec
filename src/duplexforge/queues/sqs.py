"""The SQS queue: SQS delivers, the store remembers.

Tasks, leases and ends are the same objects as in the prefix queue, so ids are known in every state, attempts are fenced,
and an end is an end. A message replaces the listing and means "try this one". That it may come twice, late, out of order,
after it was deleted, or never, then does no harm: the claim is the creation of a lease, a task that has ended has no
todo, and the reconciler sends what is missing.

Cost of the common path: one tenth of a send, a receive, a tenth of a delete, and the prefix queue's requests for a task.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from duplexforge import log
from duplexforge.config import QueueSettings
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.layout import Layout
from duplexforge.queues.base import K, Requeued
from duplexforge.queues.lease import PrefixLease
from duplexforge.queues.lookup import look
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.sqs_client import MOST_WAIT, Channel
from duplexforge.queues.sqs_dead import DeadLetters
from duplexforge.queues.sqs_lease import SqsLease
from duplexforge.queues.sqs_message import BATCH, Bodies, Message, Outgoing, of_id, of_task
from duplexforge.queues.sqs_reconcile import Reconciler
from duplexforge.queues.view import LeaseView, Seen
from duplexforge.records import Ended, Lease, Task
from duplexforge.storage import ObjectMeta, Store

# How long a message for a newer program stays out of the way of this one.
_NEWER_SECONDS = 300.0
# Between two looks when SQS says at once that there is nothing.
_PAUSE = 0.2
_MOST_LOOKS = 3


class _Forgetful(LeaseView):
    """No claim is remembered, of which there may be millions between two listings: messages say what to try."""

    def taken(self, task_id: str, attempt: int, now: float) -> None:
        """Keep nothing."""


class SqsQueue(PrefixQueue[K]):
    """A queue of ``model`` tasks for one stage, delivered by ``channel``. Safe to share between the threads of one worker.

    ``name`` gives an id to a task that somebody sent by hand without one. A receive waits for ``shortest_poll`` seconds at
    least: one that does not wait at all asks only some of SQS's servers, and may miss what is there.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        stage: str,
        model: type[K],
        settings: QueueSettings,
        *,
        channel: Channel,
        name: Callable[[K], str] | None = None,
        reconcile_seconds: float = 60.0,
        hold_seconds: float = 42300.0,
        shortest_poll: float = 1.0,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(store, layout, stage, model, settings, rng=rng)
        self.hold_seconds, self.channel, self._shortest_poll = hold_seconds, channel, shortest_poll
        self._view = _Forgetful(store, layout, stage, settings.lease_seconds)
        self.log = log.get("queue", stage=stage)
        self.dead_letters = DeadLetters(channel, stage)
        self.bodies = Bodies(stage, model, name)
        self.reconciler = Reconciler(self, channel, reconcile_seconds, self._rng)
        self._outbox: list[Outgoing] = []
        self._receipts: list[tuple[float, str]] = []
        self._in_hand = threading.local()

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, task: K) -> bool:
        """Add a task: first its todo, then the message. Between the two a crash leaves it to the reconciler."""
        if not super().put(task):
            return False
        self.channel.send([of_task(task)])
        return True

    def put_many(self, tasks: Iterable[K]) -> int:
        """Add tasks in a stream, ten messages a request; how many were new."""
        added = super().put_many(tasks)
        self._send_rest()
        return added

    def _create(self, task: K) -> bool:
        if not super()._create(task):
            return False
        with self._lock:
            self._outbox.append(of_task(task))
            full = self._outbox if len(self._outbox) >= BATCH else []
            self._outbox = [] if full else self._outbox
        self.channel.send(full)
        return True

    def _send_rest(self) -> None:
        with self._lock:
            rest, self._outbox = self._outbox, []
        self.channel.send(rest)

    # -- claiming --------------------------------------------------------------------------------------------------

    def claim(self, wait: float = 0.0) -> SqsLease[K] | None:
        """Lease the next task that a message names, waiting up to ``wait`` seconds for one.

        A message is decided upon at once: its task is run, or it is hidden until somebody may try the task, or it is
        deleted because the task has ended.
        """
        deadline, looked = time.monotonic() + wait, False
        while True:
            left = max(0.0, deadline - time.monotonic())
            poll = max(self._shortest_poll, min(left, MOST_WAIT))
            message = self.channel.receive(poll, max(1.0, self.settings.lease_seconds))
            if message is not None:
                if lease := self._take(message):
                    return lease
                continue
            self.flush()
            if not looked and self.reconciler.due():
                looked = True
                if self.reconciler.run():
                    continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, _PAUSE))

    def _take(self, message: Message) -> SqsLease[K] | None:
        try:
            task_id = self.bodies.id_of(message)
            if message.redriven and self.store.head(self.layout.failed(self.stage, task_id)):
                super().revive(task_id)
        except InputError as error:
            self._refuse_message(message, error)
            return None
        if task_id in self._candidates.skipped:
            self.hide(message, _NEWER_SECONDS)
            return None
        self._in_hand.message = message
        return self._attempt(task_id, message)

    def _attempt(self, task_id: str, message: Message) -> SqsLease[K] | None:
        """Try the task as its first attempt, which most are; else as what its leases say."""
        seen: Seen | float = Seen()
        for _ in range(_MOST_LOOKS):
            if isinstance(seen, Seen):
                lease = self._try(task_id, seen)
                if lease is not None:
                    assert isinstance(lease, SqsLease)
                    return lease
                if message.settled:
                    return None
            seen = look(self.store, self.layout, self.stage, task_id, length=self.settings.lease_seconds)
            if isinstance(seen, float) and self._ended(task_id):
                self.done_with(message)
                return None
            if isinstance(seen, float) and seen > 0:
                break
        self.hide(message, seen if isinstance(seen, float) and seen > 0 else 1.0)
        return None

    def _leased(self, task_id: str, attempt: int, record: Lease, body: bytes | None) -> PrefixLease[K]:
        return SqsLease(self, task_id, attempt, record, body=body, message=self._in_hand.message)

    def _worth_running(self, lease: PrefixLease[K], seen: Seen) -> bool:
        assert isinstance(lease, SqsLease)
        if lease.body is None and not self._adopt(lease):
            self.store.delete(self.layout.lease(self.stage, lease.task_id, lease.attempt))
            if not lease.message.settled:
                self.done_with(lease.message)
            return False
        return super()._worth_running(lease, seen)

    def _adopt(self, lease: SqsLease[K]) -> bool:
        """Give a message that has no todo one, unless its task has ended: somebody sent it by hand."""
        if self._ended(lease.task_id):
            return False
        if lease.message.only_names:
            self.log.warning("a message names a task that is not in the store any more", task=lease.task_id)
            return False
        try:
            task = self.bodies.task(lease.message)
        except InputError as error:
            self._refuse_message(lease.message, error)
            return False
        PrefixQueue.put(self, task)
        lease.body = self.store.find(self.layout.todo(self.stage, lease.task_id))
        return lease.body is not None

    # -- messages that nobody can use ------------------------------------------------------------------------------

    def _refuse(self, lease: PrefixLease[K], error: InputError) -> None:
        if error.reason != "newer_version":
            super()._refuse(lease, error)
            return
        assert isinstance(lease, SqsLease)
        self._candidates.skipped.add(lease.task_id)
        lease.leave(_NEWER_SECONDS)
        self.log.warning("task left to newer workers", task=lease.task_id, error=str(error))

    def _refuse_message(self, message: Message, error: InputError) -> None:
        """A body that does not even name a task: the store keeps it, as a failure or for a newer program."""
        task_id = self.bodies.any_id(message)
        if error.reason == "newer_version":
            # From now on it is a task like any other, with a name, and does not grow too old for SQS.
            if not self._ended(task_id):
                self.store.put_if_absent(self.layout.todo(self.stage, task_id), message.body.encode())
                self.channel.send([of_id(task_id)])
            self.done_with(message)
            return
        task = Task.model_construct(id=task_id, body=message.body[:4000])
        ended = Ended.of(task, "failed", 1, failures=1, reason=error.reason, message=str(error)[:2000])
        self.store.put_if_absent(self.layout.failed(self.stage, task_id), ended.to_bytes())
        self.dead_letters.put(task_id, message.body, error.reason, str(error))
        self.done_with(message)
        self.log.warning("message failed: it is no task", task=task_id, error=str(error))

    # -- what SQS is told afterwards -------------------------------------------------------------------------------

    def hide(self, message: Message, seconds: float) -> None:
        """Let a message come back in ``seconds``. Where SQS does not hear it, it comes back when its time is over."""
        try:
            self.channel.hide(message, seconds)
        except DuplexforgeError as error:
            self.log.warning("message not hidden as wanted", error=str(error))

    def done_with(self, message: Message) -> None:
        """Have a message deleted, ten in one request, before it would come back."""
        message.settled = True
        now = time.monotonic()
        with self._lock:
            self._receipts.append((now, message.handle))
            late = now - self._receipts[0][0] > self.settings.lease_seconds / 3
            full = late or len(self._receipts) >= BATCH
        if full:
            self._delete_messages()

    def _delete_messages(self) -> None:
        with self._lock:
            handles, self._receipts = [handle for _, handle in self._receipts], []
        try:
            self.channel.delete(handles)
        except DuplexforgeError as error:
            self.log.warning(
                "messages of ended tasks not deleted: they will come again and be found stale", error=str(error)
            )

    def flush(self) -> None:
        """Delete the messages and remove the leases that were kept back."""
        self._delete_messages()
        super().flush()

    def close(self) -> None:
        """Write what was kept back."""
        self.flush()

    # -- mending ---------------------------------------------------------------------------------------------------

    def revive(self, task_id: str) -> bool:
        """Put a failed task back with a clean count, and send it a message."""
        if not super().revive(task_id):
            return False
        self.channel.send([of_id(task_id)])
        return True

    def requeue(self, task_id: str) -> Requeued:
        """Let an open task be claimed now, and send it a message: the one it may have is hidden or lost."""
        done = super().requeue(task_id)
        if done == "claimable":
            self.channel.send([of_id(task_id)])
        return done

    def sweep(self, done: Callable[[K], bool] | None = None) -> int:
        """Finish what crashes left, and send a message to tasks that have none."""
        return super().sweep(done) + self.reconciler.run()

    def waiting(self) -> Iterator[ObjectMeta]:
        """The todos: tasks that have not ended, and a few whose end was left half done."""
        for meta in self.store.list(self.layout.queue_prefix(self.stage, "todo")):
            for _ in self._candidates.known(iter([meta])):
                yield meta

    def holder(self) -> Callable[[str], bool]:
        """A look at all leases; the answer tells whether a task is held, waits for its time or is left to newer workers."""
        self._view.refresh()
        now = self.store.now()
        return lambda task_id: task_id in self._candidates.skipped or self._view.free(task_id, now) is None
