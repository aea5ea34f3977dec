"""Rate: what the mode ``base`` says, said faster or slower, its pitch unmoved.

A row of codes is no sound but what is heard at points in time: the loudness each 10 ms, pitch, breath and envelope each 20 ms.
So the rows are one line of such points, and to speak at another rate is to read the line at other places: the rows read
there are decoded as any others, and harmonics and noise are made anew. Nothing is cut or repeated in the sound, as overlapped
pieces of a wave would be.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from duplexforge.errors import UsageError
from duplexforge.models.base import BaseCodec
from duplexforge.models.base_analysis import BREATHS, GAINS, HOP, WIDTH, Heard
from duplexforge.models.base_pitch import Floats
from duplexforge.models.codec import Wave
from duplexforge.voices import Controls

__all__ = ["Paced", "Timeline"]

_KNOTS = 2
"""Of a row."""
_NEAR = 1e-6
"""Rows by which a sum of rates may be off."""


class Timeline:
    """Rows read at ``rate``: 2 gives half as many, 0.5 twice as many. It may be changed at any row."""

    def __init__(self, rate: float = 1.0) -> None:
        self.set_rate(rate)
        self.reset()

    def set_rate(self, rate: float) -> None:
        """From the next row that is given on, read at ``rate``; UsageError when it is not between 0.5 and 2."""
        if not 0.5 <= rate <= 2:
            raise UsageError(f"the rate must lie between 0.5 and 2, not at {rate}")
        self._rate = rate

    def reset(self) -> None:
        """Forget everything but the rate."""
        self._rows: list[Heard] = []
        self._dropped = 0
        self._read = 0.0

    def push(self, row: Heard) -> list[Heard]:
        """Take the next row; the rows to be said now: none, one or some."""
        self._rows.append(row)
        found = []
        while self._read + self._rate <= self._taken + _NEAR:
            found.append(self._next())
        # What is read next lies behind the last point read, at most one point before it.
        unused = max(int(self._read) - 1 - self._dropped, 0)
        self._dropped += unused
        del self._rows[:unused]
        return found

    def flush(self) -> tuple[list[Heard], float]:
        """The last row, if one is left, held where the line ends, and how much of it there is (0 to 1); then it is new."""
        part = (self._taken - self._read) / self._rate
        found = [self._next()] if self._rows and part > _NEAR else []
        self.reset()
        return found, min(part, 1.0) if found else 0.0

    @property
    def _taken(self) -> int:
        return self._dropped + len(self._rows)

    def _next(self) -> Heard:
        vectors = np.stack([row.vector for row in self._rows])
        loud = self._line(vectors[:, :GAINS].reshape(-1, 1), GAINS)
        knots, pitches = self._knots(vectors[:, GAINS:], np.concatenate([row.pitches for row in self._rows]))
        self._read += self._rate
        breath, shape = np.split(knots, [BREATHS], axis=1)
        found = np.concatenate([loud.reshape(-1), breath.reshape(-1), shape.reshape(-1)])
        assert found.shape == (WIDTH,)
        return Heard(pitches, found)

    def _line(self, points: Floats, count: int) -> Floats:
        """``points`` (so many a row) at the ``count`` places of the next row, by straight lines."""
        low, high, share = self._places(len(points), count)
        return np.asarray(points[low] * (1 - share)[:, None] + points[high] * share[:, None], np.float64)

    def _knots(self, rest: Floats, pitches: Floats) -> tuple[Floats, Floats]:
        """Breath and envelope (2 × numbers) and pitch (2, Hz) at the knots of the next row."""
        breath, shape = np.split(rest, [_KNOTS * BREATHS], axis=1)
        points = np.concatenate([breath.reshape(-1, BREATHS), shape.reshape(len(pitches), -1)], axis=1)
        low, high, share = self._places(len(points), _KNOTS)
        first, second = pitches[low], pitches[high]
        both = (first > 0) & (second > 0)
        # Between a voiced knot and one that is not there is no pitch halfway: the nearer one holds, and its breath with it.
        nearer = np.where(share < 0.5, first, second)
        height = np.where(both, first ** (1 - share) * np.maximum(second, 1.0) ** share, nearer)
        found = self._line(points, _KNOTS)
        nearest = np.where(share < 0.5, low, high)
        found[~both, :BREATHS] = points[nearest[~both], :BREATHS]
        return found, np.asarray(height, np.float64)

    def _places(self, points: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """The points on both sides of each place of the next row, and how far behind the first it lies (0 to 1)."""
        # A row's points stand at the ends of its parts: the first of all is 1 part after the beginning, held before it.
        parts = np.arange(1, count + 1) / count
        at = (self._read - self._dropped + self._rate * parts) * count - 1
        at = np.clip(at, 0, points - 1)
        low = np.asarray(np.floor(at), np.int64)
        return low, np.minimum(low + 1, points - 1), np.asarray(at - low, np.float64)


class Paced:
    """A decoder of one voice under ``controls``: rows of codes in, samples out, as many as the rate makes of them."""

    def __init__(self, codec: BaseCodec, controls: Controls | None = None) -> None:
        self._codec, self._decoder = codec, codec.decoder()
        self._line = Timeline()
        self.set_controls(controls or Controls())

    def set_controls(self, controls: Controls) -> None:
        """From the next row on, speak so. The accent is the model's that says the rows: it is none of this decoder's."""
        self._controls = controls
        self._line.set_rate(controls.rate)
        self._decoder.set_controls(0, controls.pitch, controls.energy)

    def push(self, row: npt.NDArray[np.integer]) -> Wave:
        """Take one row of codes (books, 0 to 1023); the samples that are due now."""
        return self._said(self._line.push(self._codec.heard(row)))

    def flush(self) -> Wave:
        """What is left at the end; then it is new, and its controls stay."""
        rows, part = self._line.flush()
        wave = self._said(rows)[: round(part * HOP)]
        self.reset()
        return wave

    def reset(self) -> None:
        """Begin afresh under the same controls."""
        self._line.reset()
        self._decoder.reset()
        self.set_controls(self._controls)

    def _said(self, rows: list[Heard]) -> Wave:
        waves = [self._decoder.speak(0, row) for row in rows]
        return np.concatenate(waves) if waves else np.zeros(0, np.float32)
