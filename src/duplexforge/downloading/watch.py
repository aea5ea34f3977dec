"""What every download is held to while it runs: a largest size, a slowest pace, and the worker's wish to stop."""

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


class Watch:
    """Told of every byte that arrived; raises when the download must end."""

    def __init__(
        self, limit: int, stopping: Callable[[], bool] = never, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._stopping, self._clock = stopping, clock
        self._since, self._size = clock(), 0

    def seen(self, size: int) -> None:
        """``size`` bytes are here. InputError(``too_large``), RetryLater(``network``: too slow) or Preempted."""
        if self._stopping():
            raise Preempted("stopped during a download")
        if size > self.limit:
            raise self.too_large(size)
        now = self._clock()
        if now - self._since >= WINDOW:
            # A smaller size is the next part of an item in parts: a new count.
            if 0 <= size - self._size < SLOWEST * (now - self._since):
                raise RetryLater(f"the server sends less than {SLOWEST:.0f} bytes a second", reason="network")
            self._since, self._size = now, size

    def too_large(self, size: int) -> InputError:
        """The error for an item of ``size`` bytes."""
        message = f"it has {size} bytes or more and at most {self.limit} are taken: raise DOWNLOAD_MAX_BYTES"
        return InputError(message, reason="too_large")
