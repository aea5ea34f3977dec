"""How high a voice is: a tracker that hears 25 ms ahead, and the book of pitches.

Likeness of the wave with itself a period before (normalised correlation of 50 ms, below 1.2 kHz) says how well each pitch
fits a knot. Which one it is, or none, follows from a path through the knots that pays for leaps (dynamic programming as in
Talkin's RAPT); it is decided at the end of each frame for its two knots, so no more than those 25 ms are waited for.

The book is not learned but laid out: a learned one would starve pitches that the training voices lack.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RATE = 16_000
BLOCK = 800
"""Samples that are heard round each knot."""
LOWEST, OCTAVES = 60.0, 3
"""The range: 60 to 480 Hz."""

_FINE = 48
_STATES = LOWEST * 2.0 ** (np.arange(OCTAVES * _FINE + 1) / _FINE)
_FINER = 4
_SIZE = 2048
_PASS = (50.0, 1200.0)
# Of a period and its double, the period: what an octave is worth. Then what "none" is worth, and what changes cost.
_OCTAVE, _NONE, _LEAP, _LEAP_MOST, _TURN = 0.06, 0.5, 1.0, 0.6, 0.1
_QUIET = 1e-7
"""Mean square below which nothing has a pitch: 70 dB below full scale."""


def _passed() -> Floats:
    frequency = np.fft.rfftfreq(_SIZE, 1 / RATE)
    rise = np.clip(frequency / _PASS[0] - 1, 0, 1)
    return np.asarray(rise * np.clip(2 - frequency / _PASS[1], 0, 1), np.float64)


def _between() -> Floats:
    octaves = np.log2(_STATES / LOWEST)
    costs = np.minimum(_LEAP * np.abs(octaves[:, None] - octaves), _LEAP_MOST)
    table = np.full((len(_STATES) + 1, len(_STATES) + 1), -_TURN)
    table[:-1, :-1] = -costs
    table[-1, -1] = 0.0
    return table


_MASK, _MOVES = _passed(), _between()
_LAGS = RATE / _STATES


def likeness(block: Floats) -> Floats:
    """Correlation (−1 to 1) of the wave (BLOCK samples) with itself, at the period of every state; low when it is quiet."""
    if np.mean(block * block) < _QUIET:
        return np.full(len(_STATES), -1.0)
    spectrum = np.fft.rfft(block, _SIZE) * _MASK
    low = np.fft.irfft(spectrum, _SIZE)[:BLOCK]
    power = np.abs(np.fft.rfft(low, _SIZE)) ** 2
    # A longer inverse transform gives the correlation between the samples too: at 480 Hz a lag is 3 % of the pitch.
    product = np.fft.irfft(power, _SIZE * _FINER) * _FINER
    sums = np.concatenate([[0.0], np.cumsum(low * low)])
    lags = np.rint(_LAGS).astype(np.int64)
    both = np.sqrt(sums[BLOCK - lags] * (sums[BLOCK] - sums[lags])) + 1e-9
    return np.asarray(np.interp(_LAGS * _FINER, np.arange(_SIZE), product[:_SIZE]) / both, np.float64)


class Tracker:
    """The path of one voice so far: how good it is to stand at each state now."""

    def __init__(self) -> None:
        self._scores: Floats = np.zeros(len(_STATES) + 1)

    def push(self, blocks: Floats) -> Floats:
        """The pitches (Hz; 0: none) of the two knots of a frame, whose surroundings are ``blocks`` (2 × BLOCK)."""
        found = [likeness(block) for block in blocks]
        back = self._scores
        for like in found:
            ways = self._scores[:, None] + _MOVES
            back = ways.argmax(axis=0)
            height = _OCTAVE * (np.log2(_STATES / LOWEST) - OCTAVES / 2)
            self._scores = ways.max(axis=0) + np.append(like + height, _NONE)
            self._scores -= self._scores.max()
        last = int(self._scores.argmax())
        return np.array([_refined(found[0], int(back[last])), _refined(found[1], last)])


def _refined(like: Floats, state: int) -> float:
    """The pitch at ``state`` in Hz, moved to the top of the parabola through it and its neighbours."""
    if state == len(_STATES):
        return 0.0
    shift = 0.0
    if 0 < state < len(_STATES) - 1:
        low, here, high = like[state - 1 : state + 2]
        bend = low - 2 * here + high
        shift = float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    return float(LOWEST * 2 ** ((state + shift) / _FINE))


# -- the book ----------------------------------------------------------------------------------------------------------

_LEVELS = 80
_SLOPES = np.array([0.0, 0.02, -0.02, 0.05, -0.05, 0.1, -0.1, 0.18, -0.18, 0.3, -0.3])
"""Octaves from the first knot to the second."""
_SINGLE = 64


def _book() -> Floats:
    """Both pitches (Hz; 0: none) of every entry: none; both voiced, by height and slope; the first alone; the second."""
    heights = OCTAVES * (np.arange(_LEVELS) + 0.5) / _LEVELS
    first = (heights[:, None] - _SLOPES / 2).reshape(-1)
    second = (heights[:, None] + _SLOPES / 2).reshape(-1)
    single = LOWEST * 2.0 ** (OCTAVES * (np.arange(_SINGLE) + 0.5) / _SINGLE)
    none = np.zeros(_SINGLE)
    voiced = LOWEST * 2.0 ** np.clip(np.stack([first, second], axis=1), 0, OCTAVES)
    rows = [np.zeros((1, 2)), voiced, np.stack([single, none], axis=1), np.stack([none, single], axis=1)]
    return np.concatenate(rows)


PITCHES = _book()
"""Entries of the book (1009 × 2, Hz)."""


def pitch_code(pitches: Floats) -> int:
    """The entry of the book that is nearest to both ``pitches`` (Hz) and voiced where they are."""
    same = ((PITCHES > 0) == (pitches > 0)).all(axis=1)
    logs = np.log2(np.maximum(PITCHES, 1.0)) - np.log2(np.maximum(pitches, 1.0))
    return int(np.argmin(np.where(same, (logs * logs).sum(axis=1), np.inf)))


def pitches_of(code: int) -> Floats:
    """Both pitches (Hz; 0: none) that ``code`` means; codes that no encoder writes mean none."""
    row: Floats = PITCHES[code if 0 <= code < len(PITCHES) else 0]
    return row
