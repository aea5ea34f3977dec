"""The engine's thread: gathers the slots that are due into steps of the backend, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from duplexforge.errors import DuplexforgeError
from duplexforge.serving.backends import Backend, Given
from duplexforge.serving.events import Failed, Lagged, Taken
from duplexforge.serving.measures import Measures
from duplexforge.serving.packets import Outcome
from duplexforge.serving.post import Address, Letter, Post
from duplexforge.serving.seats import Answer, Call, Made, Room, Seat

__all__ = ["Rounds"]

_PATIENCE = 30.0
"""Seconds that an answer may stay without any sound or word until it is given up."""


@dataclass
class _Due:
    """What is due in one slot: calls of the backend, then maybe a part in its step."""

    seat: Seat
    address: Address | None
    """Where that goes which comes of it."""
    calls: list[tuple[Call, Answer | None]]
    given: Given | None
    answer: Answer | None
    """The answer that goes on."""


@dataclass
class _Round:
    due: list[_Due] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    wake: float = math.inf
    """When something is due next, if nothing is now."""

    def tell(self, seat: Seat, *what: Made) -> None:
        """Say something to who has ``seat`` now."""
        self.letters += _letters(Address.of(seat), what)


class Rounds:
    """The steps of ``backend`` over the seats of ``room``. Frames that wait longer than ``max_lag`` seconds are left out."""

    def __init__(
        self, backend: Backend, room: Room, measures: Measures, *, max_lag: float, clock: Callable[[], float]
    ) -> None:
        self._backend, self._room, self._measures = backend, room, measures
        self._max_lag, self._clock, self._decides = max_lag, clock, backend.facts.decides
        self._post = Post()
        self.step_began: float | None = None
        """While the backend works: since when."""

    def once(self) -> bool:
        """Wait until something is due, and do it; False when the room is closing. Raises what the model's end raises."""
        with self._room.bell:
            while not self._room.stopping:
                now = self._clock()
                found = self._gathered(now)
                if found.due or found.letters:
                    break
                self._room.bell.wait(None if found.wake == math.inf else max(found.wake - now, 0.0))
            else:
                return False
        self.step_began = self._clock()
        self._done(found)
        self.step_began = None
        return True

    def farewell(self, failed: Failed) -> None:
        """Tell every conversation that it is over."""
        found = _Round()
        with self._room.bell:
            for seat in self._room.seats:
                found.tell(seat, failed)
        self._post.send(found.letters)

    def _gathered(self, now: float) -> _Round:
        found = _Round()
        for slot, seat in list(self._room.busy.items()):
            if gone := seat.late(now, self._max_lag):
                self._measures.lag(gone)
                found.tell(seat, Lagged(gone))
            if seat.answer is not None and seat.answer.silent(now) > _PATIENCE:
                self._give_up(seat, found)
            if not seat.idle or (seat.answer is not None and seat.answer.due() <= now):
                calls, given = seat.next(now, self._decides)
                found.due.append(_Due(seat, Address.of(seat), calls, given, seat.answer))
            elif seat.answer is not None:
                found.wake = min(found.wake, seat.answer.due())
            else:
                del self._room.busy[slot]
        return found

    def _give_up(self, seat: Seat, found: _Round) -> None:
        """The answer of ``seat`` does not come."""
        self._measures.failures += 1
        seat.cancel(partial(self._backend.cancel, seat.slot))
        told = Failed("no_answer", f"the model has said nothing for {_PATIENCE:g} s, and its answer was given up")
        found.tell(seat, told, Outcome(ended=True))

    def _done(self, found: _Round) -> None:
        for one in found.due:
            for call, answer in one.calls:
                try:
                    call()
                except DuplexforgeError as error:
                    found.letters += self._refused(one, error, answer)
        given = {one.seat.slot: one.given for one in found.due if one.given is not None}
        if given:
            began = self._clock()
            made = self._backend.step(given)
            now = self._clock()
            self._measures.step(given, made, now - began)
            for one in found.due:
                if one.given is not None:
                    found.letters += self._told(one, made.get(one.seat.slot), now)
        self._post.send(found.letters)

    def _refused(self, one: _Due, error: DuplexforgeError, answer: Answer | None) -> list[Letter]:
        """The backend does not do what a conversation wished: that one is told, and goes on as before."""
        told: list[Made] = [Failed(error.reason, str(error))]
        if answer is not None:
            told.append(Outcome(ended=True))
            self._end(one.seat, answer)
        return _letters(one.address, told)

    def _told(self, one: _Due, made: list[Outcome] | None, now: float) -> list[Letter]:
        answer = one.answer
        if answer is not None:
            if answer.made(made, now):
                self._measures.behind()
            if made and any(outcome.ended for outcome in made):
                self._end(one.seat, answer)
        told: list[Made] = list(made or ())
        frame = one.given.frame if one.given is not None else None
        if frame is not None and one.seat.tells(frame.timestamp):
            told.append(Taken(frame.timestamp))
        return _letters(one.address, told)

    def _end(self, seat: Seat, answer: Answer) -> None:
        with self._room.bell:
            if seat.answer is answer:
                seat.answer = None


def _letters(address: Address | None, what: Iterable[Made]) -> list[Letter]:
    return [Letter(address, one) for one in what] if address else []
