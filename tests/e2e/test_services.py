"""Roles as pods run them: long-running processes with health pages, SIGTERM, and a child that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duplexforge import config
from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import Store, open_store
from tests.unit.processing.conftest import PACKAGE

HANG_GUARD = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + HANG_GUARD
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def page(port: int, path: str) -> tuple[int, str]:
    """Status and body of a health page; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def free_ports(count: int) -> int:
    """The first of ``count`` neighbouring ports that nobody uses."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


@contextlib.contextmanager
def service(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A role as a process; killed at the end if it still runs."""
    command = [sys.executable, "-m", "duplexforge", *arguments]
    with subprocess.Popen(command, env=config.child_environment(**variables), stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(config.load("status", store_url=f"file://{tmp_path}/store")[StoreSettings])


def test_download_serves_until_sigterm(store: Store, tmp_path: Path) -> None:
    (tmp_path / "one.mp3").write_bytes(b"whatever it is, it is kept as it came")
    port = free_ports(1)
    arguments = ["--store", store.url, "--health-port", str(port)]
    with service("download", *arguments, ALLOW_FILE_URLS="true") as process:
        wait_until(lambda: page(port, "/readyz")[0] == 200, "ready")
        seed = [
            sys.executable,
            "-m",
            "duplexforge",
            "seed",
            "download",
            str(tmp_path / "one.mp3"),
            "--store",
            store.url,
        ]
        subprocess.run(seed, check=True, capture_output=True)
        wait_until(lambda: list(store.list("raw_audio/")), "the episode in the store")
        wait_until(lambda: 'outcome="completed"' in page(port, "/metrics")[1], "the count")
        assert page(port, "/livez")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_GUARD) == 0
    assert list(store.list("tasks/download_in_progress/")) == []


@pytest.fixture
def toy_path(tmp_path: Path) -> Path:
    """The toy pipeline; a source that begins with "kill" takes its worker process with it, once."""
    folder = tmp_path / "toy" / "Emilia"
    folder.mkdir(parents=True)
    poison = (
        '        marker = Path(__file__).parent / "killed"\n'
        '        if body.startswith(b"kill") and not marker.exists():\n'
        "            marker.touch()\n"
        "            import os, signal\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    anchor = '        if body.startswith(b"corrupt"):\n'
    (folder / "__init__.py").write_text(PACKAGE.replace(anchor, poison + anchor))
    return folder


def test_process_outlives_a_killed_child(store: Store, toy_path: Path) -> None:
    queue = PrefixQueue(store, Layout(), "processing", ProcessTask, QueueSettings())
    for name in ("calm", "kill", "corrupt"):
        store.put(f"raw_audio/en/s/{name}.mp3", name.encode())
        queue.put(ProcessTask(id=name, episode_id=name, language="en", audio_key=f"raw_audio/en/s/{name}.mp3"))
    port = free_ports(3)
    arguments = ["--store", store.url, "--health-port", str(port)]
    variables = {"EMILIA_PATH": str(toy_path), "WORKERS_PER_GPU": "2", "LEASE_SECONDS": "2"}
    with service("process", *arguments, **variables) as process:
        wait_until(lambda: page(port, "/readyz")[0] == 200, "ready")
        wait_until(lambda: queue.stats().open == 0, "all tasks ended")
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_GUARD) == 0
    stats = queue.stats()
    assert (stats.completed, stats.failed) == (2, 1)
    assert [(record.id, record.reason) for record in queue.dead()] == [("corrupt", "corrupt")]
    failures = {record.id: record.failures for record in queue.ended("completed")}
    # The other task has a failure too when the killed worker had fetched it ahead: its lease expired as well.
    assert failures == {"calm": failures["calm"], "kill": 1}
    assert failures["calm"] in (0, 1)


def seeded(store: Store, bodies: dict[str, bytes]) -> PrefixQueue[ProcessTask]:
    queue = PrefixQueue(store, Layout(), "processing", ProcessTask, QueueSettings())
    for name, body in bodies.items():
        store.put(f"raw_audio/en/s/{name}.mp3", body)
        queue.put(ProcessTask(id=name, episode_id=name, language="en", audio_key=f"raw_audio/en/s/{name}.mp3"))
    return queue


def test_a_hanging_worker_makes_the_pod_say_so(store: Store, toy_path: Path) -> None:
    init = toy_path / "__init__.py"
    anchor = "        body = Path(source).read_bytes()\n"
    hang = '        if body.startswith(b"hang"):\n            import time\n            time.sleep(600)\n'
    init.write_text(init.read_text().replace(anchor, anchor + hang))
    seeded(store, {"hang": b"hang"})
    port = free_ports(2)
    variables = {"EMILIA_PATH": str(toy_path), "STALL_SECONDS": "3", "LEASE_SECONDS": "2", "DRAIN_SECONDS": "0"}
    with service("process", "--store", store.url, "--health-port", str(port), **variables) as process:
        wait_until(lambda: page(port, "/readyz")[0] == 200, "ready")
        wait_until(lambda: page(port, "/livez")[0] == 200, "alive before it hangs")
        wait_until(lambda: page(port, "/livez")[0] == 503, "the pod says that it hangs")
        assert process.poll() is None


def test_workers_make_way_for_fresh_ones_until_all_is_done(store: Store, toy_path: Path) -> None:
    pids = toy_path / "pids"
    init = toy_path / "__init__.py"
    anchor = "        body = Path(source).read_bytes()\n"
    note = f'        import os\n        open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")\n'
    init.write_text(init.read_text().replace(anchor, note + anchor))
    queue = seeded(store, {f"e{number}": b"audio" for number in range(5)})
    variables = {"EMILIA_PATH": str(toy_path), "RECYCLE_TASKS": "2", "EPISODES_AT_ONCE": "1"}
    with service("process", "--store", store.url, "--drain", **variables) as process:
        assert process.wait(HANG_GUARD) == 0
    stats = queue.stats()
    assert (stats.completed, stats.failed, stats.open) == (5, 0, 0)
    assert [record.failures for record in queue.ended("completed")] == [0] * 5
    workers = pids.read_text().split()
    assert len(workers) == 5
    assert [workers.count(pid) for pid in dict.fromkeys(workers)] == [2, 2, 1]


def test_a_broken_device_ends_the_child_and_the_next_one_goes_on(store: Store, toy_path: Path) -> None:
    init = toy_path / "__init__.py"
    once = (
        '        fallen = Path(__file__).parent / "fallen"\n'
        '        if body.startswith(b"fall") and not fallen.exists():\n'
        "            fallen.touch()\n"
        '            raise DeviceLost("an illegal memory access was encountered")\n'
    )
    anchor = '        if body.startswith(b"corrupt"):\n'
    init.write_text(init.read_text().replace(anchor, once + anchor))
    queue = seeded(store, {"fall": b"fall", "calm": b"calm", "still": b"still"})
    variables = {"EMILIA_PATH": str(toy_path), "RETRY_SECONDS": "0", "EPISODES_AT_ONCE": "3"}
    with service("process", "--store", store.url, "--drain", **variables) as process:
        assert process.wait(HANG_GUARD) == 0
    assert (queue.stats().completed, queue.stats().failed) == (3, 0)
    failures = {record.id: record.failures for record in queue.ended("completed")}
    assert failures == {"fall": 1, "calm": 0, "still": 0}
