"""Twenty thousand episodes: read once by whoever looks first, by nobody afterwards, in memory that stays small."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from test_status_tally import manifest

from duplexforge import config
from duplexforge.layout import Layout, hashed_id
from duplexforge.records import Ended, ProcessTask
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Autokick
from duplexforge.storage import PAGE, open_store
from tests.servers.s3_client import S3Server

MANY = 20_000
KEYS = Layout()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """As many waiting tasks, ended tasks and manifests; one ended task in twenty has failed."""
    made, bodies = s3_server.fresh_bucket(), {}
    written = manifest("pod").to_bytes().decode()
    for number in range(MANY):
        name = hashed_id("pod", str(number))
        task = ProcessTask(id=name, episode_id=name, audio_key="k")
        failed = number % 20 == 0
        ended = Ended.of(task, "failed" if failed else "completed", 1, reason="corrupt" if failed else None)
        bodies[KEYS.todo("processing", f"w{name}")] = task.to_bytes().decode()
        bodies[(KEYS.failed if failed else KEYS.completed)("processing", name)] = ended.to_bytes().decode()
        bodies[KEYS.manifest("en", name)] = written
    s3_server.load(made, bodies)
    return made


@pytest.fixture
def collecting(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Collector]:
    monkeypatch.chdir(tmp_path)
    settings = config.load("status", status_cluster="off")
    return lambda: Collector(
        open_store(s3_server.settings(bucket)), KEYS, settings, autokick=lambda: Autokick("off")
    )  # fmt: skip


@pytest.mark.slow
def test_each_manifest_is_read_once_whoever_looks(
    s3_server: S3Server, bucket: str, collecting: Callable[[], Collector]
) -> None:
    with closing(collecting()) as collector:
        first = collector.look()
        assert (first.done.episodes, first.done.hours) == (MANY, float(MANY))
        assert [(one.reason, one.count) for one in first.failures] == [("corrupt", MANY // 20)]
        assert first.stages["processing"].waiting == MANY
        before = s3_server.requests(bucket)
        collector.look()
        after = s3_server.requests(bucket)
    assert after["get"] == before["get"]
    # Todos, ends and folders in pages of a thousand, and a few listings of what is empty.
    assert after["list"] - before["list"] <= 3 * MANY // PAGE + 20
    with closing(collecting()) as other:
        assert other.look().done == first.done
    # One read: the tally that the first one saved.
    assert s3_server.requests(bucket)["get"] - after["get"] == 1


@pytest.mark.slow
def test_memory_does_not_hold_what_was_read(collecting: Callable[[], Collector]) -> None:
    with closing(collecting()) as collector:
        tracemalloc.start()
        try:
            collector.look()
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Rows as tuples would keep five times as much. The peak is the listing of the episodes' folders.
    assert kept < 2_000_000
    assert peak < 20_000_000
