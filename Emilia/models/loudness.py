"""Loudness of a stream by ITU-R BS.1770-4: K weighting, 400 ms blocks every 100 ms, absolute and relative gate.

The filter coefficients are pyloudnorm's, the arithmetic is over blocks of any size, so that a twelve-hour file is
measured without being held. Equal to ``pyloudnorm.Meter.integrated_loudness`` of the whole file to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyloudnorm
from scipy.signal import sosfilt

from Emilia.recording import Audio

__all__ = ["LoudnessMeter"]

Samples = npt.NDArray[np.floating[Any]]

_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
# A click rings in the resampler and may straddle a border: it is allowed this many 10 ms blocks.
_CLICK = 4


class LoudnessMeter:
    """Feeds on mono float32 blocks at ``rate`` Hz; also keeps the peak of every 10 ms and the plain mean."""

    def __init__(self, rate: int) -> None:
        stages = pyloudnorm.Meter(rate)._filters.values()
        # Both filters in one pass over the samples.
        self._weighting = np.array([[*(f.b * f.passband_gain), *f.a] for f in stages])
        self._state = np.zeros((len(stages), 2))
        self._step = rate // 10
        self._tail: Samples = np.zeros(0)
        self._raw_tail: Samples = np.zeros(0, np.float32)
        self._energies: list[Samples] = []
        self._levels: list[Samples] = []
        self._peaks: list[Samples] = []
        self._sum = 0.0
        self.frames = 0

    def add(self, samples: Audio) -> None:
        """Take the next samples of the stream."""
        if not len(samples):
            return
        self.frames += len(samples)
        self._sum += float(samples.sum(dtype=np.float64))
        weighted, self._state = sosfilt(self._weighting, samples.astype(np.float64), zi=self._state)
        whole, self._tail = _steps(np.concatenate([self._tail, weighted]), self._step)
        self._energies.append((whole**2).mean(axis=1))
        raw, self._raw_tail = _steps(np.concatenate([self._raw_tail, samples]), self._step)
        self._peaks.append(np.abs(raw).reshape(-1, self._step // 10).max(axis=1, initial=0.0))
        self._levels.append(raw.var(axis=1, dtype=np.float64))

    @property
    def mean(self) -> float:
        """The constant offset of the samples."""
        return self._sum / self.frames if self.frames else 0.0

    def loudness(self) -> float:
        """Integrated loudness in LUFS; ``-inf`` when nothing passes the gate. Under 400 ms the one block there is
        counts.
        """
        steps = np.concatenate([*self._energies, np.zeros(0)])
        if len(steps) < 4:
            rest = np.concatenate([np.repeat(steps, self._step), self._tail**2])
            blocks = rest.mean(keepdims=True) if len(rest) else np.zeros(1)
        else:
            blocks = np.convolve(steps, np.full(4, 0.25), "valid")
        loud = blocks[_lufs(blocks) >= _ABSOLUTE_GATE]
        if not len(loud):
            return float("-inf")
        loud = loud[_lufs(loud) > _lufs(loud.mean(keepdims=True)) + _RELATIVE_GATE]
        return float(_lufs(loud.mean(keepdims=True))[0])

    def peak(self, share: float) -> float:
        """The level that ``share`` of the 10 ms blocks stay below, and all but a handful in a short recording."""
        peaks = np.concatenate([*self._peaks, np.abs(self._raw_tail).max(keepdims=True, initial=0.0)])
        exempt = min(len(peaks) // 2, max(_CLICK, int(len(peaks) * (1 - share))))
        return float(np.sort(peaks)[len(peaks) - 1 - exempt])

    def noise(self) -> float:
        """Noise floor in dBFS: the level that the quietest twentieth of the 100 ms blocks stays below; ``-inf`` if
        unknown.
        """
        levels = np.concatenate([*self._levels, np.zeros(0)])
        # Digital silence between tracks says nothing about the room.
        levels = levels[levels > 1e-12]
        return float(10 * np.log10(np.quantile(levels, 0.05))) if len(levels) else float("-inf")


def _steps(samples: Samples, step: int) -> tuple[Samples, Samples]:
    whole = len(samples) // step * step
    return samples[:whole].reshape(-1, step), samples[whole:]


def _lufs(energies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        level: npt.NDArray[np.float64] = -0.691 + 10 * np.log10(energies)
    return level
