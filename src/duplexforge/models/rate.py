"""How fine to quantise: a budget that a stream keeps in the long run, and the one step that a whole recording needs.

The quality that a rate buys lives in spending it unevenly, so the stream's budget is slack: speech may run ahead of the
rate or fall behind it by seconds, and the step follows gently. What the step should be is read off what the voice has
asked for so far: a formula says what its spectra cost at every step. Loudness alone would not do: a dark voice, whose
energy lies in few bins, leaves the same rate at a step that is 10 to 15 dB finer. A recording that is all there is better
off still with one step throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import numpy as np

from duplexforge.models.mdct import FULL, RATE, Floats
from duplexforge.models.quantise import STEPS
from duplexforge.models.voice import Shape, climb

_PER_OCTAVE = 32
_GRID = np.arange(0, STEPS, 16)
_GRID_UNITS = 16 * 2.0 ** (_GRID / _PER_OCTAVE)
_SHARPNESS = 3.6
"""Fitted to what the coder spends on the training speakers, whom the formula meets within a tenth; so is the power 3."""
_SPREAD = np.ones(5) / 5
"""The coder knows a bin by its neighbours in frequency, too."""
_LOUD = 0.001
"""A packet counts as sound above this share of the loudest mean square so far."""
_SHY = 25.0
"""Decibels between sound and step to begin with; where 16 kbps lead."""
_GUESSED = 15
"""Packets for which the first guess stands beside what the voice asks for."""
_MEMORY = 750
"""Packets after which what was asked for is forgotten to a third: half a minute."""
_LEAST_SOUND = 0.6
"""The rate that pauses save is handed to the sound as if they were never more than the rest."""
_PULL = 12.0
"""Step numbers for each second of the rate that is overspent."""
_MOST_SAVED = 4.0
_QUIETEST = 16.0
_LEAPS = 6


def demand(spectra: list[Floats], shape: Shape) -> Floats:
    """About how many bits a packet of ``spectra`` costs at each step of ``_GRID``."""
    power = np.mean([one * one for one in spectra], axis=0)
    around = np.sqrt(np.convolve(power, _SPREAD, "same")) * 10 ** (-climb(shape) / 20)
    loudness = float(np.sqrt(np.mean(power)))
    steps = _GRID_UNITS * np.maximum(loudness / _GRID_UNITS, 0.1) ** shape.follow
    ratios = _SHARPNESS * around / steps[:, None]
    bits: Floats = len(spectra) / 3 * np.log2(1 + ratios * ratios * ratios).sum(axis=1)
    return bits


class Budget:
    """One voice's long-run rate: what has been spent, and the step that follows from it and from what the voice asks for."""

    def __init__(self, kbps: float, seconds: float, shape: Shape) -> None:
        self._packet = kbps * 1000 * seconds
        self._second = kbps * 1000
        self._shape, self._shy = shape, _SHY + (kbps - 16) * 0.5
        self._over = 0.0
        self._most = self._power = self._sounds = self._packets = 0.0
        self._asked: Floats = np.zeros(len(_GRID))
        self._here: Floats = self._asked
        self._step, self._sound = 0, False
        # The formula's bits and the true ones, as if they had agreed for a while before.
        self._foretold = self._spent = _GUESSED * self._packet

    def step(self, spectra: list[Floats]) -> int:
        """The number of the step for the packet of ``spectra``."""
        kept = 1 - 1 / _MEMORY
        power = float(np.mean([np.mean(one * one) for one in spectra]))
        self._sound = power > _LOUD * self._most
        self._most = max(self._most, power)
        self._sounds = kept * self._sounds + self._sound
        self._power = kept * self._power + self._sound * power
        self._packets = kept * self._packets + 1
        self._here = demand(spectra, self._shape)
        self._asked = kept * self._asked + self._here
        number = self._wanted() + _PULL * self._over
        self._step = min(max(round(number), 0), STEPS - 1)
        return self._step

    def spend(self, bits: int) -> None:
        """Count the packet's bits."""
        # The few bits of a pause say nothing about what speech costs.
        if self._sound:
            kept = 1 - 1 / _MEMORY
            self._foretold = kept * self._foretold + float(np.interp(self._step, _GRID, self._here))
            self._spent = kept * self._spent + bits
        self._over = max(self._over + (bits - self._packet) / self._second, -_MOST_SAVED)

    def _wanted(self) -> float:
        """The number that keeps the rate, by all that is known; at first a guess by loudness."""
        loudness = max((self._power / max(self._sounds, 1e-9)) ** 0.5, _QUIETEST)
        guess = _number(loudness, self._shy, self._shape.follow)
        # A voice that starts after a pause must not find its rate promised to the silence.
        mean = self._asked / max(min(self._packets, self._sounds / _LEAST_SOUND), 1e-9) * self._spent / self._foretold
        found = float(np.interp(-self._packet, -mean, _GRID))
        return (self._packets * found + _GUESSED * guess) / (self._packets + _GUESSED)


def _number(loudness: float, shy: float, follow: float = 0.0) -> float:
    """The step number ``shy`` decibels below ``loudness`` (units), where the step follows loudness by that power."""
    below = (10 ** (-shy / 20) * 12**0.5) ** (1 / (1 - follow))
    return _PER_OCTAVE * log2(max(loudness * below / 16, 1))


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


def likely_step(wave: Floats, kbps: float, follow: float = 0.0) -> int:
    """A guess of the step number that ``wave`` (−1 to 1) needs in a mode of that ``follow``."""
    loudness = max(float(np.sqrt(np.mean(wave * wave))) * FULL, 1e-3)
    return min(round(_number(loudness, _SHY + (kbps - 16) * 0.5, follow)), STEPS - 1)


def excerpts(wave: Floats, seconds: int = 60, pieces: int = 3) -> Floats:
    """At most ``seconds`` of ``wave``, from ``pieces`` places that lie evenly in it: enough to find a step by."""
    length = seconds * RATE // pieces
    if len(wave) <= length * pieces:
        return wave
    starts = np.linspace(0, len(wave) - length, pieces).astype(int)
    return np.concatenate([wave[start : start + length] for start in starts])
