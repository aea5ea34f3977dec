"""Roles started as pods would be: one process each, configured by variables alone, killed and replaced at will."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duplexforge import config

COMMAND = [sys.executable, "-m", "duplexforge"]
HANG_GUARD = 300.0


@dataclass
class Deployment:
    """What all pods have in common: variables, a folder for logs, and those that run now, by role."""

    variables: dict[str, str]
    folder: Path
    rng: random.Random
    running: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    kills: int = 0
    logs: dict[int, Path] = field(default_factory=dict)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that a person types, with the pods' variables."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            timeout=HANG_GUARD,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
        return done

    def stats(self, stage: str) -> dict[str, int]:
        """The counts of a queue, as ``duplexforge queue stats`` tells them."""
        told: dict[str, dict[str, int]] = json.loads(self.command("queue", "stats", "--json").stdout)
        return told[stage]

    def start(self, role: str) -> None:
        """One more pod of ``role``, as a service."""
        pods = self.running.setdefault(role, [])
        path = self.folder / f"{role}-{len(list(self.folder.glob(f'{role}-*.log')))}.log"
        with path.open("wb") as log:
            pod = subprocess.Popen(
                [*COMMAND, role],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pods.append(pod)
        self.logs[pod.pid] = path

    def kill_one(self, role: str) -> None:
        """``kill -9`` to one pod of ``role`` and all of its processes: a node that is gone. Another one takes its place."""
        pods = self.running[role]
        pod = pods.pop(self.rng.randrange(len(pods)))
        assert pod.poll() is None, f"a pod of {role} had ended by itself: {self.words(role)}"
        os.killpg(pod.pid, signal.SIGKILL)
        pod.wait()
        self.kills += 1
        self.start(role)

    def stop(self, role: str) -> None:
        """SIGTERM to all pods of ``role``; each must end with 0, but for one that was still loading and had not said a word.

        A pod that has just taken a killed one's place is a bare interpreter for a second: it has claimed nothing, and the
        signal ends it as the system would.
        """
        pods = self.running.pop(role, [])
        for pod in pods:
            pod.send_signal(signal.SIGTERM)
        codes = {pod.pid: pod.wait(HANG_GUARD) for pod in pods}
        loading = {pid for pid, code in codes.items() if code == -signal.SIGTERM and not self.logs[pid].stat().st_size}
        wrong = {pid: code for pid, code in codes.items() if code and pid not in loading}
        assert not wrong, f"{wrong}: {self.words(role)}"

    def close(self) -> None:
        """End what still runs."""
        for pods in self.running.values():
            for pod in pods:
                if pod.poll() is None:
                    os.killpg(pod.pid, signal.SIGKILL)
                    pod.wait()

    def words(self, role: str) -> str:
        """The ends of the logs of a role."""
        return "\n".join(path.read_text("utf-8", "replace")[-1500:] for path in self.folder.glob(f"{role}-*.log"))

    def _environment(self) -> dict[str, str]:
        return config.child_environment(**self.variables)


def wait_until(condition: Callable[[], Any], what: str, pause: float = 0.1) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + HANG_GUARD
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(pause)
