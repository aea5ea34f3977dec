"""``duplexforge serve``, as a process: what it says, where it listens, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib import request

import pytest

from tests.unit.command import Run, runner

PATIENCE = 60.0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """``duplexforge serve`` in this process; for what ends by itself."""
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys, "serve")


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "duplexforge", "serve", "--backend", "echo", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCA_")}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The line that says it is, and the address in it."""
    assert process.stderr
    for line in process.stderr:
        if found := re.match(r"(http://\S+) answers with", line):
            return line, found[1]
    raise AssertionError("it never was")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_itself_answers_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with serving("--port", "0", "--slots", "2", folder=tmp_path) as process:
        line, url = ready(process)
        assert "echo" in line
        assert "2 at a time" in line
        assert "Ctrl-C stops it" in line
        with request.urlopen(url + "/readyz", timeout=PATIENCE) as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_ends_it(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--backend", "echo", "--port", port)
    assert done.returncode == 78
    assert f"port {port} is taken" in done.stderr


def test_weights_that_are_not_there_end_it(run: Run, tmp_path: Path) -> None:
    done = run("--weights", tmp_path / "none.safetensors", "--port", 0)
    assert done.returncode == 69
    assert "none.safetensors" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--backend", "parrot"], "SCA_BACKEND"),
        (["--config", "none.toml"], "none.toml"),
        (["--host", "192.0.2.1", "--backend", "echo"], "cannot listen"),
    ],
)
def test_settings_that_are_wrong(run: Run, arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == 78
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_dry_run_says_what_would_be_and_shows_no_key(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text('[server]\nslots = 7\nkeys = ["canary-key"]\n')
    done = run("--config", tmp_path / "a.toml", "--backend", "echo", "--port", 0, "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["backend"], told["slots"], told["keys"], told["host"]) == ("echo", 7, 1, "127.0.0.1")
    assert "canary" not in done.stdout + done.stderr
    assert "backend: echo" in run("--backend", "echo", "--port", 0, "--dry-run").stdout
