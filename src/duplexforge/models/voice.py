"""What encoder and decoder of one voice both keep, in step with each other: the decoded past and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duplexforge.models import frames
from duplexforge.models.context import History, Whole, features
from duplexforge.models.mdct import HOP, PEAK, Floats
from duplexforge.models.model import Model
from duplexforge.models.quantise import restore, step_units
from duplexforge.models.side import EDGES, NOTHING

_PARTS_BITS, _LOUD_BITS = 10, 12
_PARTS, _LOUD = 1 << _PARTS_BITS, 1 << _LOUD_BITS
_FADE_PARTS = 10
_SILENT_AFTER = 12
_KNEE = 25
"""The steps climb from the lowest bin to twice this one: 2.5 kHz."""


@dataclass(frozen=True)
class Shape:
    """What makes a mode: how the steps follow the spectrum, how zeros are filled, how dear a bit is.

    ``follow`` is the power of a frame's loudness that its step grows with: 0 spreads the error evenly, which gives the
    best SNR; 1 would hold every frame at the same SNR. ``slope`` says by how many dB the steps above 2.5 kHz are wider
    than the lowest. ``fill`` is the size of the noise put in the place of zeros, as a share of what was there.
    ``thrift`` is the price of a bit in squared steps.
    """

    follow: float = 0.0
    fill: float = 0.0
    slope: float = 0.0
    thrift: float = 0.09


FIDELITY = Shape()
BALANCED = Shape(follow=0.3, fill=0.5, slope=9.0)


def climb(shape: Shape) -> Floats:
    """By how many dB the step of each bin differs from the frame's."""
    climbing: Floats = shape.slope * np.clip(np.arange(HOP) / _KNEE - 1, -1, 1) / 2
    return climbing


class Past:
    """The decoded past of one voice, and what it makes of the next frame."""

    def __init__(self, model: Model, shape: Shape) -> None:
        self._model, self._shape = model, shape
        self._curve: Whole = np.rint(_PARTS * 10.0 ** (climb(shape) / 20)).astype(np.int64)
        self._fill = round(shape.fill * _PARTS)
        self.forget()
        self._spectrum: Floats = np.zeros(HOP)
        self._lost = 0

    def forget(self) -> None:
        """Start with nothing remembered."""
        self._history = History()
        self._noise = 1

    def steps(self, number: int) -> Whole:
        """The step of each bin, in units, where the frame's step has this ``number``."""
        steps: Whole = step_units(number) * self._curve >> _PARTS_BITS
        return steps

    def expect(self, steps: Whole) -> frames.Rows:
        """Of the next frame, quantised by ``steps``: the number of the table for each bin and state."""
        rows: frames.Rows = self._model.tables_of(*features(self._history.planes(steps))).tolist()
        return rows

    def take(self, values: list[int], used: list[int], steps: Whole) -> Floats:
        """Take the frame that was coded, and return its coefficients in units."""
        numbers, tables = np.array(values, np.int64), np.array(used, np.int64)
        self._history.push(np.minimum(np.abs(numbers) * steps, PEAK))
        spectrum = np.clip(restore(self._model, tables, numbers, steps), -PEAK, PEAK)
        self._spectrum, self._lost = spectrum.astype(np.float64), 0
        return self._spectrum

    def fill(self, spectrum: Floats, steps: Whole, levels: list[int]) -> Floats:
        """``spectrum`` with noise in the place of its zeros, of the ``levels`` of its bands."""
        sizes = np.repeat(np.array([_LOUD >> level if level < NOTHING else 0 for level in levels]), np.diff(EDGES))
        noise = self._sprinkle() * sizes * steps >> _PARTS_BITS + _LOUD_BITS
        return np.where(spectrum == 0, noise, spectrum).astype(np.float64)

    def conceal(self) -> Floats:
        """Coefficients for a frame that was lost: those of the last one, fading, with other signs."""
        self._lost += 1
        if self._lost > _SILENT_AFTER:
            return np.zeros(HOP)
        self._spectrum = np.floor(np.abs(self._spectrum) * 7 / _FADE_PARTS) * np.sign(self._sprinkle() + 0.5)
        return self._spectrum

    def _sprinkle(self) -> Whole:
        """160 whole numbers of size ``fill`` with signs that a generator of whole numbers gives, alike on all machines."""
        signs = np.empty(HOP, np.int64)
        state = self._noise
        for place in range(0, HOP, 32):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            mixed = state ^ (state >> 15)
            signs[place : place + 32] = (mixed >> np.arange(32)) & 1
        self._noise = state
        return (2 * signs - 1) * max(self._fill, 1)
