"""How fine to quantise: a budget that a stream keeps in the long run, and the one step that a whole recording needs.

The quality that a rate buys lives in spending it unevenly, so the stream's budget is slack: speech may run ahead of the
rate or fall behind it by seconds, and the step follows gently. A recording that is all there is better off still with one
step throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import numpy as np

from duplexforge.models.mdct import FULL, RATE, Floats
from duplexforge.models.quantise import STEPS

_PER_OCTAVE = 32
_LOUD = 0.001
"""A packet counts as sound above this share of the loudest mean square so far."""
_SHY = 25.0
"""Decibels between sound and step to begin with; where 16 kbps lead."""
_PULL = 12.0
"""Step numbers for each second of the rate that is overspent."""
_MOST_SAVED = 4.0
_QUIETEST = 16.0
_LEAPS = 6


class Budget:
    """One voice's long-run rate: what has been spent, and the step that follows from it and from how loud the voice is."""

    def __init__(self, kbps: float, seconds: float) -> None:
        self._packet = kbps * 1000 * seconds
        self._second = kbps * 1000
        self._shy = _SHY + (kbps - 16) * 0.5
        self._over = 0.0
        self._most = self._sum = self._count = 0.0

    def step(self, spectra: list[Floats]) -> int:
        """The number of the step for the packet of ``spectra``."""
        power = float(np.mean([np.mean(one * one) for one in spectra]))
        if power > _LOUD * self._most:
            self._most = max(self._most, power)
            self._sum += power
            self._count += 1
        loudness = max((self._sum / max(self._count, 1)) ** 0.5, _QUIETEST)
        wanted = loudness * 10 ** (-self._shy / 20) * 12**0.5 / 16
        number = _PER_OCTAVE * log2(max(wanted, 1)) + _PULL * self._over
        return min(max(round(number), 0), STEPS - 1)

    def spend(self, bits: int) -> None:
        """Count the packet's bits."""
        self._over = max(self._over + (bits - self._packet) / self._second, -_MOST_SAVED)


def settle(cost: Callable[[int], float], kbps: float, first: int) -> int:
    """The least step number whose ``cost`` (kbps) does not exceed ``kbps``; ``first`` is a guess.

    Cost falls as the number grows, nearly always: where it does not, the answer is still within the rate. Takes about
    six calls.
    """
    low, high, number, calls = -1, STEPS, min(max(first, 0), STEPS - 1), 0
    while high - low > 1:
        found, calls = cost(number), calls + 1
        if found > kbps:
            low = number
        else:
            high = number
        # Near 16 kbps the rate doubles in about two octaves of the step; where that does not hold, halving is sure.
        leap = number + round(2 * _PER_OCTAVE * log2(max(found, 0.1) / kbps))
        number = min(max(leap if calls < _LEAPS else (low + high) // 2, low + 1), high - 1)
    return min(high, STEPS - 1)


def likely_step(wave: Floats, kbps: float) -> int:
    """A guess of the step number that ``wave`` (−1 to 1) needs."""
    loudness = max(float(np.sqrt(np.mean(wave * wave))) * FULL / 16, 1e-3)
    wanted = loudness * 10 ** (-(_SHY + (kbps - 16) * 0.5) / 20) * 12**0.5
    return min(max(round(_PER_OCTAVE * log2(max(wanted, 1))), 0), STEPS - 1)


def excerpts(wave: Floats, seconds: int = 60, pieces: int = 3) -> Floats:
    """At most ``seconds`` of ``wave``, from ``pieces`` places that lie evenly in it: enough to find a step by."""
    length = seconds * RATE // pieces
    if len(wave) <= length * pieces:
        return wave
    starts = np.linspace(0, len(wave) - length, pieces).astype(int)
    return np.concatenate([wave[start : start + length] for start in starts])
