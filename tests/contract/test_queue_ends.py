"""The contract of a task queue: how tasks end, although workers crash half way, come late, or work side by side."""

from __future__ import annotations

import time

import pytest

from duplexforge.errors import InputError
from duplexforge.queues.base import Lease
from duplexforge.records import Ended, ProcessTask
from tests.contract.backends import QUEUES, QueueSite, marked
from tests.contract.test_queue import claimed, counts, expired, left, task


@pytest.fixture(params=marked(QUEUES))
def site(request: pytest.FixtureRequest) -> QueueSite:
    return QUEUES[request.param](request)


def test_completing(site: QueueSite) -> None:
    site.open().put(task("one"))
    queue = site.open()
    lease = claimed(queue)
    lease.complete({"segments": 7})
    lease.complete({"segments": 7})
    lease.renew()
    queue.close()
    (record,) = site.open().ended("completed")
    assert (record.id, record.attempt, record.result, record.failures) == ("one", 1, {"segments": 7}, 0)
    assert record.task["episode_id"] == "one"
    assert queue.claim() is None
    assert left(site) == []
    assert counts(site) == (0, 0, 1, 0)


def test_ended_in_id_order(site: QueueSite) -> None:
    names = ["b", "a", "c", "aa"]
    site.open().put_many(task(name) for name in names)
    queue = site.open()
    while lease := queue.claim():
        lease.complete() if lease.task_id != "c" else lease.fail(InputError("x"), permanent=True)
    assert [record.id for record in queue.ended("completed")] == ["a", "aa", "b"]
    assert [record.id for record in queue.ended("failed")] == ["c"]


# -- attempts side by side -----------------------------------------------------------------------------------------


def test_a_zombie_may_complete_while_its_successor_works(site: QueueSite) -> None:
    site.open().put(task("one"))
    zombie = expired(site)
    successor = claimed(site.open())
    zombie.complete({"by": "zombie"})
    assert counts(site) == (0, 0, 1, 0)
    successor.complete({"by": "successor"})
    assert [record.result for record in site.open().ended("completed")] == [{"by": "zombie"}]
    site.open().sweep()
    assert left(site) == []
    assert counts(site) == (0, 0, 1, 0)


def test_a_zombie_that_completes_after_the_end_changes_nothing(site: QueueSite) -> None:
    site.open().put(task("one"))
    zombie = expired(site)
    claimed(site.open()).complete({"by": "successor"})
    zombie.complete({"by": "zombie"})
    assert [record.result for record in site.open().ended("completed")] == [{"by": "successor"}]


@pytest.mark.parametrize("permanent", [True, False])
def test_a_zombie_that_fails_after_the_end_changes_nothing(site: QueueSite, permanent: bool) -> None:
    site.open().put(task("one"))
    zombie = expired(site)
    claimed(site.open()).complete()
    zombie.fail(InputError("late"), permanent=permanent)
    assert counts(site) == (0, 0, 1, 0)
    assert list(site.open().dead()) == []
    assert site.open().put(task("one")) is False
    site.open().sweep()
    assert left(site) == []
    assert list(site.open().ended("failed")) == []


def test_completed_beats_failed(site: QueueSite) -> None:
    site.open().put(task("one", attempt_limit=2))
    zombie = expired(site)
    claimed(site.open()).fail(InputError("x"), permanent=True)
    assert [record.id for record in site.open().dead()] == ["one"]
    zombie.complete()
    assert counts(site) == (0, 0, 1, 0)
    assert list(site.open().dead()) == []
    assert site.open().revive("one") is False
    site.open().sweep()
    assert list(site.open().ended("failed")) == []
    assert counts(site) == (0, 0, 1, 0)


def test_a_successor_that_completes_takes_the_failure_back(site: QueueSite) -> None:
    site.open().put(task("one"))
    zombie = expired(site)
    successor = claimed(site.open())
    zombie.fail(InputError("x"), permanent=True)
    assert counts(site) == (0, 0, 0, 1)
    successor.complete()
    assert counts(site) == (0, 0, 1, 0)
    assert list(site.open().ended("failed")) == []


def test_a_late_renewal_after_the_end_is_swept(site: QueueSite) -> None:
    site.open().put(task("one"))
    zombie = expired(site)
    queue = site.open()
    claimed(queue).complete()
    queue.close()
    zombie.renew()
    assert len(left(site)) == 1
    assert site.open().claim() is None
    assert site.open().sweep() == 1
    assert left(site) == []
    assert site.open().sweep() == 0


# -- crashes half way ----------------------------------------------------------------------------------------------


def write_end(site: QueueSite, lease: Lease[ProcessTask], outcome: str) -> None:
    """The first of the writes that end a task; the writer dies right after it."""
    key = getattr(site.layout, outcome)("processing", lease.task_id)
    site.store.put_if_absent(key, Ended.of(lease.task, outcome, lease.attempt).to_bytes())  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["completed", "failed"])
