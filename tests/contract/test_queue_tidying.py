"""What a prefix queue removes after a task has ended: at once for slow tasks, together for quick ones, in a safe order."""

from __future__ import annotations

import time

import pytest

from duplexforge.config import QueueSettings
from duplexforge.errors import StoreError
from duplexforge.layout import Layout
from duplexforge.queues.lease import PrefixLease
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server

KEYS = Layout()


class Bucket:
    """A queue on a fresh bucket."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.name = server, server.fresh_bucket()
        self.store: Store = open_store(server.settings(self.name), attempts=1)

    def queue(self, **fields: float) -> PrefixQueue[ProcessTask]:
        settings = QueueSettings(_env_file=None, **{"lease_seconds": 60.0, **fields})
        return PrefixQueue(self.store, KEYS, "processing", ProcessTask, settings)

    def left(self, state: str) -> int:
        return len(list(self.store.list(KEYS.queue_prefix("processing", state))))


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    made = Bucket(s3_server)
    made.queue().put_many(ProcessTask(id=f"t{n:02d}", episode_id="e", audio_key="k") for n in range(10))
    return made


def claimed(queue: PrefixQueue[ProcessTask]) -> PrefixLease[ProcessTask]:
    lease = queue.claim()
    assert lease
    return lease


def test_the_first_of_many_goes_at_once_the_rest_together(bucket: Bucket) -> None:
    queue = bucket.queue()
    for _ in range(10):
        claimed(queue).complete()
    assert bucket.left("todo") == 9
    stats = bucket.queue().stats()
    assert (stats.open, stats.completed) == (0, 10)
    before = bucket.server.requests(bucket.name).get("bulk", 0)
    queue.close()
    assert bucket.server.requests(bucket.name)["bulk"] == before + 2
    assert (bucket.left("todo"), bucket.left("in_progress")) == (0, 0)


def test_a_vain_claim_tidies_up(bucket: Bucket) -> None:
    queue = bucket.queue()
    while lease := queue.claim():
        lease.complete()
    assert (bucket.left("todo"), bucket.left("in_progress")) == (0, 0)


def test_slow_tasks_are_tidied_one_by_one(bucket: Bucket) -> None:
    queue = bucket.queue()
    for left in (9, 8):
        lease = claimed(queue)
        time.sleep(1.1)
        lease.complete()
        assert bucket.left("todo") == left


def test_the_renewal_of_a_slow_task_tidies_up_after_quick_ones(bucket: Bucket) -> None:
    queue = bucket.queue()
    for _ in range(3):
        claimed(queue).complete()
    slow = claimed(queue)
    assert bucket.left("todo") == 9
    slow.renew()
    assert (bucket.left("todo"), bucket.left("in_progress")) == (7, 1)


def test_who_dies_before_tidying_up_leaves_nothing_that_runs_again(bucket: Bucket) -> None:
    quick = bucket.queue(lease_seconds=0.5)
    for _ in range(10):
        claimed(quick).complete()
    time.sleep(1.7)
    # The leases have expired and the todos are still there: they are seen as ended, and cleaned, some with each look.
    queue = bucket.queue()
    assert [queue.claim() for _ in range(3)] == [None, None, None]
    assert bucket.left("todo") == 0
    stats = bucket.queue().stats()
    assert (stats.open, stats.completed, stats.failed) == (0, 10, 0)


def test_leases_stay_when_the_todos_could_not_be_removed(bucket: Bucket) -> None:
    queue = bucket.queue()
    for _ in range(4):
        claimed(queue).complete()
    bucket.server.arm("error", match=f"/{bucket.name}", method="POST", times=1)
    with pytest.raises(StoreError):
        queue.flush()
    assert (bucket.left("todo"), bucket.left("in_progress")) == (9, 4)
    assert bucket.queue().stats().completed == 4
    assert bucket.queue().sweep() >= 3
    assert bucket.left("todo") == 6


def test_idle_workers_read_few_leases(bucket: Bucket) -> None:
    busy = bucket.queue()
    leases = [claimed(busy) for _ in range(10)]
    before = bucket.server.requests(bucket.name)["get"]
    idle = bucket.queue()
    assert idle.claim() is None
    assert bucket.server.requests(bucket.name)["get"] - before == 8
    assert idle.claim() is None
    assert bucket.server.requests(bucket.name)["get"] - before == 10
    # A renewal writes the same bytes: nothing to read again.
    leases[0].renew()
    assert idle.claim() is None
    assert bucket.server.requests(bucket.name)["get"] - before == 10


def test_a_released_task_is_found_among_many_that_are_held(bucket: Bucket) -> None:
    busy = bucket.queue()
    leases = [claimed(busy) for _ in range(10)]
    idle = bucket.queue()
    assert idle.claim() is None
    leases[7].release()
    found = [lease.task_id for _ in range(3) if (lease := idle.claim())]
    assert found == [leases[7].task_id]
