"""``status --serve`` as a process: three faces of one look, a scrape that asks the store nothing, an end at SIGTERM."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import World, fill
from prometheus_client.parser import text_string_to_metric_families

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError
from duplexforge.records import Hours
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Autokick
from duplexforge.status.server import StatusServer
from duplexforge.storage import open_store
from tests.servers.s3_client import S3Server

HANG = 60.0


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HANG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG
    while not check():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def tasks(port: int, stage: str, state: str) -> float:
    families = text_string_to_metric_families(get(port, "/metrics")[1])
    return next(
        sample.value for one in families for sample in one.samples
        if sample.name == "duplexforge_queue_tasks" and sample.labels == {"stage": stage, "state": state}
    )  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PYTHONPATH")}
    return {**plain, "STATUS_CLUSTER": "off", **more}


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own, and its port."""
    command = [sys.executable, "-m", "duplexforge", "status", "--serve", "0", *arguments, "--store", f"file://{folder}"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(), cwd=folder.parent
    )
    try:
        assert process.stderr
        found = re.search(r"on port (\d+)", process.stderr.readline())
        assert found
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(World(open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path / 'store'}"))))
    return tmp_path / "store"


def test_three_faces_and_an_end(folder: Path) -> None:
    with serving(folder, "0.2") as (process, port):
        until(lambda: get(port, "/readyz")[0] == 200)
        assert get(port, "/livez") == (200, "ok\n")
        told = json.loads(get(port, "/status.json")[1])
        assert told["stages"]["download"]["failed"] == 2
        assert told["done"]["episodes"] == 4
        assert told["age"] >= 0
        assert tasks(port, "download", "failed") == told["stages"]["download"]["failed"]
        assert get(port, "/nothing") == (404, "livez, metrics, readyz, status.json\n")
        world = World(open_store(StoreSettings(_env_file=None, store_url=f"file://{folder}")))
        world.seed("yt-brand-new")
        until(lambda: tasks(port, "download", "waiting") == told["stages"]["download"]["waiting"] + 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=HANG) == 0


def test_a_port_in_use_is_one_sentence(folder: Path) -> None:
    with serving(folder) as (_, port):
        done = subprocess.run(
            [sys.executable, "-m", "duplexforge", "status", "--serve", str(port), "--store", f"file://{folder}"],
            capture_output=True, text=True, env=environment(), timeout=HANG,
        )  # fmt: skip
    assert done.returncode == 78
    assert f"cannot listen on port {port}" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def running(server: StatusServer) -> Iterator[int]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.port
    finally:
        server.stop()
        thread.join(timeout=HANG)
        assert not thread.is_alive()


@pytest.fixture
def collecting(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[World, Collector]]:
    monkeypatch.chdir(tmp_path)

    def make(bucket: str) -> tuple[World, Collector]:
        world = World(open_store(s3_server.settings(bucket), attempts=1))
        return world, Collector(world.store, world.layout, config.load("status"), autokick=lambda: Autokick("off"))

    return make


def test_scrapes_ask_the_store_nothing(
    s3_server: S3Server, collecting: Callable[[str], tuple[World, Collector]]
) -> None:
    bucket = s3_server.fresh_bucket()
    world, collector = collecting(bucket)
    world.manifest("yt-one", Hours(source=1.0))
    with running(StatusServer(collector, 0, 3600, host="127.0.0.1")) as port:
        until(lambda: get(port, "/readyz")[0] == 200)
        before = s3_server.requests(bucket)
        for _ in range(20):
            assert get(port, "/metrics")[0] == 200
            assert get(port, "/status.json")[0] == 200
        assert s3_server.requests(bucket) == before


def test_an_outage_leaves_the_last_look_and_shows_its_age(
    s3_server: S3Server, collecting: Callable[[str], tuple[World, Collector]]
) -> None:
    bucket = s3_server.fresh_bucket()
    world, collector = collecting(bucket)
    world.seed("yt-one")
    with running(StatusServer(collector, 0, 0.05, host="127.0.0.1")) as port:
        until(lambda: get(port, "/readyz")[0] == 200)
        s3_server.arm("error", match=bucket, times=1_000_000)
        until(lambda: json.loads(get(port, "/status.json")[1])["age"] > 0.5)
        assert get(port, "/readyz")[0] == 200
        assert tasks(port, "download", "waiting") == 1
        s3_server.control(disarm=bucket)
        until(lambda: json.loads(get(port, "/status.json")[1])["age"] < 0.5)


def test_before_the_first_look_it_is_alive_and_not_ready(
    s3_server: S3Server, collecting: Callable[[str], tuple[World, Collector]]
) -> None:
    bucket = s3_server.fresh_bucket()
    _, collector = collecting(bucket)
    s3_server.arm("error", match=bucket, times=1_000_000)
    with running(StatusServer(collector, 0, 0.05, host="127.0.0.1")) as port:
        assert [get(port, path)[0] for path in ("/livez", "/readyz", "/metrics", "/status.json")] == [
            200,
            503,
            503,
            503,
        ]
        s3_server.control(disarm=bucket)
        until(lambda: get(port, "/readyz")[0] == 200)


def test_a_key_that_is_refused_at_once_is_an_error(
    s3_server: S3Server, collecting: Callable[[str], tuple[World, Collector]]
) -> None:
    bucket = s3_server.fresh_bucket()
    _, collector = collecting(bucket)
    s3_server.arm("error", match=bucket, times=1_000_000, code="AccessDenied")
    server = StatusServer(collector, 0, 0.05, host="127.0.0.1")
    with pytest.raises(ConfigError):
        server.run()
    s3_server.control(disarm=bucket)
