"""Says back what the user said in their turn: no model, no weights, almost no cost.

It is what a microphone, a network and the protocols are tried with, and the stand-in for a model where the server itself is
measured. It is deterministic: the samples come back as they came, in frames of 80 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duplexforge.serving.backends import Facts, Given, Manner
from duplexforge.serving.backends.manners import check
from duplexforge.serving.packets import AudioOutput, Outcome, pcm16

__all__ = ["Echo"]

RATE = 16_000
FRAME = RATE * 80 // 1000
_MOST = 10 * RATE // FRAME
"""Frames of a turn that are kept, the last ones: 320 kB a session."""


@dataclass
class _Slot:
    """What one user said since the turn began, as PCM16 with the time of each frame's end, and what is still to be said."""

    heard: deque[tuple[float, bytes]] = field(default_factory=lambda: deque(maxlen=_MOST))
    says: deque[bytes] | None = None


class Echo:
    """The backend ``echo``; see ``Backend``. It takes no options."""

    facts = Facts("echo", "none: it says back what it hears", hears=RATE, frame=FRAME, says=RATE)

    def __init__(self, _: Any = None) -> None:
        self._slots: list[_Slot] = []

    def load(self, slots: int) -> None:
        """Make room; nothing is read."""
        self._slots = [_Slot() for _ in range(slots)]

    def open(self, slot: int, manner: Manner) -> None:
        """Start a slot afresh."""
        self.manner(slot, manner)
        self._slots[slot] = _Slot()

    def manner(self, _: int, manner: Manner) -> None:
        """An echo has no manner of its own; only one that makes no sense is refused."""
        check(self.facts, manner)

    def attend(self, slot: int, since: float) -> None:
        """Forget what ended before ``since``."""
        heard = self._slots[slot].heard
        while heard and heard[0][0] <= since:
            heard.popleft()

    def begin(self, slot: int) -> None:
        """Say back what was said since the last answer began."""
        mine = self._slots[slot]
        mine.says = deque(sound for _, sound in mine.heard)
        mine.heard.clear()

    def step(self, given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        """Keep each frame, and say one of those that are due."""
        found = {}
        for slot, one in given.items():
            mine = self._slots[slot]
            if one.frame is not None:
                mine.heard.append((one.frame.timestamp, pcm16(one.frame.samples)))
            if one.speak and mine.says is not None:
                found[slot] = [self._said(mine, mine.says)]
        return found

    def _said(self, mine: _Slot, says: deque[bytes]) -> Outcome:
        audio = AudioOutput(says.popleft(), RATE) if says else None
        if not says:
            mine.says = None
        return Outcome(audio=audio, ended=not says)

    def cancel(self, slot: int) -> None:
        """Say no more of it."""
        self._slots[slot].says = None

    def close(self, slot: int) -> None:
        """Forget the conversation."""
        self._slots[slot] = _Slot()
