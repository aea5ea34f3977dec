"""One child process per slot: started, watched, restarted with back-off, stopped together.

A child is the same command in its own process, with its device in the environment before any library looks. It holds
the other end of a pipe from here: when this process dies without a word, the pipe closes and the child stops by itself,
so a ``kill -9`` of the parent leaves no orphan on a GPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from duplexforge import config, log
from duplexforge.errors import ConfigError, ModelError, RetryLater, UsageError
from duplexforge.limits import RECYCLED

# Starting again cannot cure these: the whole supervisor ends with the child's exit code.
HOPELESS = {UsageError.exit_code, ConfigError.exit_code, ModelError.exit_code}
_BACKOFF_LIMIT = 60.0
_HEALTHY_SECONDS = 300.0


@dataclass
class Slot:
    """One place for a child: its number and the variables that pin it to a device."""

    number: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0
    finished: bool = False


class Supervisor:
    """Keeps ``len(slots)`` children of one command running until they end by themselves or a stop is asked for."""

    def __init__(
        self, command: Sequence[str], slots: Sequence[Slot], *, grace: float, logs: Path | None = None
    ) -> None:
        self._command, self._slots, self._grace, self._logs = list(command), list(slots), grace, logs
        self._stopping = threading.Event()
        self._log = log.get("supervisor")
        self.restarts = 0

    def stop(self) -> None:
        """Pass SIGTERM on; children drain and exit. Safe in a signal handler."""
        self._stopping.set()
        for slot in self._slots:
            if slot.process and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGTERM)

    def running(self) -> list[int]:
        """Numbers of the slots whose child is alive."""
        return [slot.number for slot in self._slots if slot.process and slot.process.poll() is None]

    def run(self, tick: Callable[[], None] | None = None) -> int:
        """Until every child has ended: 0, or the code of the child that cannot be helped; ``tick`` runs now and then."""
        code = 0
        stop_by: float | None = None
        while not all(slot.finished for slot in self._slots):
            for slot in self._slots:
                code = self._watch(slot) or code
            if code and not self._stopping.is_set():
                self.stop()
            if self._stopping.is_set():
                stop_by = stop_by or time.monotonic() + self._grace
                if time.monotonic() > stop_by:
                    self._kill()
            if tick:
                tick()
            self._stopping.wait(0.1) if not self._stopping.is_set() else time.sleep(0.1)
        return code

    def _watch(self, slot: Slot) -> int:
        """Look after one slot; returns an exit code only when the child's end must end everything."""
        if slot.finished:
            return 0
        if slot.process is None:
            if self._stopping.is_set():
                slot.finished = True
            elif time.monotonic() >= slot.start_at:
                self._start(slot)
            return 0
        code = slot.process.poll()
        if code is None:
            return 0
        self._close(slot)
        if code == RECYCLED and not self._stopping.is_set():
            slot.deaths = 0
            self._start(slot)
            return 0
        if code == 0 or code in HOPELESS or self._stopping.is_set():
            slot.finished = True
            return code if code in HOPELESS else 0
        self._plan_restart(slot, code)
        return 0

    def _plan_restart(self, slot: Slot, code: int) -> None:
        slot.deaths = 1 if time.monotonic() - slot.started > _HEALTHY_SECONDS else slot.deaths + 1
        delay = min(0.5 * 2 ** (slot.deaths - 1), _BACKOFF_LIMIT)
        slot.start_at = time.monotonic() + delay
        self.restarts += 1
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._log.warning("worker died; its task will be run again", slot=slot.number, why=why, restart_in=delay)

    def _start(self, slot: Slot) -> None:
        environment = config.child_environment(**slot.environment)
        sink = self._open_log(slot)
        slot.process = subprocess.Popen(  # our own command line, no shell
            [*self._command, "--slot", str(slot.number)], stdin=subprocess.PIPE, stderr=sink, env=environment
        )
        if sink:
            sink.close()
        slot.started = time.monotonic()

    def _open_log(self, slot: Slot) -> IO[bytes] | None:
        if self._logs is None:
            return None
        self._logs.mkdir(parents=True, exist_ok=True)
        return (self._logs / f"worker-{slot.number}.jsonl").open("ab")

    @staticmethod
    def _close(slot: Slot) -> None:
        if slot.process and slot.process.stdin:
            slot.process.stdin.close()
        slot.process = None

    def _kill(self) -> None:
        for slot in self._slots:
            if slot.process and slot.process.poll() is None:
                self._log.error("worker did not stop in time and is killed; its lease will expire", slot=slot.number)
                slot.process.kill()


def child_command(*arguments: str) -> list[str]:
    """The command line of this program with other arguments, run by the same interpreter."""
    return [sys.executable, "-m", "duplexforge", *arguments]


def slots(workers_per_gpu: int, max_gpus: int | None, *, use_gpus: bool) -> list[Slot]:
    """One slot per worker: ``workers_per_gpu`` on each GPU (at most ``max_gpus``), or that many on the CPU."""
    names = gpus(config.visible_gpus()) if use_gpus else []
    places = [{config.VISIBLE_GPUS: name} for name in names[:max_gpus]] or [{config.VISIBLE_GPUS: ""}]
    pinned = [place for place in places for _ in range(workers_per_gpu)]
    return [Slot(number, {**place, "OMP_NUM_THREADS": "1"}) for number, place in enumerate(pinned)]


def gpus(visible: Sequence[str] | None, driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Names of the GPUs to use: those that the environment allows (None: it says nothing), else all that the driver
    shows to this container.
    """
    if visible is not None:
        return list(visible)
    return [str(number) for number in range(len(list(driver.iterdir())))] if driver.is_dir() else []


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` on SIGTERM and on the first Ctrl-C; a second Ctrl-C ends the process at once."""

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def stop_when_orphaned(stop: Callable[[], None], *, grace: float = 30.0) -> None:
    """Call ``stop`` when the supervisor's pipe on standard input closes: the parent is gone.

    A process that is still there ``grace`` seconds later hangs, with nobody left to kill it: it ends, its lease expires.
    """

    def wait() -> None:
        while os.read(0, 1024):
            continue
        stop()
        time.sleep(grace)
        log.get("supervisor").error("the supervisor is gone and this worker hangs, so it ends; its lease will expire")
        os._exit(RetryLater.exit_code)

    threading.Thread(target=wait, name="orphan-watch", daemon=True).start()