@pytest.mark.parametrize("todo_gone", [True, False])
@pytest.mark.parametrize("leases_gone", [True, False])
def test_a_sweep_finishes_a_half_done_end(site: QueueSite, outcome: str, todo_gone: bool, leases_gone: bool) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    write_end(site, lease, outcome)
    if todo_gone:
        site.store.delete(site.layout.todo("processing", "one"))
    if leases_gone:
        site.store.delete(site.layout.lease("processing", "one", 1))
    before = counts(site)
    assert before == (0, 0, outcome == "completed", outcome == "failed"), "the record alone decides"
    site.open().sweep()
    assert left(site) == []
    assert counts(site) == before
    assert site.open().claim() is None
    assert site.open().put(task("one")) is False


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_a_claim_finishes_a_half_done_end(site: QueueSite, outcome: str) -> None:
    site.open().put(task("one"))
    lease = expired(site)
    write_end(site, lease, outcome)
    queue = site.open()
    assert queue.claim() is None
    queue.close()
    assert left(site) == []
    assert counts(site) == (0, 0, outcome == "completed", outcome == "failed")


def test_a_sweep_removes_failed_beside_completed(site: QueueSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    write_end(site, lease, "failed")
    write_end(site, lease, "completed")
    site.open().sweep()
    assert left(site) == []
    assert list(site.open().ended("failed")) == []
    assert counts(site) == (0, 0, 1, 0)


def test_a_stale_listing_never_runs_a_finished_task_again(site: QueueSite) -> None:
    names = {f"t{number}" for number in range(20)}
    site.open().put_many(task(name) for name in names)
    stale = site.open()
    first = claimed(stale)
    worker = site.open()
    while lease := worker.claim():
        lease.complete()
    worker.close()
    # The first worker still has a page on which all of these wait.
    assert stale.claim() is None
    first.complete()
    stale.close()
    assert left(site) == []
    assert counts(site) == (0, 0, 20, 0)


def test_a_lease_without_a_task_is_swept_when_it_expired(site: QueueSite) -> None:
    site.open().put(task("one"))
    claimed(site.open(lease_seconds=site.lease))
    site.store.delete(site.layout.todo("processing", "one"))
    sweeper = site.open(lease_seconds=site.lease)
    sweeper.sweep()
    assert len(left(site)) == 1, "its owner may be at work"
    time.sleep(site.lease + site.blur)
    assert sweeper.sweep() == 1
    assert left(site) == []


def test_a_sweep_completes_what_a_zombie_committed_after_the_limit(site: QueueSite) -> None:
    site.open().put_many([task("committed"), task("not")])
    for _ in range(2):
        claimed(site.open()).fail(InputError("x"), permanent=True)
    odd = b'{"id": "odd", "outcome": "failed", "attempt": 1, "ended_at": "-"}'
    site.store.put_if_absent(site.layout.failed("processing", "odd"), odd)
    assert site.open().sweep(lambda one: one.episode_id == "committed") == 1
    assert [record.id for record in site.open().ended("completed")] == ["committed"]
    assert [record.id for record in site.open().ended("failed")] == ["not", "odd"]
    assert counts(site) == (0, 0, 1, 2)


def test_a_sweep_leaves_open_tasks_alone(site: QueueSite) -> None:
    site.open().put_many(task(f"t{number}") for number in range(3))
    queue = site.open()
    leases = [claimed(queue), claimed(queue)]
    leases[0].release(after=600)
    assert site.open().sweep(lambda _: True) == 0
    assert counts(site) == (2, 1, 0, 0)
    assert leases[1].still_mine()


# -- reviving ------------------------------------------------------------------------------------------------------


def test_a_failed_task_is_revived_with_a_clean_count(site: QueueSite) -> None:
    site.open().put(task("one", attempt_limit=1, title="kept"))
    assert claimed(site.open()).fail(InputError("x"), permanent=False) is True
    assert site.open().revive("one") is True
    assert counts(site) == (1, 0, 0, 0)
    assert list(site.open().dead()) == []
    lease = claimed(site.open())
    assert (lease.attempt, lease.task.attempt_limit, lease.task.title) == (1, 1, "kept")  # type: ignore[attr-defined]
    lease.complete()
    assert counts(site) == (0, 0, 1, 0)


def test_only_failed_tasks_are_revived(site: QueueSite) -> None:
    site.open().put_many([task("waiting")])
    assert site.open().revive("waiting") is False
    assert site.open().revive("unknown") is False
    claimed(site.open()).complete()
    assert site.open().revive("waiting") is False
    assert counts(site) == (0, 0, 1, 0)


def test_a_malformed_task_cannot_be_revived_and_is_kept(site: QueueSite) -> None:
    site.store.put(site.layout.todo("processing", "bad"), b"{")
    assert site.open().claim() is None
    with pytest.raises(InputError):
        site.open().revive("bad")
    assert [record.id for record in site.open().dead()] == ["bad"]


def test_reviving_again_after_a_crash_in_the_middle(site: QueueSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    lease.fail(InputError("x"), permanent=True)
    # The reviver wrote the todo and died before it removed the failure.
    site.store.put_if_absent(site.layout.todo("processing", "one"), lease.task.to_bytes())
    assert counts(site) == (0, 0, 0, 1)
    assert site.open().revive("one") is True
    assert counts(site) == (1, 0, 0, 0)
    assert claimed(site.open()).attempt == 1
