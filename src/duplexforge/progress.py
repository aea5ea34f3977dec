"""What a person sees while the chain runs: bars on a terminal, one plain line per change of phase elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from duplexforge.queues.base import QueueStats


class Phases:
    """Shows the phases of a run. Use as a context manager; ``update`` is called with queue counts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, phase: str, stats: QueueStats) -> None:
        """Show where a phase stands; failed tasks are named, not hidden in the count."""
        ended = stats.completed + stats.failed
        note = f"{stats.running} running" if stats.running else ""
        if stats.failed:
            note = f"{stats.failed} failed {note}".strip()
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=ended + stats.open, note=note)
        self._bars.update(self._tasks[phase], completed=ended, total=ended + stats.open, note=note)

    def finish(self, phase: str, stats: QueueStats) -> None:
        """A phase is over: the bar stands still; elsewhere than on a terminal one line says so."""
        self.update(phase, stats)
        if phase in self._tasks:
            self._bars.stop_task(self._tasks[phase])
        if not self._console.is_terminal:
            failed = f", {stats.failed} failed" if stats.failed else ""
            self._console.print(f"{phase}: {stats.completed} done{failed}", highlight=False)
