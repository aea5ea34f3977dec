"""The servers of serve_capacity.py as processes on one core: ours, and the peer; their processor time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Server", "ours", "peer", "started"]

HERE = Path(__file__).parent
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A server that runs, on one core."""

    process: subprocess.Popen[str]
    url: str

    @property
    def cpu(self) -> float:
        """Processor seconds of it so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def memory(self) -> float:
        """MiB that lie in memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024  # type: ignore[union-attr]


@contextmanager
def started(command: list[str], core: int, found: re.Pattern[str], environment: dict[str, str]) -> Iterator[Server]:
    """``command`` on ``core`` until the block ends; ``found`` is what it says when it is ready, with its port."""
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=told, stderr=told, text=True, env=os.environ | environment
        )
        try:
            yield Server(process, f"ws://127.0.0.1:{_port(process, told, found)}/ws/pcm16")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[str], told: Any, found: re.Pattern[str]) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        told.seek(0)
        if match := found.search(told.read()):
            return int(match.group(1))
        time.sleep(0.05)
    told.seek(0)
    raise RuntimeError(f"the server did not start: {told.read()[-2000:]}")


def ours(slots: int, core: int) -> AbstractContextManager[Server]:
    """The product's own server with room for ``slots``."""
    command = [str(Path(sys.executable).with_name("duplexforge")), "serve", "--backend", "echo", "--port", "0"]
    ready = re.compile(r"http://127\.0\.0\.1:(\d+) answers")
    environment = {"SCA_DRAIN_SECONDS": "1", "SCA_IDLE_SECONDS": "120"}
    return started([*command, "--slots", str(slots)], core, ready, environment)


def peer(core: int) -> AbstractContextManager[Server]:
    """The one with the lock."""
    return started([sys.executable, str(HERE / "serve_peer.py")], core, re.compile(r"^(\d+)$", re.M), {})
