"""What the mode ``balanced`` says besides coefficients: how loud a frame is, and how much noise its zeros stand for.

An ear, and PESQ, miss the hiss of consonants more than they mind a little error in it. For each frame and each of ten
bands the encoder tells the size of what the quantiser turned into zeros, in steps of 6 dB below the quantiser's step; the
decoder puts noise of a given share of it there. (Once for two frames is cheaper and worse: PESQ hears it, at 40 ms by a
quarter of a point.) The loudness of a frame makes its step larger or
smaller, so that soft sounds are coded finer than loud ones. Both are read with tables that were counted on speech.
"""

from __future__ import annotations

import itertools
from math import log2

import numpy as np

from duplexforge.models.context import Whole
from duplexforge.models.mdct import Floats
from duplexforge.models.model import Model
from duplexforge.models.range_coder import RangeDecoder, RangeEncoder

EDGES = (0, 8, 16, 24, 34, 46, 60, 76, 96, 122, 160)
BANDS = len(EDGES) - 1
NOTHING = 12
"""The level of a band whose zeros stand for nothing."""
LOUDNESSES = 24
_MIDDLE = 8
_QUIETEST = 0.1
_NOTHING_POWER = 1e-9
_STAYS = 0.65
"""A level is said again unless the true one is so far from it; at one half there would be no preference."""
NUMBERS_PER_LOUDNESS = 16
"""One loudness up is half an octave of the step."""


def loudness_of(spectrum: Floats, base: int, follow: float) -> int:
    """By how many half octaves the frame's step differs from ``base``; ``follow`` is the power of the frame's loudness."""
    beside = max(float(np.sqrt(np.mean(spectrum * spectrum))) / base, _QUIETEST)
    return min(max(round(2 * follow * log2(beside)), -_MIDDLE), LOUDNESSES - 1 - _MIDDLE)


class Side:
    """One voice's side information: what was said last helps to say the next."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Start with nothing remembered."""
        self._loudness = _MIDDLE
        self._levels = [NOTHING] * BANDS

    def write_loudness(self, encoder: RangeEncoder, loudness: int) -> None:
        """Write a frame's loudness."""
        encoder.symbol(self._model.loudness[self._loudness], loudness + _MIDDLE)
        self._loudness = loudness + _MIDDLE

    def read_loudness(self, decoder: RangeDecoder) -> int:
        """Read it back."""
        self._loudness = decoder.symbol(self._model.loudness[self._loudness])
        return self._loudness - _MIDDLE

    def levels(self, ratios: Floats, values: Whole) -> list[int]:
        """The level of each band's zeros (1 to ``NOTHING``); ``ratios`` are the frame's coefficients over its steps."""
        found = []
        for (low, high), before in zip(itertools.pairwise(EDGES), self._levels, strict=True):
            lost = ratios[low:high][values[low:high] == 0]
            power = float(np.mean(lost * lost)) if len(lost) else 0.0
            level = -log2(power) / 2 if power > _NOTHING_POWER else NOTHING
            # To say the same again costs little, and a decibel more or less of noise is no loss.
            stays = before < NOTHING and abs(level - before) < _STAYS
            found.append(before if stays else min(max(round(level), 1), NOTHING))
        return found

    def write_fill(self, encoder: RangeEncoder, levels: list[int], values: Whole) -> None:
        """Write the levels of the bands of which anything is zero in ``values`` (160)."""
        lower = 0
        for band, (context, level) in enumerate(zip(self._contexts(values), levels, strict=True)):
            if context is None:
                lower = self._levels[band] = 1
                continue
            encoder.symbol(self._model.fill[self._table(band, lower, context)], level - 1)
            lower = self._levels[band] = level

    def read_fill(self, decoder: RangeDecoder, values: Whole) -> list[int]:
        """Read the levels back; ``NOTHING`` for a band without zeros."""
        lower, levels = 0, []
        for band, context in enumerate(self._contexts(values)):
            if context is None:
                lower = self._levels[band] = 1
                levels.append(NOTHING)
                continue
            lower = decoder.symbol(self._model.fill[self._table(band, lower, context)]) + 1
            self._levels[band] = lower
            levels.append(lower)
        return levels

    def _table(self, band: int, lower: int, context: int) -> int:
        return (self._levels[band] * (NOTHING + 1) + lower) * 3 + context

    @staticmethod
    def _contexts(values: Whole) -> list[int | None]:
        """Of each band: how many numbers are not zero, up to 2; None when all are."""
        found: list[int | None] = []
        for low, high in itertools.pairwise(EDGES):
            count = int(np.count_nonzero(values[low:high]))
            found.append(None if count == high - low else min(count, 2))
        return found
