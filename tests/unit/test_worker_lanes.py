"""A worker with several tasks under way: side by side, through a broken device, with one that waits or hangs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from duplexforge.errors import DeviceLost, LeaseLost
from duplexforge.limits import Limits
from duplexforge.records import ProcessTask
from duplexforge.worker import Progress, Tally, Worker
from tests.unit.steps import HANG, CopyStep, open_queue, queue_settings, task
from tests.unit.workers import Before, running, step_of, until


def make(
    folder: Path, before: Before | None = None, *, lanes: int = 3, drain: bool = True, **changes: Any
) -> Worker[ProcessTask]:
    """A worker with ``lanes`` tasks at once on the queue in ``folder``."""
    queue = open_queue(folder, **changes)
    step, settings = CopyStep(queue.store, before), queue_settings(**changes)
    return Worker(queue, step, settings, drain=drain, lanes=lanes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def seeded(folder: Path, *names: str) -> None:
    open_queue(folder).put_many([task(name, attempt_limit=2) for name in names])


def test_as_many_tasks_as_lanes_are_worked_on_at_once(folder: Path) -> None:
    seeded(folder, *(f"t{number}" for number in range(9)))
    together = threading.Barrier(3)
    worker = make(folder, lambda _task, _progress: together.wait(HANG) and None)
    assert worker.run() == Tally(completed=9)
    assert sorted(step_of(worker).worked) == [f"t{number}" for number in range(9)]
    assert open_queue(folder).stats().completed == 9


def test_one_failure_in_a_lane_is_its_own(folder: Path) -> None:
    seeded(folder, "a", "bad", "c", "d")

    def before(one: ProcessTask, _: Progress) -> None:
        if one.id == "bad":
            raise ValueError("bad")

    assert make(folder, before, retry_seconds=0.0).run() == Tally(completed=3, retried=1, failed=1)


def test_a_stop_hands_back_what_all_lanes_hold(folder: Path) -> None:
    seeded(folder, "a", "b", "c", "d", "e")
    never = threading.Event()

    def before(_: ProcessTask, progress: Progress) -> None:
        while not never.is_set():
            progress.beat("holding")
            time.sleep(0.01)

    worker = make(folder, before, drain=False)
    with running(worker) as thread:
        until(lambda: len(step_of(worker).worked) == 3 and len(step_of(worker).fetched) == 4)
        worker.stop(grace=0.1)
        thread.join(HANG)
    assert worker.tally == Tally(released=4)
    stats = open_queue(folder).stats()
    assert (stats.waiting, stats.running) == (5, 0)


def test_a_broken_device_fails_one_task_and_touches_no_other(folder: Path) -> None:
    seeded(folder, "a", "b", "c", "d", "e")
    started, guilty = threading.Barrier(3), []

    def before(one: ProcessTask, progress: Progress) -> None:
        if started.wait(HANG) == 0:
            guilty.append(one.id)
            raise DeviceLost("an illegal memory access was encountered")
        while True:
            progress.beat("on the same device")
            time.sleep(0.01)

    worker = make(folder, before)
    with pytest.raises(DeviceLost):
        worker.run()
    assert (worker.tally.retried, worker.tally.completed) == (1, 0)
    assert worker.tally.released >= 2
    queue = open_queue(folder)
    failures = {}
    while (lease := queue.claim(wait=0.0)) is not None:
        failures[lease.task_id] = lease.failures
    assert failures == {name: int(name in guilty) for name in "abcde"}


def test_every_lane_of_a_broken_device_fails_but_only_the_first_is_blamed(folder: Path) -> None:
    seeded(folder, "a", "b", "c")
    started = threading.Barrier(3)

    def before(_: ProcessTask, __: Progress) -> None:
        started.wait(HANG)
        raise DeviceLost("device-side assert triggered")

    worker = make(folder, before)
    with pytest.raises(DeviceLost):
        worker.run()
    assert worker.tally == Tally(retried=1, released=2)


def test_who_waits_for_another_task_does_not_hang_while_that_one_moves(folder: Path) -> None:
    seeded(folder, "first", "second")
    turn, done = threading.Lock(), threading.Event()
    turn.acquire()

    def before(one: ProcessTask, progress: Progress) -> None:
        if one.id == "first":
            for _ in range(30):
                progress.beat("moving")
                time.sleep(0.1)
            done.set()
        while not done.is_set():
            progress.wait("waiting")
            time.sleep(0.02)

    worker = make(folder, before, lanes=2, stall_seconds=1.0, lease_seconds=1.0)
    assert worker.run() == Tally(completed=2)


def test_who_waits_for_a_task_that_hangs_loses_its_lease_too(folder: Path) -> None:
    seeded(folder, "hangs", "waits")
    over, seen = threading.Event(), threading.Event()

    def before(one: ProcessTask, progress: Progress) -> None:
        if one.id == "hangs":
            over.wait(HANG)
            return
        try:
            while True:
                progress.wait("waiting")
                time.sleep(0.02)
        except LeaseLost:
            seen.set()
            raise

    worker = make(folder, before, lanes=2, drain=False, stall_seconds=1.0, lease_seconds=1.0)
    with running(worker):
        assert seen.wait(HANG)
        over.set()


def test_a_worker_makes_way_after_so_many_tasks_and_leaves_the_rest(folder: Path) -> None:
    seeded(folder, *(f"t{number}" for number in range(8)))
    worker = make(folder, lanes=2)
    worker.limits = Limits(tasks=3)
    tally = worker.run()
    assert worker.recycled
    assert 3 <= tally.completed <= 5
    stats = open_queue(folder).stats()
    assert stats.running == 0
    assert stats.completed == tally.completed
    assert stats.waiting == 8 - tally.completed


def test_a_stop_request_shortens_the_grace_of_a_recycling_worker(folder: Path) -> None:
    worker = make(folder)
    worker.stop(grace=1e9)
    assert not worker.overdue()
    worker.stop(grace=0.0)
    assert worker.overdue()
    worker.stop(grace=1e9)
    assert worker.overdue()
