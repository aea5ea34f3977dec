"""What a conversation remembers: its last ten turns, what the user prefers, and which old turns resemble the present one.

Retrieval is attention over stored feature vectors, softmax(q·k / √d) with the best three taken, and nothing in it is trained.
The vectors are the backend's hidden states where it gives some, else a sketch of the sound (mean and spread of 40 mel bands):
with the latter, turns are alike that *sound* alike (the same voice, the same word), not those that mean the same.

A turn's topic and sentiment are always None: there is no classifier here whose accuracy anybody could state.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from duplexforge.serving import vad
from duplexforge.serving.packets import Floats

__all__ = ["SIZE", "TOP", "Memory", "Recalled", "Sketch", "Turn"]

SIZE = 10
"""Turns that are kept."""
TOP = 3
MOST_TEXT = 2_000
"""Characters of a turn's texts that are kept, the first ones."""
MOST_PREFERENCES = 32
MOST_VECTOR = 4_096
_BANDS = 40
_FLOOR = 1e-9


@dataclass(frozen=True)
class Turn:
    """One exchange: what the user asked, and what was said (only what the user heard of it)."""

    answer: str
    """Text of the answer, up to where it was played."""
    asked: str | None = None
    """The user's words, where a backend or the client knows them."""
    voice: str = ""
    emotion: str = ""
    began: float = 0.0
    """Seconds of the user's stream at which the answer began."""
    seconds: float = 0.0
    """How much of the answer was heard."""
    broken: bool = False
    """Whether it was broken off."""
    topic: None = None
    sentiment: None = None
    vector: Floats | None = field(default=None, compare=False)
    """What it is found again by."""


@dataclass(frozen=True)
class Recalled:
    """A turn, and its part of the attention: all parts together are 1."""

    turn: Turn
    weight: float


class Memory:
    """The window of one conversation; the oldest turn goes when there is an eleventh."""

    def __init__(self, turns: Iterable[Turn] = (), preferences: dict[str, str] | None = None) -> None:
        self._turns: deque[Turn] = deque(turns, maxlen=SIZE)
        self.preferences = dict(preferences or {})
        """What the user chose, by name: bounded, and short words alone."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns, oldest first."""
        return tuple(self._turns)

    def add(self, turn: Turn) -> None:
        """Remember a turn."""
        self._turns.append(turn)

    def replace(self, turn: Turn) -> None:
        """The last turn was otherwise."""
        if self._turns:
            self._turns[-1] = turn

    def prefer(self, name: str, value: str) -> None:
        """Remember a choice; an empty ``value`` forgets it. More than a person chooses is left aside."""
        if not value:
            self.preferences.pop(name, None)
        elif name in self.preferences or len(self.preferences) < MOST_PREFERENCES:
            self.preferences[name] = value[:MOST_TEXT]

    def recall(self, query: Floats, top: int = TOP) -> list[Recalled]:
        """The ``top`` turns with the most attention, most first; turns without a vector of the query's length take no part."""
        found = [turn for turn in self._turns if turn.vector is not None and turn.vector.shape == query.shape]
        if not found:
            return []
        keys = np.stack([_even(turn.vector) for turn in found if turn.vector is not None])
        scores = keys @ _even(query) / math.sqrt(query.size)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        order = np.argsort(-weights, kind="stable")[:top]
        return [Recalled(found[number], float(weights[number])) for number in order]


class Sketch:
    """How a turn sounds, in 80 numbers: the mean and the spread of 40 logarithmic mel bands. It does not grow with the turn."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._squares = np.zeros(_BANDS, np.float64)

    def add(self, windows: Floats) -> None:
        """Take in windows (n × 512 at 16 kHz)."""
        if len(windows):
            power = np.abs(np.fft.rfft(windows * _window(), axis=1)) ** 2
            logs = np.log(power @ _bands() + _FLOOR)
            self._count += len(logs)
            self._sum = self._sum + logs.sum(axis=0)
            self._squares = self._squares + (logs**2).sum(axis=0)

    def vector(self) -> Floats | None:
        """The sketch; None when nothing was heard."""
        if not self._count:
            return None
        mean = self._sum / self._count
        spread = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0))
        return np.concatenate([mean, spread]).astype(np.float32)


def _even(vector: Floats) -> Floats:
    """Mean 0 and spread 1, so that a loud turn does not get all the attention."""
    found = vector.astype(np.float64) - vector.mean()
    even: Floats = (found / max(float(found.std()), 1e-9)).astype(np.float32)
    return even


@functools.cache
def _window() -> Floats:
    return np.hanning(vad.WINDOW).astype(np.float32)


@functools.cache
def _bands() -> Floats:
    """Triangles over the spectrum (257 × 40), even in mel from 60 Hz to 7.6 kHz."""
    edges = 700 * (10 ** (np.linspace(_mel(60.0), _mel(7_600.0), _BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(vad.WINDOW, 1 / vad.RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0).astype(np.float32)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
