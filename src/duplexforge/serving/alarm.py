"""One thing that is to happen at a time that keeps changing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Alarm"]


class Alarm:
    """Calls ``ring`` once when the time is there that was set last; maybe earlier too, so ``ring`` sets it again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due: float | None) -> None:
        """Ring at ``due`` by the loop's clock; None: at no new time."""
        # Most times are put off again and again: a timer that is too early costs less than a new one each time.
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        self.off()
        self._timer = self._loop.call_at(due, self._rings)

    def off(self) -> None:
        """Do not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _rings(self) -> None:
        self._timer = None
        self._ring()
