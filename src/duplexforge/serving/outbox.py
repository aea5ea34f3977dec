"""What waits for a protocol to take it: in order, bounded, and less what became stale in the meantime."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from duplexforge.serving.events import Event, Failed, Sound, Words

__all__ = ["MOST_BYTES", "MOST_EVENTS", "Outbox"]

MOST_BYTES = 6 << 20
"""The longest answer, handed over whole, is 5.8 MB at 24 kHz."""
MOST_EVENTS = 8_192
_SLOW = Failed("slow_reader", "what was said is not taken fast enough", over=True)


class Outbox:
    """One writer and one reader in the same event loop; ``full`` is called when the reader counts as gone."""

    def __init__(self, full: Callable[[], None], most_bytes: int = MOST_BYTES, most_events: int = MOST_EVENTS) -> None:
        self._full, self._most_bytes, self._most_events = full, most_bytes, most_events
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self.closed = False
        """Whether nothing comes any more."""

    @property
    def bytes(self) -> int:
        """Sound and text that waits."""
        return self._bytes

    def put(self, event: Event) -> None:
        """Let ``event`` wait. When too much does, the reader is told so with the last event, and nothing follows."""
        if self.closed:
            return
        if self._bytes + _size(event) > self._most_bytes or len(self._waiting) >= self._most_events:
            self._waiting.append(_SLOW)
            self.close()
            self._full()
            return
        self._waiting.append(event)
        self._bytes += _size(event)
        self._ready.set()

    def first(self, event: Event) -> None:
        """Let ``event`` go before everything that waits."""
        self._waiting.appendleft(event)
        self._bytes += _size(event)
        self._ready.set()

    def drop(self, epoch: int) -> None:
        """Throw away what answer ``epoch`` says and was not taken."""
        stale = [one for one in self._waiting if isinstance(one, Sound | Words) and one.epoch == epoch]
        if stale:
            gone = set(map(id, stale))
            self._waiting = deque(one for one in self._waiting if id(one) not in gone)
            self._bytes -= sum(map(_size, stale))

    def close(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        self.closed = True
        self._ready.set()

    async def take(self) -> Event | None:
        """The next event; None when there will be none."""
        while not self._waiting:
            if self.closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        event = self._waiting.popleft()
        self._bytes -= _size(event)
        return event


def _size(event: Event) -> int:
    if isinstance(event, Sound):
        return len(event.audio.audio_bytes)
    return len(event.text) if isinstance(event, Words) else 0
