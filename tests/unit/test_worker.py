"""The worker's loop on a real queue in a folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
)
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from duplexforge.worker import Progress, Tally, Worker
from tests.servers.s3_client import S3Server
from tests.unit.steps import HANG, CopyStep, open_queue, out_key, queue_settings, task

Before = Callable[[ProcessTask, Progress], None]


def make(folder: Path, before: Before | None = None, *, drain: bool = True, **changes: float) -> Worker[ProcessTask]:
    """A worker on the queue in ``folder``."""
    queue = open_queue(folder, **changes)
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return Worker(queue, CopyStep(queue.store, before), queue_settings(**changes), scratch=scratch, drain=drain)


def step_of(worker: Worker[ProcessTask]) -> CopyStep:
    assert isinstance(worker.step, CopyStep)
    return worker.step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@contextmanager
def running(worker: Worker[ProcessTask]) -> Iterator[threading.Thread]:
    """Run in a thread; the worker is stopped and waited for in the end."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop(grace=0)
        thread.join(HANG)
        assert not thread.is_alive(), "run() did not end"


def until(told: Callable[[], object]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + HANG
    while not told():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def fail_with(error: BaseException) -> Before:
    def before(_: ProcessTask, __: Progress) -> None:
        raise error

    return before


def hold(event: threading.Event) -> Before:
    """Beat until the event is set."""

    def before(_: ProcessTask, progress: Progress) -> None:
        while not event.is_set():
            progress.beat("holding", 0.5)
            time.sleep(0.01)

    return before


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


# -- stopping ------------------------------------------------------------------------------------------------------


def test_stop_lets_the_running_task_finish_and_hands_back_the_next(folder: Path) -> None:
    open_queue(folder).put_many([task("a", attempt_limit=1), task("b", attempt_limit=1)])
    go = threading.Event()
    worker = make(folder, hold(go), drain=False)
    with running(worker) as thread:
        until(lambda: len(step_of(worker).fetched) == 2)
        worker.stop(grace=HANG)
        assert thread.is_alive()
        go.set()
        thread.join(HANG)
    assert worker.tally == Tally(completed=1, released=1)
    stats = open_queue(folder).stats()
    assert (stats.waiting, stats.running, stats.completed) == (1, 0, 1)
    assert make(folder).run() == Tally(completed=1)


def test_after_the_grace_the_next_beat_stops_the_task_uncounted(folder: Path) -> None:
    open_queue(folder).put(task("one", attempt_limit=1))
    worker = make(folder, hold(threading.Event()), drain=False)
    with running(worker) as thread:
        until(lambda: step_of(worker).worked)
        worker.stop(grace=0.2)
        thread.join(HANG)
    assert worker.tally == Tally(released=1)
    lease = open_queue(folder).claim()
    assert lease is not None, "claimable at once"
    assert lease.attempt > 1
    assert lease.failures == 0


def test_an_idle_worker_stops(folder: Path) -> None:
    worker = make(folder, drain=False)
    with running(worker) as thread:
        worker.stop()
        thread.join(HANG)
        assert not thread.is_alive()


def test_a_hanging_fetch_does_not_hold_up_the_stop(folder: Path) -> None:
    open_queue(folder).put(task("one"))
    freed = threading.Event()

    class Hanging(CopyStep):
        def fetch(self, task: ProcessTask, folder: Path) -> Path:
            self.fetching.set()
            freed.wait(HANG)
            return folder

    queue = open_queue(folder)
    step = Hanging(queue.store)
    worker = Worker(queue, step, queue_settings(), drain=False)
    with running(worker) as thread:
        assert step.fetching.wait(HANG)
        worker.stop()
        thread.join(HANG)
        assert not thread.is_alive()
        assert not freed.is_set()
        assert open_queue(folder).stats().waiting == 1
    freed.set()


# -- keeping leases ------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_while_the_step_beats(folder: Path) -> None:
    open_queue(folder).put_many([task("one"), task("two")])
    go = threading.Event()
    worker = make(folder, hold(go), lease_seconds=0.5, stall_seconds=60)
    other = open_queue(folder, lease_seconds=0.5)
    with running(worker) as thread:
        until(lambda: len(step_of(worker).fetched) == 2)
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            assert other.claim() is None, "neither the running nor the fetched task"
            time.sleep(0.05)
        go.set()
        thread.join(HANG)
    assert worker.tally == Tally(completed=2)


def test_without_progress_the_lease_runs_out_and_another_worker_finishes(folder: Path) -> None:
    open_queue(folder).put(task("one"))
    wake = threading.Event()

    def hang(_: ProcessTask, progress: Progress) -> None:
        wake.wait(HANG)
        progress.beat("awake again")

    stuck = make(folder, hang, drain=False, lease_seconds=0.5, stall_seconds=1.0)
    with running(stuck):
        until(lambda: step_of(stuck).worked)
        other = make(folder, lease_seconds=0.5)
        assert other.run() == Tally(completed=1)
        wake.set()
        until(lambda: stuck.tally.released or stuck.tally.completed)
    queue = open_queue(folder)
    assert not queue.store.get(out_key("one")).startswith(b"a1-")
    assert queue.stats().completed == 1


def test_tasks_do_not_wait_behind_one_that_hangs(folder: Path) -> None:
    open_queue(folder).put_many([task("a", attempt_limit=2), task("b", attempt_limit=2)])
    wake = threading.Event()
    stuck = make(folder, lambda _, __: wake.wait(HANG) and None, drain=False, lease_seconds=0.5, stall_seconds=1.0)
    with running(stuck):
        until(lambda: len(step_of(stuck).fetched) == 2)
        assert make(folder, lease_seconds=0.5).run() == Tally(completed=2)
        wake.set()
        until(lambda: stuck.tally.released or stuck.tally.completed)
    assert len(step_of(stuck).worked) == 1
    assert open_queue(folder).stats().completed == 2
