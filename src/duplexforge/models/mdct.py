"""The lapped transform: 10 ms frames at 16 kHz, forward in floats, backward in whole numbers.

A frame of 160 coefficients covers 320 samples under a sine window; frames overlap by half, and their sum restores the
wave (Princen and Bradley, 1986). What the decoder makes out of the coefficients steers how it reads the next frame, so the
way back must give the same numbers on every machine: coefficients are whole numbers (1/16 of a 16-bit sample's step), the
transform is a table of whole numbers, and all sums stay below 2^53, where double precision is exact in any order of
adding. The way forward needs no such care: only what it is rounded to is ever sent.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

RATE = 16_000
HOP = 160
UNIT = 16
"""Parts of one 16-bit step: coefficients and the decoder's samples are counted in these."""
FULL = 32_768 * UNIT
"""A wave's 1.0 in units."""
PEAK = 1 << 24
"""No coefficient is larger (four times what a full-scale square wave gives); damage might make it so."""
TABLE_BITS = 22
# In blocks that BLAS does not think worth a second thread: waking one takes longer than the product.
_BLOCKS = 8

Floats = npt.NDArray[np.float64]
Wave = npt.NDArray[np.float32]


@cache
def basis() -> Floats:
    """The windowed transform (160 coefficients × 320 samples), orthonormal over overlapping frames."""
    n, k = np.arange(2 * HOP) + 0.5, np.arange(HOP) + 0.5
    wave = np.cos(np.pi / HOP * np.outer(k, n + HOP / 2))
    windowed: Floats = np.sqrt(2.0 / HOP) * wave * np.sin(np.pi * n / (2 * HOP))
    return windowed


@cache
def whole_basis() -> Floats:
    """``basis`` in whole numbers, 2^22 for 1: what the decoder multiplies with."""
    return np.rint(basis() * (1 << TABLE_BITS))


@cache
def _forward() -> Floats:
    return np.ascontiguousarray(basis().reshape(_BLOCKS, -1, 2 * HOP))


@cache
def _backward() -> Floats:
    return np.ascontiguousarray(whole_basis().T.reshape(_BLOCKS, -1, HOP))


def analyse(block: Wave) -> Floats:
    """The coefficients, in units, of 320 samples (−1 to 1)."""
    return (_forward() @ (block.astype(np.float64) * FULL)).reshape(HOP)


class Synthesis:
    """The way back for one voice: coefficients in, samples out, half a frame later."""

    def __init__(self) -> None:
        self._tail: Floats = np.zeros(HOP)

    def frame(self, coefficients: Floats) -> Floats:
        """The next 160 samples in units, whole numbers; ``coefficients`` are whole numbers of at most ``PEAK``."""
        # 160 products of 2^24 and 2^19 stay below 2^51; floor of a product with a power of two is exact.
        both = np.floor((_backward() @ coefficients).reshape(2 * HOP) / (1 << TABLE_BITS) + 0.5)
        samples: Floats = self._tail + both[:HOP]
        self._tail = both[HOP:]
        return samples
