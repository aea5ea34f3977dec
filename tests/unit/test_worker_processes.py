"""Workers that are killed, and workers that are asked to stop, as processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.s3_client import ROOT
from tests.unit.steps import HANG, open_queue, out_key, task


@contextmanager
def worker(folder: Path, lease: float, mode: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process; killed in the end should it still live."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.worker_program", str(folder), str(lease), mode],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_working(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "working\n"


def test_after_sigkill_another_worker_finishes_with_one_commit(tmp_path: Path) -> None:
    open_queue(tmp_path).put(task("one"))
    with worker(tmp_path, 0.5, "hold") as victim:
        wait_until_working(victim)
        victim.kill()
        victim.wait(HANG)
    with worker(tmp_path, 0.5, "plain") as other:
        assert other.wait(HANG) == 0
    queue = open_queue(tmp_path)
    assert [(record.id, record.attempt) for record in queue.ended("completed")] == [("one", 2)]
    assert queue.store.get(out_key("one")).startswith(b"a2-")
    assert queue.stats().open == 0


def test_sigterm_releases_the_lease_and_exits(tmp_path: Path) -> None:
    open_queue(tmp_path).put(task("one", attempt_limit=1))
    with worker(tmp_path, 600, "hold") as process:
        wait_until_working(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
    lease = open_queue(tmp_path, lease_seconds=600).claim()
    assert lease is not None, "not left to expire"
    assert lease.failures == 0


def test_a_stopped_process_that_wakes_up_late_harms_nothing(tmp_path: Path) -> None:
    open_queue(tmp_path).put(task("one"))
    with worker(tmp_path, 0.5, "hold") as zombie:
        wait_until_working(zombie)
        zombie.send_signal(signal.SIGSTOP)
        with worker(tmp_path, 0.5, "plain") as other:
            assert other.wait(HANG) == 0
        zombie.send_signal(signal.SIGCONT)
        zombie.send_signal(signal.SIGTERM)
        assert zombie.wait(HANG) == 0
    queue = open_queue(tmp_path)
    queue.sweep()
    assert [record.id for record in queue.ended("completed")] == ["one"]
    assert queue.store.get(out_key("one")).startswith(b"a2-")
    assert list(queue.store.list("tasks/processing_in_progress/")) == []


def test_a_task_that_kills_its_process_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    open_queue(tmp_path).put_many([task("poison", attempt_limit=2), task("innocent")])
    codes = []
    for _ in range(4):
        with worker(tmp_path, 0.5, "die") as process:
            codes.append(process.wait(HANG))
    queue = open_queue(tmp_path)
    assert codes.count(-signal.SIGKILL) == 2
    assert codes[-1] == 0
    assert [(record.id, record.reason) for record in queue.dead()] == [("poison", "expired")]
    assert [record.id for record in queue.ended("completed")] == ["innocent"]
