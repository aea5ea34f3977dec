"""The worker when it is asked to stop, and how it keeps or loses its leases."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from duplexforge.records import ProcessTask
from duplexforge.worker import Progress, Tally, Worker
from tests.unit.steps import HANG, CopyStep, open_queue, out_key, queue_settings, task
from tests.unit.workers import hold, make, running, step_of, until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


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
    # Long enough that a machine with other work to do renews in time, and watched for more than two of them.
    worker = make(folder, hold(go), lease_seconds=1.5, stall_seconds=60)
    other = open_queue(folder, lease_seconds=1.5)
    with running(worker) as thread:
        until(lambda: len(step_of(worker).fetched) == 2)
        ends = time.monotonic() + 3.5
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
