"""24 claimers in three processes: every task is claimed once, completed once, and nothing stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from duplexforge.config import StoreSettings
from duplexforge.layout import hashed_id
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from tests.contract.backends import folder_settings
from tests.contract.claimers import open_queue
from tests.servers.s3_client import ROOT, S3Server

PROCESSES, THREADS = 3, 8
HANG = 240


@contextmanager
def claimer(number: int, store: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process of claimers, started and waiting for the word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.claimers"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"store": store, "threads": THREADS, "number": number}) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def race(settings: StoreSettings) -> list[tuple[str, int, str]]:
    """All claims that the processes made."""
    store = {
        "store_url": settings.store_url,
        "endpoint": settings.endpoint,
        "aws_region": settings.aws_region,
        "access_key_id": settings.access_key_id and settings.access_key_id.get_secret_value(),
        "secret_access_key": settings.secret_access_key and settings.secret_access_key.get_secret_value(),
    }
    with ExitStack() as stack:
        processes = [stack.enter_context(claimer(number, store)) for number in range(PROCESSES)]
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=HANG)[0] for process in processes]
        return [(task, attempt, worker) for part in told for task, attempt, worker in json.loads(part)]


def seed_and_race(settings: StoreSettings, count: int) -> None:
    """The whole test on one store."""
    ids = {hashed_id("pod", str(number)) for number in range(count)}
    queue = open_queue(open_store(settings))
    tasks = (ProcessTask(id=one, episode_id=one, audio_key=f"raw_audio/en/s/{one}.mp3") for one in ids)
    assert queue.put_many(tasks) == count

    claims = race(settings)

    assert Counter(task for task, _, _ in claims) == Counter(ids)
    assert {attempt for _, attempt, _ in claims} == {1}
    assert len({worker for _, _, worker in claims}) > PROCESSES
    queue.sweep()
    stats = queue.stats()
    assert (stats.open, stats.completed, stats.failed) == (0, count, 0)
    for state in ("todo", "in_progress", "failed"):
        assert list(queue.store.list(queue.layout.queue_prefix("processing", state))) == []


def test_ten_thousand_tasks_in_a_folder(tmp_path: Path) -> None:
    seed_and_race(folder_settings(tmp_path), 10_000)


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_tasks_on_s3_and_requests_a_task(s3_server: S3Server, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    bucket = s3_server.fresh_bucket()
    seed_and_race(s3_server.settings(bucket), count)

    requests = s3_server.requests(bucket)
    # Seeding costs one conditional write a task and a few listings.
    a_task = (sum(requests.values()) - count) / count
    with capsys.disabled():
        print(f" {count} tasks, 24 claimers: {a_task:.2f} requests a task {requests}", end=" ")
    assert a_task <= 6.0
