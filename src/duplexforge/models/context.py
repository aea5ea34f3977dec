"""What is known before a coefficient is read: the frames before it, as small whole numbers that the network is fed with.

All of it is whole-number arithmetic (or doubles that hold whole numbers), so that two machines never disagree.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from duplexforge.models.mdct import HOP

Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MARGIN = 3
_WIDTH = HOP + 2 * _MARGIN
_EDGE = np.ones(_MARGIN, np.int64)
_FINE = 16
"""Parts of a quantiser step that loudness is measured in."""
_SLOW_SHIFTS = (1, 3, 5)
"""The running means forget half, an eighth and a thirty-second of themselves a frame."""
_SLOW_BITS = 8
_BAND = 8
PLANES = 5
PER_BIN = 7 + 5 + 3 + 3 + 1 + 2
SHARED = 3 * HOP // _BAND
# Loudness in sixths of an octave above a quarter of 1/16 step; none of the logarithms lies near a half.
_LEVELS = np.rint(6 * np.log2(1 + np.arange(4096) / 4)).astype(np.float64)


def level(amplitude: Whole, step: Whole) -> Floats:
    """Loudness (0 to 60) of ``amplitude`` beside the quantiser's ``step``, both in units."""
    levels: Floats = _LEVELS[np.minimum(amplitude * _FINE // step, 4095)]
    return levels


class History:
    """The decoded past of one voice: what it says about the next frame."""

    def __init__(self) -> None:
        self._last: Whole = np.zeros(_WIDTH, np.int64)
        self._before: Whole = np.zeros(_WIDTH, np.int64)
        self._slow: list[Whole] = [np.zeros(_WIDTH, np.int64) for _ in _SLOW_SHIFTS]

    def push(self, amplitude: Whole) -> None:
        """Take the magnitudes (units) of the frame that was just coded."""
        last = np.zeros_like(self._last)
        last[_MARGIN:-_MARGIN] = amplitude
        self._before, self._last = self._last, last
        for slow, shift in zip(self._slow, _SLOW_SHIFTS, strict=True):
            slow += ((last << _SLOW_BITS) - slow) >> shift

    def planes(self, steps: Whole) -> Floats:
        """Loudness beside the next frame's ``steps`` (160, units), 5 × 166: of the last frame, of the one before, and
        three means; three bins of silence stand on both sides.
        """
        past = [self._last, self._before, *(slow >> _SLOW_BITS for slow in self._slow)]
        return level(np.stack(past), np.concatenate([_EDGE, steps, _EDGE]))


def features(planes: Floats) -> tuple[Floats, Floats]:
    """Of one frame's planes, or of many (… × 5 × 166): … × 160 × ``PER_BIN`` numbers and … × ``SHARED`` ones."""
    last, before, quick, middle, long = (planes[..., plane, :] for plane in range(PLANES))
    columns = [last[..., i : i + HOP] for i in range(7)]
    columns += [before[..., i : i + HOP] for i in range(1, 6)]
    columns += [quick[..., i : i + HOP] for i in range(2, 5)]
    columns += [middle[..., i : i + HOP] for i in range(2, 5)]
    columns += [long[..., 3 : 3 + HOP], _around(last), _around(before)]
    inner = np.stack([last, before, middle], axis=-2)[..., _MARGIN:-_MARGIN]
    bands = np.floor(inner.reshape(*inner.shape[:-2], SHARED, _BAND).sum(axis=-1) / _BAND)
    return np.stack(columns, axis=-1), bands


def _around(levels: Floats) -> Floats:
    """The mean over the eight neighbours on both sides and the bin itself."""
    empty = np.zeros((*levels.shape[:-1], 9))
    sums = np.cumsum(np.concatenate([empty, levels[..., _MARGIN:-_MARGIN], empty[..., 1:]], axis=-1), axis=-1)
    means: Floats = np.floor((sums[..., 17:] - sums[..., :-17]) / 17)
    return means
