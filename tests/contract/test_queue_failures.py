"""The contract of a task queue: failures are counted, wait their time, and end with a reason."""

from __future__ import annotations

import pytest

from duplexforge.errors import InputError, RetryLater
from tests.contract.backends import QUEUES, QueueSite, marked
from tests.contract.test_queue import claimed, counts, expired, left, task


@pytest.fixture(params=marked(QUEUES))
def site(request: pytest.FixtureRequest) -> QueueSite:
    return QUEUES[request.param](request)


def test_temporary_failures_are_counted_up_to_the_limit(site: QueueSite) -> None:
    site.open().put(task("one", attempt_limit=3))
    for attempt in (1, 2):
        lease = claimed(site.open())
        assert lease.attempt == attempt
        assert lease.fail(RetryLater("throttled", reason="throttled"), permanent=False) is False
        assert counts(site) == (1, 0, 0, 0)
    assert claimed(site.open()).fail(RetryLater("throttled again", reason="throttled"), permanent=False) is True
    (record,) = site.open().dead()
    assert (record.reason, record.message, record.failures, record.attempt) == ("throttled", "throttled again", 3, 3)
    assert record.task["audio_key"] == "raw_audio/en/s/one.mp3"
    assert left(site) == []


def test_failures_back_off(site: QueueSite) -> None:
    site.open().put(task("one"))
    claimed(site.open(retry_seconds=1.0)).fail(RetryLater("x"), permanent=False)
    queue = site.open()
    assert queue.claim() is None
    assert claimed(queue).attempt == 2


def test_a_newcomer_finds_what_was_given_back_in_one_claim(site: QueueSite) -> None:
    # Who knows no lease yet tries the first attempt, meets the one that was, and must not take it for a living one.
    site.open().put_many([task("one"), task("two")])
    for lease in (claimed(site.open()), claimed(site.open())):
        lease.release()
    assert {claimed(site.open()).attempt, claimed(site.open()).attempt} == {2}


def test_the_error_may_say_when(site: QueueSite) -> None:
    site.open().put(task("one"))
    claimed(site.open(retry_seconds=600)).fail(RetryLater("x"), permanent=False, after=0.0)
    assert claimed(site.open()).attempt == 2


def test_a_permanent_failure_ends_at_once(site: QueueSite) -> None:
    site.open().put(task("one"))
    assert claimed(site.open()).fail(InputError("corrupt", reason="corrupt_audio"), permanent=True) is True
    assert site.open().claim() is None
    assert [(record.reason, record.failures) for record in site.open().dead()] == [("corrupt_audio", 1)]


def test_a_failure_that_is_no_error_of_ours_is_a_bug(site: QueueSite) -> None:
    site.open().put(task("one"))
    claimed(site.open()).fail(ZeroDivisionError(), permanent=True)
    assert [(one.reason, one.message) for one in site.open().dead()] == [("bug", "ZeroDivisionError")]


def test_a_task_that_kills_its_workers_is_given_up(site: QueueSite) -> None:
    site.open().put_many([task("poison", attempt_limit=2)])
    assert expired(site).attempt == 1
    assert expired(site).attempt == 2
    site.open().put(task("innocent"))
    queue = site.open()
    assert claimed(queue).task_id == "innocent"
    assert queue.claim() is None
    (record,) = site.open().dead()
    assert (record.id, record.reason, record.failures) == ("poison", "expired", 2)
    assert counts(site) == (0, 1, 0, 1)
