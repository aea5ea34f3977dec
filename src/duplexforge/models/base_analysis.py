"""What the base layer hears in 40 ms: pitch, loudness each 10 ms, breath in four bands, and two envelopes of the spectrum.

A frame has two knots, 20 ms and 40 ms after its beginning, and the decoder draws lines from knot to knot. The envelope at
a knot is taken through a window of three periods and smoothed over one, which leaves neither the harmonics nor the place of
the pulses in it (as CheapTrick does: Morise, 2015). Levels are decibels; a density is such that its mean over the band is
the mean square of the wave.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duplexforge.models.base_pitch import BLOCK, RATE, Floats, Tracker

HOP = 640
KNOT = 320
"""Samples from knot to knot."""
BEFORE, AFTER = BLOCK // 2 - KNOT, BLOCK // 2
"""Samples round the frame that are heard too."""
SPAN = BEFORE + HOP + AFTER
BANDS = 32
BREATHS = 4
GAINS = 4
WIDTH = GAINS + 2 * BREATHS + 2 * BANDS
"""Numbers a frame: loudness, breath of both knots, envelope of both."""
FLOOR_DB = -80.0
DEEPEST = 60.0
"""How far below its highest point the envelope is followed, in dB."""

_SIZE = 1024
_EDGES = (0.0, 1000.0, 2000.0, 4000.0, 8000.0)
_MATCH = 320
_WINDOW = np.hanning(KNOT + 1)[:-1]
_UNVOICED = 200
"""Half a window where there is no pitch."""


def _mel(count: int) -> Floats:
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    return np.asarray(700 * (10 ** (np.linspace(0, top, count) / 2595) - 1), np.float64)


_POINTS = _mel(BANDS + 2)
CENTRES = _POINTS[1:-1]
"""Where the envelope is known, in Hz."""
BREATH_CENTRES = np.array([500.0, 1500.0, 3000.0, 6000.0])


def _triangles() -> Floats:
    bins = np.fft.rfftfreq(_SIZE, 1 / RATE)[:, None]
    rise = (bins - _POINTS[:-2]) / (_POINTS[1:-1] - _POINTS[:-2])
    fall = (_POINTS[2:] - bins) / (_POINTS[2:] - _POINTS[1:-1])
    filters = np.maximum(np.minimum(rise, fall), 0)
    return np.asarray(filters / filters.sum(axis=0), np.float64)


def _masks() -> npt.NDArray[np.bool_]:
    frequency = np.fft.fftfreq(_SIZE, 1 / RATE)
    return np.stack([(frequency >= low) & (frequency < high) for low, high in pairwise(_EDGES)])


_FILTERS, _BAND_MASKS = _triangles(), _masks()


class Heard(NamedTuple):
    """One frame: pitches (2, Hz, 0: none) and the vector (WIDTH) that the books code."""

    pitches: Floats
    vector: Floats


def hear(span: Floats, tracker: Tracker) -> Heard:
    """What is in the frame in the middle of ``span`` (SPAN samples)."""
    blocks = np.stack([span[start : start + BLOCK] for start in (0, KNOT)])
    pitches = tracker.push(blocks)
    starts = BEFORE + np.arange(GAINS) * (HOP // GAINS)
    pieces = np.stack([span[start : start + KNOT] * _WINDOW for start in starts])
    loud = decibels((pieces * pieces).sum(axis=1) / (_WINDOW @ _WINDOW))
    breath = [_periodic(block, pitch) for block, pitch in zip(blocks, pitches, strict=True)]
    shape = [_envelope(block, pitch) for block, pitch in zip(blocks, pitches, strict=True)]
    return Heard(pitches, np.concatenate([loud, *breath, *shape]))


def decibels(power: Floats) -> Floats:
    """Level of ``power``, no lower than the floor."""
    return np.asarray(10 * np.log10(power + 10 ** (FLOOR_DB / 10)), np.float64)


def _envelope(block: Floats, pitch: float) -> Floats:
    """Density (BANDS, dB beside its mean over the band) round the middle of ``block``."""
    half = min(round(1.5 * RATE / pitch), BLOCK // 2) if pitch else _UNVOICED
    window = np.hanning(2 * half + 1)[:-1]
    middle = BLOCK // 2
    power = np.abs(np.fft.rfft(block[middle - half : middle + half] * window, _SIZE)) ** 2 / (window @ window)
    smoothed = _smoothed(power, pitch or 100.0, mend=pitch > 0)
    mean = smoothed.mean()
    levels = 10 * np.log10(smoothed @ _FILTERS / (mean + 1e-12) + 1e-9) if mean > 1e-9 else np.zeros(BANDS)
    return np.asarray(np.maximum(levels, levels.max() - DEEPEST), np.float64)


def _smoothed(power: Floats, width: float, *, mend: bool) -> Floats:
    """``power`` (bins) averaged over ``width`` Hz; ``mend`` fills what lies below the first harmonic, where there is none."""
    step = RATE / _SIZE
    reach = width / step / 2
    if mend:
        below = np.arange(int(2 * reach) + 1)
        power = power.copy()
        power[below] += np.interp(2 * reach - below, np.arange(len(power)), power)
    margin = int(reach) + 2
    wide = np.concatenate([power[margin:0:-1], power, power[-2 : -margin - 2 : -1]])
    sums = np.concatenate([[0.0], np.cumsum(wide)])
    places = np.arange(len(power)) + margin + 0.5
    index = np.arange(len(sums))
    return np.asarray((np.interp(places + reach, index, sums) - np.interp(places - reach, index, sums)) / (2 * reach))


def _periodic(block: Floats, pitch: float) -> Floats:
    """Share (BREATHS, 0 to 1) of each band's power that repeats with the pitch."""
    if not pitch:
        return np.zeros(BREATHS)
    lag = round(RATE / pitch)
    start = (BLOCK - _MATCH - lag) // 2
    bands = np.fft.ifft(np.fft.fft(block, _SIZE) * _BAND_MASKS)
    first, second = bands[:, start : start + _MATCH], bands[:, start + lag : start + lag + _MATCH]
    # Of signals with one side of the spectrum alone, the size of the product does not mind a lag that is off by a half.
    match = np.abs((first.conj() * second).sum(axis=1))
    powers = (np.abs(first) ** 2).sum(axis=1) * (np.abs(second) ** 2).sum(axis=1)
    like = match / (np.sqrt(powers) + 1e-9)
    # What mere noise of this band and length would show.
    chance = 1 / np.sqrt(np.diff(_EDGES) * _MATCH / RATE)
    return np.asarray(np.clip((like - chance) / (1 - chance), 0, 1), np.float64)
