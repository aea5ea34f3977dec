"""The slots of the engine as its two sides share them: what waits for the model, and the answers that go on.

The event loop's side puts frames and calls in a row; the engine's thread takes them out in that order, at most one frame a
step. All of it is changed under the room's bell alone.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from duplexforge.serving.backends import Given
from duplexforge.serving.events import Failed, Lagged, Taken
from duplexforge.serving.packets import AudioInput, Outcome

__all__ = ["Answer", "Call", "Made", "Next", "Room", "Seat", "Sink"]

Made = Outcome | Lagged | Taken | Failed
Sink = Callable[[Made], None]
"""Called in the event loop's thread, in order."""
Call = Callable[[], None]
"""A call of the backend, made in the engine's thread."""

MOST_WAITING = 30.0
"""Seconds of sound that may wait in one slot, however fast a client sends: 2 MB."""
_TELL = 0.3
"""Seconds of a stream after which its sink is told of the model's progress, however much waits."""
_NEAR = 1e-6
_ASK_AGAIN = 0.02
"""Seconds until a slot that had nothing to say yet is asked again: what thinks elsewhere must not make this thread spin."""


@dataclass
class Answer:
    """An answer that goes on."""

    epoch: int
    ahead: float
    """Seconds by which its sound may be ahead of the clock, which starts with the first of it."""
    begun: float
    produced: float = 0.0
    started: float | None = None
    asked: float = -math.inf
    """When it may be asked again."""
    told: float = -math.inf
    """When something came of it last."""

    def silent(self, now: float) -> float:
        """Seconds for which nothing came of it."""
        return now - max(self.begun, self.told)

    def due(self) -> float:
        """From when on it may go on."""
        if self.started is None or self.ahead == math.inf:
            return self.asked
        return max(self.asked, self.started + self.produced - self.ahead)

    def made(self, outcomes: list[Outcome] | None, now: float) -> bool:
        """Take in what a step made; whether its sound comes later than it is to be heard."""
        if outcomes is None:
            self.asked = now + _ASK_AGAIN
            return False
        self.told = now
        late = False
        for audio in (one.audio for one in outcomes if one.audio is not None):
            if self.started is None:
                self.started = now
            late |= self.produced > 0 and now > self.started + self.produced
            self.produced += audio.seconds
        return late


@dataclass
class _Frame:
    audio: AudioInput
    seconds: float
    due: float
    """When it would have come from a client that sends no faster than one speaks."""


@dataclass
class _Begin:
    call: Call
    answer: Answer


class Next(NamedTuple):
    """What is due in one slot: calls, each with the answer that it begins, then the slot's part in a step."""

    calls: list[tuple[Call, Answer | None]]
    given: Given | None


