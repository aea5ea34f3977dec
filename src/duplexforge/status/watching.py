"""``status`` and ``status --watch``: a look, or one after the other, for a person or for a pipe."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from duplexforge.errors import DuplexforgeError, Preempted
from duplexforge.status import board
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Overview

Account = Callable[[], tuple[dict[str, Any], RenderableType]]
"""Reads every record; its result as JSON and as tables."""


class Watch:
    """Looks every ``seconds`` until stopped: a live view on a terminal, else a line (with ``as_json`` an object) a look."""

    def __init__(self, collector: Collector, seconds: float, console: Console, *, as_json: bool = False) -> None:
        self._collector, self._seconds, self._console = collector, seconds, console
        self._as_json = as_json
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask for an end; safe in a signal."""
        self._stopping.set()
        self._collector.stop()

    def run(self) -> None:
        """Watch. The first look must go well; after that a store that does not answer is said to be so, and asked again."""
        if self._as_json or not self._console.is_terminal:
            self._loop(self._print)
            return
        with Live(Text("reading …", style="dim"), console=self._console, auto_refresh=False) as live:
            self._loop(lambda overview, trouble: live.update(_shown(overview, trouble), refresh=True))

    def _loop(self, show: Callable[[Overview, str], None]) -> None:
        last: Overview | None = None
        while not self._stopping.is_set():
            trouble = ""
            try:
                last = self._collector.look()
            except Preempted:
                return
            except DuplexforgeError as error:
                if last is None:
                    raise
                trouble = str(error)
            show(last, trouble)
            self._stopping.wait(max(self._seconds, last.seconds))

    def _print(self, overview: Overview, trouble: str) -> None:
        if self._as_json:
            text = json.dumps(overview.to_json() | ({"trouble": trouble} if trouble else {}), ensure_ascii=False)
        else:
            text = board.line(overview) + (f"; not read again: {trouble}" if trouble else "")
        # Written at once and whole, for whoever reads the other end of the pipe.
        print(text, file=self._console.file, flush=True)


def _shown(overview: Overview, trouble: str) -> RenderableType:
    if not trouble:
        return board.render(overview)
    return Group(board.render(overview), Text(f"not read again: {trouble}", style="bold red"))


def once(collector: Collector, console: Console, *, account: Account | None = None, as_json: bool = False) -> None:
    """One look, and with ``account`` where every hour went."""
    # The first look at a large store takes a while; nothing of this is in a pipe.
    with Console(stderr=True).status("reading …"):
        overview = collector.look()
        found = account() if account else None
    if as_json:
        told: dict[str, Any] = overview.to_json()
        if found:
            told["account"] = found[0]
        print(json.dumps(told, indent=1, ensure_ascii=False), file=console.file)
        return
    console.print(board.render(overview))
    if found:
        console.print(found[1])
