"""What every download is held to: sizes, lengths and paces, and the worker's wish to stop while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from duplexforge.errors import InputError, Preempted, RetryLater

# A server that drips bytes never times out; this pace would take four days for an hour of audio.
SLOWEST = 256.0
WINDOW = 60.0


def never() -> bool:
    """The wish of a worker that does not stop."""
    return False


class TooSlow(RetryLater):
    """The server drips. Another connection to it would drip too, so this attempt is over."""

    default_reason = "network"


class Watch:
    """Told of every byte that arrived; raises when the download must end.

    ``limit`` is in bytes, ``shortest`` and ``longest`` in seconds of sound (0: any), ``rate`` in bytes a second.
    """

    def __init__(
        self,
        limit: int,
        stopping: Callable[[], bool] = never,
        *,
        shortest: float = 0.0,
        longest: float = 0.0,
        rate: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit, self.rate = limit, rate
        self._shortest, self._longest = shortest, longest
        self._stopping, self._clock, self._sleep = stopping, clock, sleep
        self._since, self._size = clock(), 0

    def seen(self, size: int) -> None:
        """``size`` bytes are here. InputError(``too_large``), TooSlow (``network``) or Preempted."""
        if self._stopping():
            raise Preempted("stopped during a download")
        if size > self.limit:
            raise self.too_large(size)
        now = self._clock()
        if now - self._since >= WINDOW:
            # A smaller size is the next part of an item in parts: a new count.
            if 0 <= size - self._size < SLOWEST * (now - self._since):
                raise TooSlow(f"the server sends less than {SLOWEST:.0f} bytes a second")
            self._since, self._size = now, size

    def ease(self, size: int, since: float) -> None:
        """Wait until ``size`` bytes since ``since`` (of the monotonic clock) are no more than the rate allows."""
        while self.rate and (early := size / self.rate - (self._clock() - since)) > 0:
            if self._stopping():
                raise Preempted("stopped during a download")
            self._sleep(min(early, 0.2))

    def lasts(self, seconds: float | None) -> None:
        """The recording lasts so long. InputError(``too_short`` or ``too_long``); unknown passes."""
        if seconds is None:
            return
        if seconds < self._shortest:
            message = f"it lasts {seconds:.1f} s and at least {self._shortest:g} s are taken: see DOWNLOAD_MIN_SECONDS"
            raise InputError(message, reason="too_short")
        if 0 < self._longest < seconds:
            message = f"it lasts {seconds:.1f} s and at most {self._longest:g} s are taken: see DOWNLOAD_MAX_SECONDS"
            raise InputError(message, reason="too_long")

    def too_large(self, size: int) -> InputError:
        """The error for an item of ``size`` bytes."""
        message = f"it has {size} bytes or more and at most {self.limit} are taken: raise DOWNLOAD_MAX_BYTES"
        return InputError(message, reason="too_large")
