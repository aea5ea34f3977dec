"""Queues by listing: the counts are the queue's own, ages are the store's, and a lease record is read once."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from conftest import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.config import QueueSettings
from duplexforge.errors import InputError, RetryLater
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import DownloadTask
from duplexforge.status import queues
from duplexforge.status.overview import LeaseNow, StageNow
from duplexforge.status.reading import Differences, Reader
from duplexforge.storage import Store, open_store
from tests.contract.clocked import ClockedStore
from tests.servers.s3_client import S3Server

KEYS = Layout()
LEASE = 60.0


@dataclass
class Looker:
    """Looks at the download queue of a store."""

    store: Store

    def __post_init__(self) -> None:
        bodies = Reader(self.store, KEYS, Differences()).bodies
        self.leases = queues.Leases(self.store, KEYS, "download", LEASE, bodies)
        self.failed: list[str] = []

    def __call__(self) -> tuple[StageNow, list[LeaseNow]]:
        self.failed.clear()
        return queues.look(
            self.store,
            KEYS,
            "download",
            self.leases,
            failed=lambda meta: self.failed.append(meta.key),
            beat=lambda: None,
        )

    def queue(self, seed: int = 0, **fields: float) -> PrefixQueue[DownloadTask]:
        wanted = QueueSettings(_env_file=None, **{"lease_seconds": LEASE, "retry_seconds": 0.0, **fields})
        return PrefixQueue(self.store, KEYS, "download", DownloadTask, wanted, rng=random.Random(seed))

    def put(self, *names: str) -> None:
        for name in names:
            self.queue().put(DownloadTask(id=name, url=f"https://example.org/{name}"))


@pytest.fixture
def look() -> Looker:
    return Looker(ClockedStore())


def clock(look: Looker) -> ClockedStore:
    assert isinstance(look.store, ClockedStore)
    return look.store


def test_an_empty_queue_has_no_ages(look: Looker) -> None:
    assert look() == (StageNow(), [])


def test_ages_of_each_state(look: Looker) -> None:
    look.put("a")
    clock(look).clock += 10
    queue = look.queue()
    done = queue.claim()
    assert done
    done.complete()
    queue.close()
    clock(look).clock += 5
    look.put("b")
    lost = look.queue().claim()
    assert lost
    lost.fail(InputError("gone"), permanent=True)
    clock(look).clock += 7
    look.put("c")
    held = look.queue().claim()
    assert held
    clock(look).clock += 2
    look.put("d")
    clock(look).clock += 3
    now, leases = look()
    assert now == StageNow(
        waiting=1, running=1, completed=1, failed=1,
        oldest_waiting=3.0, oldest_running=5.0, oldest_failed=12.0, last_completed=17.0,
    )  # fmt: skip
    assert leases == [LeaseNow("download", "c", 1, held._record.owner, 5.0, 5.0, False)]
    assert look.failed == [KEYS.failed("download", "b")]


def test_a_renewal_shows_and_silence_shows(look: Looker) -> None:
    look.put("a")
    lease = look.queue().claim()
    assert lease
    clock(look).clock += 40
    lease.renew()
    clock(look).clock += 40
    (one,) = look()[1]
    assert (one.age, one.renewed, one.expired) == (80.0, 40.0, False)
    clock(look).clock += 30
    now, (one,) = look()
    assert one.expired
    assert (now.waiting, now.running, now.expired, now.delayed) == (1, 0, 1, 0)


def test_a_task_that_was_handed_back_waits_and_is_nobodys(look: Looker) -> None:
    look.put("a", "b")
    queue = look.queue()
    first, second = queue.claim(), queue.claim()
    assert first
    assert second
    first.fail(RetryLater("busy"), permanent=False, after=100.0)
    second.release()
    now, leases = look()
    assert (now.waiting, now.delayed, now.running, leases) == (2, 1, 0, [])
    clock(look).clock += 101
    assert look()[0].delayed == 0


def test_what_is_no_task_is_no_task(look: Looker) -> None:
    look.put("a")
    for name in ("README.txt", "..task", "sub/b.task", "b.task.bak"):
        look.store.put(KEYS.queue_prefix("download", "todo") + name, b"x")
    look.store.put(KEYS.queue_prefix("download", "in_progress") + "notes.txt", b"x")
    assert look()[0].waiting == 1


def test_a_lease_that_cannot_be_read_holds_until_it_expires(look: Looker) -> None:
    look.put("a")
    look.store.put(KEYS.lease("download", "a", 1), b"{")
    now, (one,) = look()
    assert (now.running, one.owner) == (1, "of an unreadable lease")
    clock(look).clock += LEASE + 1
    assert look()[1][0].expired


def test_renewals_cost_no_read(s3_server: S3Server) -> None:
    bucket = s3_server.fresh_bucket()
    look = Looker(open_store(s3_server.settings(bucket)))
    look.put("a", "b", "c")
    queue = look.queue()
    leases = [queue.claim(), queue.claim()]
    look()
    before = s3_server.requests(bucket)["get"]
    for lease in leases:
        assert lease
        lease.renew()
    assert look()[0].running == 2
    # Both are listed again, neither is read again.
    assert s3_server.requests(bucket)["get"] == before


def test_workers_by_owner() -> None:
    def lease(owner: str, stage: str, renewed: float, expired: bool = False) -> LeaseNow:
        return LeaseNow(stage, "t", 1, owner, 100.0, renewed, expired)

    found = queues.workers([
        lease("b:1", "download", 5), lease("a:1", "upload", 9), lease("b:1", "upload", 3), lease("c:9", "upload", 90, True),
    ])  # fmt: skip
    assert [(one.owner, one.stages, one.leases, one.expired, one.renewed) for one in found] == [
        ("c:9", ("upload",), 1, 1, 90), ("a:1", ("upload",), 1, 0, 9), ("b:1", ("download", "upload"), 2, 0, 3),
    ]  # fmt: skip


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "a-b", "a.b", "b"])),
        st.tuples(
            st.sampled_from(["claim", "complete", "fail", "give_up", "release", "revive", "wait", "sweep"]), st.none()
        ),
    ),
    max_size=25,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60, print_blob=True)
@given(steps=STEPS)
def test_counts_are_the_queues_own(steps: list[tuple[str, str | None]]) -> None:
    """Whatever happened to the tasks, status and the queue itself count the same."""
    look, held = Looker(ClockedStore()), []
    queue = look.queue()
    for word, name in steps:
        if word == "put" and name:
            look.put(name)
        elif word == "claim" and (lease := queue.claim()):
            held.append(lease)
        elif word == "wait":
            clock(look).clock += LEASE / 2 + 1
        elif word == "revive":
            for record in list(queue.dead()):
                queue.revive(record.id)
        elif word == "sweep":
            queue.sweep()
        elif held:
            lease = held.pop(0)
            {
                "complete": lease.complete,
                "fail": lambda lease=lease: lease.fail(RetryLater("x"), permanent=False),
                "give_up": lambda lease=lease: lease.fail(InputError("x"), permanent=True),
                "release": lease.release,
            }.get(word, lambda: None)()  # fmt: skip
        stats, (now, leases) = look.queue(seed=1).stats(), look()
        assert (now.waiting, now.running, now.completed, now.failed) == (
            stats.waiting, stats.running, stats.completed, stats.failed,
        )  # fmt: skip
        assert len([one for one in leases if not one.expired]) == now.running
        assert sorted(look.failed) == sorted(KEYS.failed("download", record.id) for record in queue.dead())


def test_the_stages_of_a_whole_world(full: World) -> None:
    look = Looker(full.store)
    now, leases = look()
    stats = full.queues["download"].stats()
    assert (now.waiting, now.completed, now.failed) == (stats.waiting, stats.completed, stats.failed)
    assert leases == []


def test_a_beat_may_end_the_look(look: Looker) -> None:
    look.put("a", "b")

    def beat() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        queues.look(look.store, KEYS, "download", look.leases, failed=lambda meta: None, beat=beat)
