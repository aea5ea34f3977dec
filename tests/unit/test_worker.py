"""The worker's loop on a real queue in a folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from duplexforge.errors import (
    DuplexforgeError,
    InputError,
    LeaseLost,
    ModelError,
    Preempted,
    RetryLater,
    StoreError,
    Throttled,
)
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from duplexforge.worker import Progress, Tally, Worker
from tests.servers.s3_client import S3Server
from tests.unit.steps import HANG, CopyStep, open_queue, out_key, queue_settings, task
from tests.unit.workers import fail_with, hold, make, running, step_of, until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


# -- the happy path ------------------------------------------------------------------------------------------------


def test_drain_does_everything_and_ends(folder: Path) -> None:
    open_queue(folder).put_many(task(f"t{number}") for number in range(10))
    worker = make(folder)
    assert worker.run() == Tally(completed=10)
    queue = open_queue(folder)
    assert (queue.stats().open, queue.stats().completed) == (0, 10)
    assert list(queue.store.list("tasks/processing_in_progress/")) == []
    results = {record.id: record.result["attempt"] for record in queue.ended("completed")}
    assert {name: queue.store.get(out_key(name)).decode() for name in results} == results
    assert len(set(results.values())) == 10


def test_an_empty_queue_is_drained_at_once(folder: Path) -> None:
    assert make(folder).run() == Tally()


def test_scratch_folders_are_removed(folder: Path) -> None:
    open_queue(folder).put_many([task("a"), task("b", attempt_limit=1)])
    worker = make(folder, lambda one, _: fail_with(RetryLater("x"))(one, _) if one.id == "b" else None)
    worker.run()
    assert len({str(path) for path in step_of(worker).folders}) == 2
    assert list((folder.parent / "scratch").iterdir()) == []


def test_a_task_whose_output_is_committed_is_skipped(folder: Path) -> None:
    queue = open_queue(folder)
    queue.put(task("one"))
    queue.store.put(out_key("one"), b"by somebody")
    worker = make(folder)
    assert worker.run() == Tally(skipped=1)
    assert step_of(worker).fetched == []
    assert queue.stats().completed == 1
    assert queue.store.get(out_key("one")) == b"by somebody"


def test_the_next_task_is_fetched_while_one_is_worked_on(folder: Path) -> None:
    open_queue(folder).put_many([task("a"), task("b")])
    go = threading.Event()
    worker = make(folder, hold(go))
    with running(worker) as thread:
        until(lambda: len(step_of(worker).fetched) == 2)
        assert len(step_of(worker).worked) == 1
        go.set()
        thread.join(HANG)
    assert worker.tally == Tally(completed=2)


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fetch", "work", "done"])
@pytest.mark.parametrize(
    ("error", "tally", "reason"),
    [
        (InputError("corrupt", reason="corrupt_audio"), Tally(failed=1), "corrupt_audio"),
        (DuplexforgeError("impossible"), Tally(failed=1), "bug"),
        (RetryLater("later", reason="throttled"), Tally(retried=1, failed=1), "throttled"),
        (StoreError("away"), Tally(retried=1, failed=1), "store"),
        (ZeroDivisionError("oops"), Tally(retried=1, failed=1), "bug"),
    ],
)
def test_errors_of_a_task_are_settled_by_their_class(
    folder: Path, where: str, error: Exception, tally: Tally, reason: str
) -> None:
    class Failing(CopyStep):
        def done(self, task: ProcessTask) -> bool:
            if where == "done":
                raise error
            return super().done(task)

        def fetch(self, task: ProcessTask, folder: Path) -> Path:
            if where == "fetch":
                raise error
            return super().fetch(task, folder)

    queue = open_queue(folder)
    queue.put(task("one", attempt_limit=2))
    step = Failing(queue.store, fail_with(error) if where == "work" else None)
    assert Worker(open_queue(folder), step, queue_settings(), drain=True).run() == tally
    (record,) = queue.dead()
    assert (record.reason, record.message) == (reason, str(error))


def test_a_throttled_task_goes_back_uncounted_until_its_time(folder: Path) -> None:
    open_queue(folder).put_many([task("busy", attempt_limit=1), task("free")])
    tries = []

    def before(one: ProcessTask, _: Progress) -> None:
        tries.append(one.id)
        if one.id == "busy" and tries.count("busy") < 4:
            raise Throttled("come back later", after=0.05)

    tally = make(folder, before).run()
    assert tally == Tally(completed=2, released=3)
    assert {record.id: record.failures for record in open_queue(folder).ended("completed")} == {"busy": 0, "free": 0}


def test_a_site_that_never_has_time_fails_the_task_in_the_end(folder: Path) -> None:
    open_queue(folder).put(task("one", attempt_limit=1))
    tally = make(folder, fail_with(Throttled("never", after=0.001))).run()
    assert (tally.failed, tally.released) == (1, 49)
    (record,) = open_queue(folder).dead()
    assert (record.reason, record.attempt) == ("throttled", 50)


def test_a_missing_model_ends_the_worker_and_harms_no_task(folder: Path) -> None:
    open_queue(folder).put_many([task("a", attempt_limit=1), task("b", attempt_limit=1)])
    worker = make(folder, fail_with(ModelError("gated: accept its terms")))
    with pytest.raises(ModelError, match="gated"):
        worker.run()
    assert len(step_of(worker).worked) == 1, "it takes no more work"
    stats = open_queue(folder).stats()
    assert (stats.waiting, stats.running, stats.failed) == (2, 0, 0)
    assert make(folder).run() == Tally(completed=2)


def test_a_lost_lease_is_abandoned(folder: Path) -> None:
    open_queue(folder).put(task("one"))
    go = threading.Event()
    worker = make(folder, hold(go), drain=False, lease_seconds=0.6)
    with running(worker):
        until(lambda: step_of(worker).worked)
        queue = open_queue(folder)
        # What a take-over leaves: the next attempt's lease.
        first = queue.store.get(queue.layout.lease("processing", "one", 1))
        queue.store.put_if_absent(queue.layout.lease("processing", "one", 2), first)
        until(lambda: worker.tally.released)
    assert queue.store.find(out_key("one")) is None
    assert queue.stats().open == 1


def test_check_lease_looks_before_the_commit(folder: Path) -> None:
    queue = open_queue(folder)
    queue.put(task("one"))

    def taken_over(one: ProcessTask, _: Progress) -> None:
        first = queue.store.get(queue.layout.lease("processing", one.id, 1))
        queue.store.put(queue.layout.lease("processing", one.id, 2), first)
        worker.stop()

    worker = make(folder, taken_over)
    assert worker.run() == Tally(released=1)
    assert queue.store.find(out_key("one")) is None


@pytest.mark.parametrize("error", [LeaseLost("gone"), Preempted("stop")])
def test_neither_loss_nor_preemption_counts(folder: Path, error: DuplexforgeError) -> None:
    open_queue(folder).put(task("one", attempt_limit=1))
    worker = make(folder, lambda one, progress: (worker.stop(), fail_with(error)(one, progress))[0])
    assert worker.run() == Tally(released=1)
    assert open_queue(folder).stats().failed == 0


def test_a_store_outage_ends_the_worker_with_its_error(s3_server: S3Server) -> None:
    from duplexforge.layout import Layout
    from duplexforge.queues.prefix import PrefixQueue

    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket), attempts=2)
    queue = PrefixQueue(store, Layout(), "processing", ProcessTask, queue_settings())
    queue.put_many([task("a"), task("b"), task("c")])

    def outage(_: ProcessTask, progress: Progress) -> None:
        s3_server.arm("error", match=f"/{bucket}", times=10_000)

    worker = Worker(queue, CopyStep(store, outage), queue_settings(), drain=True)
    try:
        with pytest.raises(StoreError):
            worker.run()
    finally:
        s3_server.control(disarm=True)
    assert threading.active_count() < 20
    assert queue.stats().open == 3, "nothing is lost; the leases expire"


def test_an_outage_while_claiming_ends_the_worker_with_its_error(s3_server: S3Server) -> None:
    from duplexforge.layout import Layout
    from duplexforge.queues.prefix import PrefixQueue

    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket), attempts=2)
    queue = PrefixQueue(store, Layout(), "processing", ProcessTask, queue_settings())
    s3_server.arm("error", match=f"/{bucket}", times=10_000)
    try:
        with pytest.raises(StoreError):
            Worker(queue, CopyStep(store), queue_settings()).run()
    finally:
        s3_server.control(disarm=True)


def test_no_room_for_scratch_is_not_the_tasks_fault(folder: Path) -> None:
    open_queue(folder).put(task("one", attempt_limit=1))
    queue = open_queue(folder)
    worker = Worker(queue, CopyStep(queue.store), queue_settings(), scratch=folder / "no" / "such", drain=True)
    with pytest.raises(FileNotFoundError):
        worker.run()
    assert (queue.stats().waiting, queue.stats().failed) == (1, 0)
    assert make(folder).run() == Tally(completed=1)
