"""Brings what the engine's thread made to the conversations, in the event loop's thread, in order, nothing stale."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from duplexforge import log
from duplexforge.serving.packets import Outcome, ThoughtPacket
from duplexforge.serving.seats import Made, Seat, Sink

__all__ = ["Address", "Letter", "Post"]


class Address(NamedTuple):
    """The conversation that had ``seat`` when something was made, and the answer that it belongs to."""

    seat: Seat
    sink: Sink
    loop: asyncio.AbstractEventLoop
    epoch: int

    @classmethod
    def of(cls, seat: Seat) -> Address | None:
        """Who has ``seat`` now and is answered; None when nobody has. Under the bell."""
        if seat.sink is None or seat.loop is None:
            return None
        return cls(seat, seat.sink, seat.loop, seat.epoch if seat.answer is None else seat.answer.epoch)


class Letter(NamedTuple):
    """Something for a conversation."""

    address: Address
    what: Made


class Post:
    """Hands out letters, those of one step by one call of the loop."""

    def __init__(self) -> None:
        self._log = log.get("serve")

    def send(self, letters: Iterable[Letter]) -> None:
        """From the engine's thread: let the loops hand them out."""
        bags: dict[asyncio.AbstractEventLoop, list[Letter]] = {}
        for letter in letters:
            bags.setdefault(letter.address.loop, []).append(letter)
        for loop, bag in bags.items():
            try:
                loop.call_soon_threadsafe(self._hand_out, bag)
            except RuntimeError:
                # The loop is closed: nobody is there to read them.
                continue

    def _hand_out(self, bag: list[Letter]) -> None:
        """In the loop's thread, where conversations leave and answers are cancelled: what is stale is known here alone."""
        for (seat, sink, _, epoch), what in bag:
            if seat.sink is not sink:
                continue
            if isinstance(what, Outcome) and epoch != seat.epoch:
                if what.thought.turn is None:
                    continue
                what = Outcome(ThoughtPacket(turn=what.thought.turn))
            try:
                sink(what)
            except Exception as error:  # noqa: BLE001 - the border to the conversations
                # One conversation's fault must not keep the others' sound back.
                self._log.error("a conversation failed at what its model made", error=str(error), exc_info=True)
