"""``status --watch`` as a person and a pipe meet it: processes, a real terminal, Ctrl-C, a store that fails for a while."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import World, fill
from rich.console import Console
from test_status_server import HANG, environment, until

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.errors import StoreError
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Autokick
from duplexforge.status.watching import Watch
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(World(open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path / 'store'}"))))
    return tmp_path / "store"


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "duplexforge", "status", "--watch", "0.2", *arguments, "--store", f"file://{folder}"]


@pytest.mark.parametrize(("number", "arguments"), [(signal.SIGINT, []), (signal.SIGTERM, ["--json"])])
def test_a_pipe_gets_a_line_a_look_until_a_signal(folder: Path, number: int, arguments: list[str]) -> None:
    process = subprocess.Popen(
        command(folder, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        cwd=folder.parent,
    )  # fmt: skip
    assert process.stdout
    first, second = process.stdout.readline(), process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    if arguments:
        assert json.loads(second)["stages"]["download"]["failed"] == 2
    else:
        assert "download 1 waiting, 0 running, 2 failed" in first
        assert "\x1b" not in first + second


def test_a_terminal_gets_a_live_view_and_ctrl_c_ends_it(folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(folder), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm", COLUMNS="100"),
        cwd=folder.parent, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = ""

    def read() -> None:
        nonlocal seen
        if select.select([ours], [], [], 0.05)[0]:
            try:
                seen += os.read(ours, 65536).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                return

    def shown_twice() -> bool:
        read()
        return seen.count("Queues") >= 2

    try:
        until(shown_twice)
        process.send_signal(signal.SIGINT)
        until(lambda: bool(read()) or process.poll() is not None)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    # It was drawn again in its place, and the cursor is back.
    assert "\x1b[1A" in seen
    assert seen.rstrip().endswith("\x1b[?25h")
    assert "Traceback" not in seen


@contextmanager
def watched(store: Store, world: World, **more: bool) -> Iterator[tuple[Watch, io.StringIO]]:
    out = io.StringIO()
    with closing(Collector(store, world.layout, config.load("status"), autokick=lambda: Autokick("off"))) as collector:
        yield Watch(collector, 0.02, Console(file=out, width=100), **more), out


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Watch], threading.Thread]:
    monkeypatch.chdir(tmp_path)

    def start(watch: Watch) -> threading.Thread:
        thread = threading.Thread(target=watch.run)
        thread.start()
        return thread

    return start


def test_a_store_that_fails_for_a_while_is_said_so(
    s3_server: S3Server, running: Callable[[Watch], threading.Thread]
) -> None:
    bucket = s3_server.fresh_bucket()
    world = World(open_store(s3_server.settings(bucket), attempts=1))
    with watched(world.store, world) as (watch, out):
        thread = running(watch)
        until(lambda: bool(out.getvalue()))
        s3_server.arm("error", match=bucket, times=1_000_000)
        until(lambda: "not read again: the store did not answer" in out.getvalue())
        s3_server.control(disarm=bucket)
        lines = len(out.getvalue().splitlines())
        until(lambda: any("not read" not in line for line in out.getvalue().splitlines()[lines + 1 :]))
        watch.stop()
        thread.join(timeout=HANG)
        assert not thread.is_alive()


def test_a_store_that_fails_at_once_is_an_error(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    world = World(open_store(s3_server.settings(bucket), attempts=1))
    s3_server.arm("error", match=bucket, times=1_000_000)
    with watched(world.store, world) as (watch, _), pytest.raises(StoreError):
        watch.run()
    s3_server.control(disarm=bucket)


def test_stopped_before_it_began_it_shows_nothing(world: World) -> None:
    with watched(world.store, world) as (watch, out):
        watch.stop()
        began = time.monotonic()
        watch.run()
    assert out.getvalue() == ""
    assert time.monotonic() - began < HANG
