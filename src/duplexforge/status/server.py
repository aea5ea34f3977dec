"""``status --serve``: looks in the background, and answers from the last look, so that a scrape costs nothing.

``/metrics`` for Prometheus and KEDA, ``/status.json`` for everything else, ``/livez`` and ``/readyz`` for the kubelet. While
the store does not answer the last look stays, and ``duplexforge_status_age_seconds`` tells how old it is.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing

from prometheus_client import CONTENT_TYPE_LATEST

from duplexforge import health, log
from duplexforge.errors import ConfigError, DuplexforgeError, Preempted
from duplexforge.health import Page
from duplexforge.status.collector import Collector
from duplexforge.status.exposition import exposed
from duplexforge.status.overview import Overview

# Looks may take this share of the time at most: at a hundred thousand tasks one is three hundred listings.
_SHARE = 0.1
# livez fails when nothing has moved for so many times the pause: a request that hangs for ever.
_STALL = 600.0


class StatusServer:
    """Serves the looks of ``collector``, one every ``seconds``, on ``port`` (0: a free one, see :attr:`port`)."""

    def __init__(self, collector: Collector, port: int, seconds: float, *, host: str = health.ANY_ADDRESS) -> None:
        self._collector, self._seconds = collector, seconds
        self._stopping = threading.Event()
        self._last: tuple[Overview, float] | None = None
        self._moved = time.monotonic()
        self._log = log.get("status")
        self._pages = health.serve(
            port,
            alive=lambda: time.monotonic() - self._moved < _STALL + self._seconds,
            ready=lambda: self._last is not None and not self._stopping.is_set(),
            host=host,
            pages={"/metrics": self._metrics, "/status.json": self._json},
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._pages.server_port)

    def stop(self) -> None:
        """Ask for an end; safe in a signal."""
        self._stopping.set()
        self._collector.stop()

    def run(self) -> None:
        """Look again and again until stopped. A store that does not answer is asked again; wrong settings are raised."""
        try:
            with closing(self._collector):
                while not self._stopping.is_set():
                    began = time.monotonic()
                    self._look()
                    self._moved = time.monotonic()
                    spent = self._moved - began
                    self._stopping.wait(max(self._seconds - spent, spent * (1 / _SHARE - 1)))
        finally:
            self._pages.shutdown()
            self._pages.server_close()

    def _look(self) -> None:
        try:
            self._last = self._collector.look(), time.monotonic()
        except Preempted:
            return
        except ConfigError:
            if self._last is None:
                raise
            self._log.exception("no look: the last one stays")
        except (DuplexforgeError, OSError) as error:
            self._log.warning("no look: the last one stays", error=str(error))

    def _metrics(self) -> Page:
        last = self._last
        if last is None:
            return 503, b"no look yet\n", "text/plain"
        return 200, exposed(last[0], time.monotonic() - last[1]), CONTENT_TYPE_LATEST

    def _json(self) -> Page:
        last = self._last
        if last is None:
            return 503, b"{}\n", "application/json"
        told = last[0].to_json() | {"age": round(time.monotonic() - last[1], 3)}
        return 200, json.dumps(told, ensure_ascii=False).encode() + b"\n", "application/json"
