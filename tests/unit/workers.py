"""How the worker's tests make, run and await a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from duplexforge.records import ProcessTask
from duplexforge.worker import Progress, Worker
from tests.unit.steps import HANG, CopyStep, open_queue, queue_settings

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
