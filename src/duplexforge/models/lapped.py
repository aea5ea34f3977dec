"""The lapped transform of the mode token: 5 ms frames at 16 kHz, 80 coefficients each, in floats.

A frame covers two hops under a sine window and overlaps its neighbours by half; the sum restores the wave (Princen and
Bradley, 1986). What is sent are whole codes, so nothing here has to be exact to the bit, other than in ``mdct.py``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@cache
def basis(hop: int) -> Floats:
    """The windowed transform (hop coefficients × 2·hop samples), orthonormal over overlapping frames."""
    n, k = np.arange(2 * hop) + 0.5, np.arange(hop) + 0.5
    wave = np.cos(np.pi / hop * np.outer(k, n + hop / 2))
    table: Floats = (np.sqrt(2.0 / hop) * wave * np.sin(np.pi * n / (2 * hop))).astype(np.float32)
    return table


def frames_of(wave: Floats, hop: int) -> Floats:
    """All frames (frames × hop) of a whole wave (n samples): the first covers ``hop`` zeros and the first hop samples."""
    padded = np.pad(np.asarray(wave, np.float32), (hop, hop + -len(wave) % hop))
    covered = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    return np.asarray(covered @ basis(hop).T, np.float32)
