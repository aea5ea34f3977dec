"""A state machine drives the queue on a store with an artificial clock against a small reference model."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from duplexforge.config import QueueSettings
from duplexforge.errors import InputError, LeaseLost, RetryLater
from duplexforge.layout import Layout, name_of
from duplexforge.queues.lease import PrefixLease
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import Ended, Lease, ProcessTask, parse
from tests.contract.clocked import ClockedStore

LEASE = 10.0
LIMIT = 2
NAMES = [f"t{number}" for number in range(3)]


@dataclass
class Model:
    """What the queue must know of a task; ``renewed``: when its last attempt was granted or renewed, None when free."""

    state: str = "open"
    attempt: int = 0
    failures: int = 0
    renewed: float | None = None
    life: int = 0


@dataclass
class Attempt:
    """A lease somebody holds, and the life of the task it belongs to (a revival begins a new one)."""

    lease: PrefixLease[ProcessTask]
    life: int


class QueueMachine(RuleBasedStateMachine):
    """Two workers, three tasks, zombies and crashes at will."""

    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.store = ClockedStore()
        self.queues = [self._open(seed) for seed in range(2)]
        self.model: dict[str, Model] = {}

    def _open(self, seed: int) -> PrefixQueue[ProcessTask]:
        fields = {"lease_seconds": LEASE, "retry_seconds": 0.0}
        wanted = QueueSettings(_env_file=None, **fields)
        return PrefixQueue(self.store, Layout(), "processing", ProcessTask, wanted, rng=random.Random(seed))

    def _expired(self, one: Model) -> bool:
        return one.renewed is not None and self.store.clock - one.renewed > LEASE

    def _is_last(self, held: Attempt) -> bool:
        one = self.model[held.lease.task_id]
        return one.life == held.life and one.attempt == held.lease.attempt

    @rule(name=st.sampled_from(NAMES))
    def put(self, name: str) -> None:
        body = ProcessTask(id=name, episode_id=name, audio_key="k", attempt_limit=LIMIT)
        assert self.queues[0].put(body) is (name not in self.model)
        self.model.setdefault(name, Model())

    @rule(target=attempts, worker=st.integers(0, 1))
    def claim_and_keep(self, worker: int) -> object:
        lease = self.claim(worker)
        return Attempt(lease, self.model[lease.task_id].life) if lease else multiple()

    def claim(self, worker: int) -> PrefixLease[ProcessTask] | None:
        """Claim by a worker, checked against the model."""
        free = {
            name for name, one in self.model.items()
            if one.state == "open" and (one.renewed is None or self._expired(one))
        }  # fmt: skip
        lease = self.queues[worker].claim()
        # Poisoned tasks met on the way end as failed instead of being handed out.
        for name in free:
            one = self.model[name]
            failures = one.failures + (1 if self._expired(one) else 0)
            ended = self.store.head(Layout().failed("processing", name)) is not None
            assert not (ended and failures < LIMIT)
            if ended:
                one.state, one.renewed, free = "failed", None, free - {name}
        if lease is None:
            assert not free, "a free task was not handed out"
            return None
        one = self.model[lease.task_id]
        assert lease.task_id in free, "held, ended or unknown"
        assert lease.attempt > one.attempt
        assert lease.failures == one.failures + (1 if self._expired(one) else 0) < LIMIT
        one.attempt, one.failures, one.renewed = lease.attempt, lease.failures, self.store.clock
        return lease

    @rule(held=attempts)
    def renew(self, held: Attempt) -> None:
        one = self.model[held.lease.task_id]
        if self._is_last(held) and one.state == "open":
            held.lease.renew()
            one.renewed = self.store.clock
        elif one.life == held.life:
            try:
                held.lease.renew()
            except LeaseLost:
                assert one.attempt > held.lease.attempt

    @rule(held=consumes(attempts))
    def complete(self, held: Attempt) -> None:
        held.lease.complete()
        one = self.model[held.lease.task_id]
        one.state, one.renewed = "completed", None

    @rule(held=consumes(attempts), outcome=st.sampled_from(["completed", "failed"]))
    def die_after_the_first_write_of_an_end(self, held: Attempt, outcome: Literal["completed", "failed"]) -> None:
        one = self.model[held.lease.task_id]
        if one.life != held.life or one.state != "open":
            return
        ended = Ended.of(held.lease.task, outcome, held.lease.attempt)
        key = getattr(self.queues[0].layout, outcome)("processing", held.lease.task_id)
        assert self.store.put_if_absent(key, ended.to_bytes())
        one.state, one.renewed = outcome, None

    @rule(worker=st.integers(0, 1))
    def vanish(self, worker: int) -> None:
        """A worker claims a task, is never heard of again, and its time passes."""
        self.claim(worker)
        self.time_passes(LEASE + 1)

    @rule(held=consumes(attempts))
    def release(self, held: Attempt) -> None:
        if self.model[held.lease.task_id].life == held.life:
            held.lease.release()
            if self._is_last(held):
                self.model[held.lease.task_id].renewed = None

    @rule(held=consumes(attempts), permanent=st.booleans())
    def fail(self, held: Attempt, permanent: bool) -> None:
        one = self.model[held.lease.task_id]
        if one.life != held.life:
            return
        error = InputError("bad") if permanent else RetryLater("later")
        ended = held.lease.fail(error, permanent=permanent)
        assert ended is (permanent or held.lease.failures + 1 >= LIMIT)
        if one.state == "completed":
            return
        if ended:
            one.state, one.renewed = "failed", None
        elif self._is_last(held):
            one.failures, one.renewed = held.lease.failures + 1, None

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.store.clock += seconds

    @rule(name=st.sampled_from(NAMES))
    def revive(self, name: str) -> None:
        one = self.model.get(name)
        failed = one is not None and one.state == "failed" and not self._is_held(name)
        assert self.queues[1].revive(name) is failed
        if failed:
            assert one
            self.model[name] = Model(life=one.life + 1)

    @rule(name=st.sampled_from(NAMES))
    def requeue(self, name: str) -> None:
        """No task's attempts, failures or lease change by it: what the other rules expect stays true."""
        one = self.model.get(name)
        if one is None:
            expected = "unknown"
        elif one.state != "open":
            expected = "ended"
        else:
            expected = "held" if one.renewed is not None and not self._expired(one) else "claimable"
        assert self.queues[0].requeue(name) == expected

    def _is_held(self, name: str) -> bool:
        """Whether the last lease of a task is live, as when a zombie failed what a later attempt works on."""
        leases = [meta for meta in self.store.list(Layout().queue_prefix("processing", "in_progress"))
                  if name_of(meta.key).rpartition(".")[0] == name]  # fmt: skip
        if not leases:
            return False
        last = max(leases, key=lambda meta: int(name_of(meta.key).rpartition(".")[2]))
        record = parse(Lease, self.store.get(last.key), last.key)
        return record.outcome is None and self.store.clock - last.modified <= record.length

    @rule(worker=st.integers(0, 1))
    def sweep(self, worker: int) -> None:
        self.queues[worker].flush()
        self.queues[worker].sweep()

    @invariant()
    def every_task_is_in_its_state(self) -> None:
        stats = self._open(9).stats()
        states = [one.state for one in self.model.values()]
        assert stats.open == states.count("open"), "lost, or counted twice"
        assert (stats.completed, stats.failed) == (states.count("completed"), states.count("failed"))
        held = [one for one in self.model.values() if one.state == "open" and one.renewed is not None]
        assert stats.running == sum(not self._expired(one) for one in held)

    def teardown(self) -> None:
        """Whatever happened, all open tasks can be brought to their end and nothing stays behind."""
        self.store.clock += LEASE + 1
        queue = self._open(7)
        while lease := queue.claim():
            lease.complete()
        for one in [*self.queues, queue]:
            one.close()
        queue.sweep()
        stats = queue.stats()
        assert stats.open == 0
        assert stats.completed + stats.failed == len(self.model)
        layout = Layout()
        for state in ("todo", "in_progress"):
            assert list(self.store.list(layout.queue_prefix("processing", state))) == []


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