@dataclass
class Seat:
    """One slot. ``epoch`` counts answers begun or cancelled: what belongs to an older one is stale."""

    slot: int
    sink: Sink | None = None
    loop: asyncio.AbstractEventLoop | None = None
    progress: bool = False
    """Whether the sink is to know how far the model has heard."""
    epoch: int = 0
    answer: Answer | None = None
    waiting: float = 0.0
    _row: deque[_Frame | _Begin | Call] = field(default_factory=deque)
    _next: float = -math.inf
    _gone: float = 0.0
    _told: float = -math.inf

    @property
    def idle(self) -> bool:
        """Whether nothing waits in it; an answer may go on."""
        return not self._row

    def take_in(self, audio: AudioInput, seconds: float, now: float) -> None:
        """Put a frame in the row; when too much waits, the oldest go for it."""
        due = max(now, self._next)
        self._next = due + seconds
        self._row.append(_Frame(audio, seconds, due))
        self.waiting += seconds
        self._gone += self._dropped(lambda _: self.waiting > MOST_WAITING)

    def late(self, now: float, most: float) -> float:
        """Seconds left out since the last call: when a frame waits longer than ``most``, the oldest go down to half of that.

        What is left out is then one piece, which harms a sentence less than many small ones.
        """
        first = next((one for one in self._row if isinstance(one, _Frame)), None)
        if first is not None and now - first.due > most:
            self._gone += self._dropped(lambda frame: now - frame.due > most / 2)
        gone, self._gone = self._gone, 0.0
        return gone

    def _dropped(self, goes: Callable[[_Frame], bool]) -> float:
        """Drop frames from the oldest on, as long as they go; wishes stay in their places."""
        seconds = 0.0
        kept: list[_Begin | Call] = []
        while self._row:
            first = self._row[0]
            if isinstance(first, _Frame):
                if not goes(first):
                    break
                seconds += first.seconds
                self.waiting -= first.seconds
            else:
                kept.append(first)
            self._row.popleft()
        self._row.extendleft(reversed(kept))
        return seconds

    def tells(self, at: float) -> bool:
        """Whether the sink is to know now that the model has heard up to ``at`` seconds of the user's stream."""
        # Where several frames came at once one word for all is enough, but who sends without pause must not wait for it.
        if not self.progress or (self.waiting > _NEAR and 0 <= at - self._told < _TELL):
            return False
        self._told = at
        return True

    def wish(self, call: Call) -> None:
        """Let ``call`` be made behind what waits already."""
        self._row.append(call)

    def begin(self, call: Call, ahead: float, now: float) -> None:
        """A new answer begins behind what waits already; an older one ends here."""
        self.drop_answer()
        self._row.append(_Begin(call, Answer(self.epoch, ahead, now)))

    def cancel(self, call: Call) -> None:
        """No answer from here on; ``call`` goes before everything else, and the frames that wait stay."""
        self.drop_answer()
        self._row.appendleft(call)

    def drop_answer(self) -> None:
        """Whatever was being said, or was about to be, is stale."""
        self.epoch += 1
        self.answer = None
        self._row = deque(one for one in self._row if not isinstance(one, _Begin))

    def leave(self, call: Call) -> None:
        """The conversation is over: nothing of it waits any more but that the backend hears of it."""
        self.epoch += 1
        self.sink, self.loop, self.answer, self.waiting = None, None, None, 0.0
        self._next, self._gone, self._told = -math.inf, 0.0, -math.inf
        self._row = deque([call])

    def next(self, now: float, decides: bool) -> Next:
        """Take out what is due: calls up to the next frame, that frame, and whether the slot may speak."""
        calls: list[tuple[Call, Answer | None]] = []
        frame: AudioInput | None = None
        while self._row and frame is None:
            first = self._row.popleft()
            if isinstance(first, _Frame):
                frame = first.audio
                self.waiting = max(self.waiting - first.seconds, 0.0)
            elif isinstance(first, _Begin):
                calls.append((first.call, first.answer))
                self.answer = first.answer
            else:
                calls.append((first, None))
        speak = (decides and frame is not None) or (self.answer is not None and self.answer.due() <= now)
        return Next(calls, Given(frame, speak) if frame is not None or speak else None)


class Room:
    """All seats, and the bell by which the event loop's side wakes the engine's thread."""

    def __init__(self) -> None:
        self.bell = threading.Condition()
        self.seats: list[Seat] = []
        self.free: list[int] = []
        self.busy: dict[int, Seat] = {}
        """Seats in which something waits or goes on; the others cost nothing."""
        self.stopping = False

    def furnish(self, slots: int) -> None:
        """Put in the seats."""
        self.seats = [Seat(slot) for slot in range(slots)]
        self.free = list(reversed(range(slots)))

    @contextmanager
    def changed(self, slot: int) -> Iterator[Seat]:
        """The seat of ``slot``, to be changed; then the engine's thread looks at it."""
        with self.bell:
            seat = self.seats[slot]
            yield seat
            self.busy[slot] = seat
            self.bell.notify()

    def stop(self) -> None:
        """Let the engine's thread end."""
        with self.bell:
            self.stopping = True
            self.bell.notify()
