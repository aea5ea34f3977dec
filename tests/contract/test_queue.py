"""The contract of a task queue, on every backend: putting, claiming, keeping, ending."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from duplexforge.errors import InputError, LeaseLost
from duplexforge.queues.base import Lease, TaskQueue
from duplexforge.records import ProcessTask
from tests.contract.backends import QUEUES, QueueSite, marked

HANG = 30.0
T = TypeVar("T")


@pytest.fixture(params=marked(QUEUES))
def site(request: pytest.FixtureRequest) -> QueueSite:
    return QUEUES[request.param](request)


def task(name: str, **fields: Any) -> ProcessTask:
    return ProcessTask(id=name, episode_id=name, language="en", audio_key=f"raw_audio/en/s/{name}.mp3", **fields)


def claimed(queue: TaskQueue[ProcessTask], wait: float = HANG) -> Lease[ProcessTask]:
    """The next lease, which must come."""
    deadline = time.monotonic() + wait
    while (lease := queue.claim()) is None:
        assert time.monotonic() < deadline, "no task came"
        time.sleep(0.05)
    return lease


def expired(site: QueueSite, **changes: float) -> Lease[ProcessTask]:
    """The lease of a worker that has vanished, after its time."""
    lease = claimed(site.open(lease_seconds=0.5, **changes))
    time.sleep(0.5 + site.blur)
    return lease


def counts(site: QueueSite) -> tuple[int, int, int, int]:
    stats = site.open().stats()
    return stats.waiting, stats.running, stats.completed, stats.failed


def left(site: QueueSite) -> list[str]:
    """Objects of tasks that have not been cleaned up."""
    prefixes = [site.layout.queue_prefix("processing", state) for state in ("todo", "in_progress")]
    return [meta.key for prefix in prefixes for meta in site.store.list(prefix)]


# -- putting -------------------------------------------------------------------------------------------------------


def end_nothing(site: QueueSite) -> None:
    """Leave the task waiting."""


def end_running(site: QueueSite) -> None:
    claimed(site.open())


def end_completed(site: QueueSite) -> None:
    claimed(site.open()).complete()


def end_failed(site: QueueSite) -> None:
    claimed(site.open()).fail(InputError("bad"), permanent=True)


@pytest.mark.parametrize("bring", [end_nothing, end_running, end_completed, end_failed])
@pytest.mark.parametrize("others", [0, 20])
def test_putting_again_changes_nothing_in_any_state(
    site: QueueSite, bring: Callable[[QueueSite], None], others: int
) -> None:
    queue = site.open()
    assert queue.put(task("one")) is True
    bring(site)
    before = counts(site)
    assert queue.put(task("one")) is False
    assert queue.put_many([task("one"), *(task(f"more-{number}") for number in range(others))]) == others
    assert counts(site) == (before[0] + others, *before[1:])


def test_put_many_counts_what_is_new(site: QueueSite) -> None:
    queue = site.open()
    assert queue.put_many(task(f"t{number:04d}") for number in range(30)) == 30
    assert queue.put_many(task(f"t{number:04d}") for number in range(40)) == 10
    assert queue.put_many([]) == 0
    assert queue.stats().waiting == 40


# -- claiming ------------------------------------------------------------------------------------------------------


def test_each_task_is_claimed_once(site: QueueSite) -> None:
    site.open().put_many(task(f"t{number}") for number in range(12))
    queues = [site.open() for _ in range(3)]
    leases = [lease for _ in range(4) for queue in queues if (lease := queue.claim())]
    assert sorted(lease.task_id for lease in leases) == sorted(f"t{number}" for number in range(12))
    assert {lease.attempt for lease in leases} == {1}
    assert len({lease.nonce for lease in leases}) == 12
    assert [queue.claim() for queue in queues] == [None, None, None]
    assert counts(site) == (0, 12, 0, 0)


def test_an_empty_queue_gives_none(site: QueueSite) -> None:
    assert site.open().claim() is None
    assert site.open().claim(wait=0.2) is None
    assert counts(site) == (0, 0, 0, 0)


def test_a_task_put_while_waiting_is_claimed(site: QueueSite) -> None:
    queue = site.open()
    assert queue.claim() is None
    site.open().put(task("late"))
    assert claimed(queue).task_id == "late"


def test_the_lease_carries_the_task(site: QueueSite) -> None:
    wanted = task("one", etag="abc", title="a field of a newer program")
    site.open().put(wanted)
    assert claimed(site.open()).task == wanted


def test_a_body_by_hand_needs_three_fields(site: QueueSite) -> None:
    key = site.layout.todo("processing", "mine")
    site.store.put(key, b'{"episode_id": "mine", "language": "en", "audio_key": "raw_audio/en/s/mine.mp3"}')
    lease = claimed(site.open())
    assert (lease.task.id, lease.task.episode_id, lease.task.attempt_limit) == ("mine", "mine", 3)
    lease.complete()
    assert counts(site) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"episode_id": "x"}',
        b'{"episode_id": "x", "audio_key": 5}',
        b'{"id": "another", "episode_id": "x", "audio_key": "k"}',
        b'{"episode_id": "x", "audio_key": "k", "attempt_limit": 0}',
    ],
)
def test_a_malformed_body_ends_as_failed_with_the_reason(site: QueueSite, body: bytes) -> None:
    site.store.put(site.layout.todo("processing", "bad"), body)
    assert site.open().claim() is None
    (record,) = site.open().dead()
    assert (record.id, record.reason, record.attempt) == ("bad", "bad_record", 1)
    assert "bad" in (record.message or "")
    assert str(record.task.get("body", "")).encode(errors="replace")[:8] == body.decode(errors="replace").encode()[:8]
    assert left(site) == []


def test_a_newer_record_is_left_to_newer_workers(site: QueueSite) -> None:
    key = site.layout.todo("processing", "new")
    body = b'{"version": 99, "episode_id": "new", "audio_key": "k"}'
    site.store.put(key, body)
    queue = site.open()
    assert queue.claim() is None
    assert queue.claim() is None
    assert site.store.get(key) == body
    assert queue.stats().open == 0, "this worker is done with what it can do"
    assert counts(site) == (1, 0, 0, 0)


@pytest.mark.parametrize("name", ["note.txt", "no task.task", "sub/deep.task", ".task", "x.task.bak"])
def test_what_is_no_task_is_left_alone(site: QueueSite, name: str) -> None:
    key = site.layout.queue_prefix("processing", "todo") + name
    site.store.put(key, b"hello")
    queue = site.open()
    queue.put(task("good"))
    assert claimed(queue).task_id == "good"
    assert queue.claim() is None
    queue.sweep()
    assert site.store.get(key) == b"hello"
    assert counts(site) == (0, 1, 0, 0)


def test_strange_objects_among_the_leases_do_no_harm(site: QueueSite) -> None:
    for name in ("note.txt", "x.y.lease", ".1.lease", "a b.1.lease"):
        site.store.put(site.layout.queue_prefix("processing", "in_progress") + name, b"?")
    site.open().put(task("good"))
    claimed(site.open()).complete()
    site.open().sweep()
    assert counts(site) == (0, 0, 1, 0)


def test_an_unreadable_lease_holds_until_it_expires(site: QueueSite) -> None:
    site.open().put(task("one"))
    site.store.put(site.layout.lease("processing", "one", 1), b"{broken")
    queue = site.open(lease_seconds=site.lease)
    assert queue.claim() is None
    assert claimed(queue).attempt == 2


# -- keeping a lease -----------------------------------------------------------------------------------------------


def test_renewal_keeps_a_lease(site: QueueSite) -> None:
    site.open().put(task("one"))
    other = site.open(lease_seconds=site.lease)
    lease = claimed(site.open(lease_seconds=site.lease))
    for _ in range(8):
        time.sleep(site.lease / 4)
        lease.renew()
        assert other.claim() is None
    assert lease.still_mine()
    assert counts(site) == (0, 1, 0, 0)


def test_a_renewed_lease_is_not_taken_over_on_an_old_listing(site: QueueSite) -> None:
    site.open().put_many([task("one"), task("two")])
    slow = expired(site)
    other = site.open(lease_seconds=site.lease)
    assert claimed(other).task_id in ("one", "two")
    # Its next candidate is on a page that was listed when both seemed free; meanwhile the slow owner came back.
    slow.renew() if slow.still_mine() else None
    second = other.claim()
    assert second is None or second.task_id != slow.task_id or not slow.still_mine()


def test_an_expired_lease_is_taken_over_with_the_next_attempt(site: QueueSite) -> None:
    site.open().put(task("one"))
    first = expired(site)
    second = claimed(site.open())
    assert (second.task_id, second.attempt) == ("one", 2)
    assert second.nonce != first.nonce
    assert not first.still_mine()
    assert second.still_mine()
    with pytest.raises(LeaseLost):
        first.renew()
    assert site.open().claim() is None


def test_a_released_task_is_claimable_at_once_and_uncounted(site: QueueSite) -> None:
    site.open().put(task("one", attempt_limit=1))
    watcher = site.open()
    for attempt in (1, 2, 3, 4):
        lease = claimed(site.open())
        assert lease.attempt == attempt
        assert watcher.claim() is None, "held; the watcher now knows this lease"
        lease.release()
        assert counts(site) == (1, 0, 0, 0)
    assert claimed(watcher).attempt == 5


def test_leaving_the_block_releases(site: QueueSite) -> None:
    site.open().put(task("one"))
    with pytest.raises(RuntimeError), claimed(site.open()):
        raise RuntimeError("oops")
    with claimed(site.open()) as lease:
        lease.complete()
    assert counts(site) == (0, 0, 1, 0)


def test_release_for_later(site: QueueSite) -> None:
    site.open().put(task("one"))
    claimed(site.open()).release(after=1.0)
    queue = site.open()
    assert queue.claim() is None
    assert counts(site) == (1, 0, 0, 0)
    assert claimed(queue).attempt == 2
