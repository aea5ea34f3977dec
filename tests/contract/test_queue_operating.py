"""The contract of a task queue: what an operator may do to it, and that no live lease is ever touched."""

from __future__ import annotations

import time

import pytest

from duplexforge.errors import InputError, RetryLater
from duplexforge.queues.inspecting import Inspection, inspect
from duplexforge.records import Ended
from tests.contract.backends import QUEUES, QueueSite, marked
from tests.contract.test_queue import claimed, counts, expired, task


@pytest.fixture(params=marked(QUEUES))
def site(request: pytest.FixtureRequest) -> QueueSite:
    return QUEUES[request.param](request)


def look(site: QueueSite, name: str = "one") -> Inspection:
    return inspect(site.store, site.layout, "processing", name, length=60.0)


def leases(site: QueueSite) -> dict[str, bytes]:
    keys = [meta.key for meta in site.store.list(site.layout.queue_prefix("processing", "in_progress"))]
    return {key: site.store.get(key) for key in keys}


# -- requeue -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "released"])
def test_a_task_that_waits_for_its_time_is_claimable_at_once(site: QueueSite, how: str) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    if how == "failed":
        assert lease.fail(RetryLater("busy", reason="busy"), permanent=False, after=3600.0) is False
    else:
        lease.release(after=3600.0)
    assert site.open().claim() is None
    assert look(site).attempts[0].free_in > 3000
    assert site.open().requeue("one") == "claimable"
    again = claimed(site.open())
    assert again.attempt == 2
    assert again.failures == (1 if how == "failed" else 0)  # type: ignore[attr-defined]
    again.complete()
    assert counts(site) == (0, 0, 1, 0)


def test_a_live_lease_is_left_alone(site: QueueSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    before = leases(site)
    assert site.open().requeue("one") == "held"
    assert leases(site) == before
    assert site.open().claim() is None
    lease.renew()
    assert lease.still_mine()
    lease.complete()
    assert counts(site) == (0, 0, 1, 0)


def test_a_task_whose_worker_vanished_may_be_claimed(site: QueueSite) -> None:
    site.open().put(task("one"))
    expired(site)
    assert look(site).attempts[0].state == "expired"
    before = leases(site)
    assert site.open().requeue("one") == "claimable"
    assert leases(site) == before
    lease = claimed(site.open())
    assert (lease.attempt, lease.failures) == (2, 1)  # type: ignore[attr-defined]


def test_what_never_ran_what_has_ended_and_what_nobody_knows(site: QueueSite) -> None:
    site.open().put(task("one"))
    assert site.open().requeue("one") == "claimable"
    claimed(site.open()).complete()
    site.open().put(task("two"))
    claimed(site.open()).fail(InputError("bad"), permanent=True)
    assert [site.open().requeue(name) for name in ("one", "two", "three")] == ["ended", "ended", "unknown"]
    assert counts(site) == (0, 0, 1, 1)
    assert site.open().claim() is None


# -- revive --------------------------------------------------------------------------------------------------------


def test_reviving_leaves_a_live_lease_alone(site: QueueSite) -> None:
    """A zombie fails a task for good while a later attempt works on it: that one may still complete it."""
    site.open().put(task("one"))
    zombie = expired(site)
    worker = claimed(site.open())
    zombie.fail(InputError("bad"), permanent=True)
    before = leases(site)
    assert before
    assert site.open().revive("one") is False
    assert leases(site) == before
    worker.renew()
    worker.complete()
    assert counts(site) == (0, 0, 1, 0)


def test_reviving_twice_does_not_take_the_task_from_who_has_it_by_now(site: QueueSite) -> None:
    """The first reviver dies before it removes the failure; a worker claims the task; the second one comes."""
    site.open().put(task("one"))
    lease = claimed(site.open())
    lease.fail(InputError("bad"), permanent=True)
    site.open().revive("one")
    failure = Ended.of(task("one"), "failed", 1, failures=1, reason="bad_input", message="bad")
    site.store.put(site.layout.failed("processing", "one"), failure.to_bytes())
    worker = claimed(site.open())
    assert site.open().revive("one") is False
    assert worker.still_mine()
    worker.complete()
    site.open().sweep()
    assert counts(site) == (0, 0, 1, 0)


# -- inspect -------------------------------------------------------------------------------------------------------


def test_inspecting_follows_a_task_through_its_life(site: QueueSite) -> None:
    assert look(site).state == "unknown"
    site.open().put_many([task("one"), task("one.2"), task("one-more")])
    assert look(site).state == "waiting"
    assert look(site).todo["episode_id"] == "one"
    queue = site.open()
    held = {lease.task_id: lease for lease in (claimed(queue), claimed(queue), claimed(queue))}
    (attempt,) = look(site).attempts
    assert (look(site).state, attempt.state, attempt.attempt) == ("running", "live", 1)
    assert attempt.owner == queue.owner  # type: ignore[attr-defined]
    assert 0 <= attempt.age < 60
    held["one"].fail(RetryLater("busy", reason="busy"), permanent=False)
    found = look(site)
    assert (found.state, found.attempts[0].state, found.attempts[0].reason) == ("waiting", "failed", "busy")
    again = claimed(site.open())
    assert [one.state for one in look(site).attempts] == ["failed", "live"]
    again.complete({"segments": 3})
    found = look(site)
    assert found.state == "completed"
    assert found.completed
    assert found.completed["result"] == {"segments": 3}
    assert found.to_json()["todo"] is None


def test_ten_attempts_come_in_order(site: QueueSite) -> None:
    site.open().put(task("one"))
    for _ in range(11):
        claimed(site.open()).release()
    found = look(site)
    assert [one.attempt for one in found.attempts] == list(range(1, 12))
    assert {one.state for one in found.attempts} == {"released"}


def test_ages_are_by_the_stores_clock(site: QueueSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    time.sleep(site.blur + 0.3)
    lease.renew()
    (attempt,) = look(site).attempts
    assert attempt.written < attempt.age
