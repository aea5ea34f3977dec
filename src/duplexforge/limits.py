"""When a worker has run long enough: after so many tasks, or once its memory has grown by so much.

GPU and media libraries keep what they once allocated; a fresh process now and then is the only cure that always works.
"""

from __future__ import annotations

from pathlib import Path

RECYCLED = 10
"""Exit code of a worker that makes way for a fresh one; only the supervisor ever sees it."""

_STATM = Path("/proc/self/statm")
_PAGE = 4096


class Limits:
    """Limits of one worker process: ``tasks`` settled and ``growth`` bytes of resident memory since the first task (0:
    no limit).
    """

    def __init__(self, tasks: int = 0, growth: int = 0) -> None:
        self._tasks, self._growth = tasks, growth
        self._start: int | None = None

    def reached(self, settled: int) -> str:
        """Why the worker should end, empty while it should not; to be asked after every task."""
        if self._tasks and settled >= self._tasks:
            return f"{settled} tasks"
        memory = resident()
        # Measured from the end of the first task: what the models and their first run need is no leak.
        self._start = memory if self._start is None else self._start
        grown = (memory or 0) - (self._start or 0)
        return f"{grown / 2**20:.0f} MiB more memory" if self._growth and grown > self._growth else ""


def resident() -> int | None:
    """Bytes of this process in memory; None where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return None
