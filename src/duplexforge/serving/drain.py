"""uvicorn with our own end: SIGTERM lets conversations finish for a while, then ends them with 1001.

Meanwhile it goes on answering probes (``/readyz`` says no), and whoever comes is told to come back later.
"""

from __future__ import annotations

import time
from types import FrameType

import uvicorn

from duplexforge import log
from duplexforge.serving.service import STOPPING, Service

__all__ = ["Server"]

_FAREWELL = 3.0
"""Seconds that connections have to end when they were told to."""


class Server(uvicorn.Server):
    """A server that ends when its conversations have."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._by: float | None = None
        self._dismissed: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C: drain; once more: end now. It is not raised again afterwards: to be stopped is no failure."""
        del sig, frame
        if self._by is None:
            self.stop()
        else:
            self.should_exit = self.force_exit = True

    def stop(self) -> None:
        """Drain, then end."""
        self._by = time.monotonic() + self._service.settings.sca_drain_seconds
        self._service.drain()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        if self._service.failed is not None:
            return True
        if self._by is not None and self._drained(time.monotonic()):
            return True
        return await super().on_tick(counter)

    def _drained(self, now: float) -> bool:
        if self._service.quiet:
            return True
        if self._dismissed is None and self._by is not None and now >= self._by:
            self._dismissed = now
            log.get("serve").warning("conversations are broken off", connections=len(self._service.lines))
            self._service.dismiss(STOPPING)
        return self._dismissed is not None and now >= self._dismissed + _FAREWELL
