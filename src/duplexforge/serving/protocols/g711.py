"""G.711, the sound of telephones: µ-law and A-law, 8 bits a sample at 8 kHz, both ways by tables.

The decoder's levels are those of the recommendation, in 16 bits. The encoder takes the segment and the step that the
recommendation's decision values give, for all 65,536 samples once.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from duplexforge.serving.packets import Floats, pcm16

__all__ = ["RATE", "Law", "decoded", "encoded"]

Law = Literal["mu", "a"]
RATE = 8000

_BIAS = 0x84
"""What µ-law adds, so that all its segments begin at a power of two."""
_CLIP = 0x7FFF - _BIAS
_EVEN = 0x55
"""A-law inverts every other bit, so that silence on a line is no row of equal bits."""

_Bytes = npt.NDArray[np.uint8]
_Whole = npt.NDArray[np.int32]


def decoded(data: bytes, law: Law) -> Floats:
    """Samples in ±1; any byte is one."""
    found: Floats = _levels(law)[np.frombuffer(data, np.uint8)]
    return found


def encoded(samples: Floats, law: Law) -> bytes:
    """One byte for each sample in ±1; what is louder is clipped."""
    found: _Bytes = _codes(law)[np.frombuffer(pcm16(samples), "<u2")]
    return found.tobytes()


@cache
def _levels(law: Law) -> Floats:
    code = np.arange(256, dtype=np.int32)
    levels = _mu_level(code ^ 0xFF) if law == "mu" else _a_level(code ^ _EVEN)
    return (levels / 32768).astype(np.float32)


def _mu_level(code: _Whole) -> _Whole:
    size = ((((code & 0x0F) << 3) + _BIAS) << ((code & 0x70) >> 4)) - _BIAS
    found: _Whole = np.where(code & 0x80, -size, size)
    return found


def _a_level(code: _Whole) -> _Whole:
    segment, step = (code & 0x70) >> 4, (code & 0x0F) << 4
    size = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
    # Unlike in µ-law, a set bit is a positive sample.
    found: _Whole = np.where(code & 0x80, size, -size)
    return found


@cache
def _codes(law: Law) -> _Bytes:
    """The code of each 16-bit sample, in the order of its bits read as an unsigned number."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    found = _mu_code(sample) if law == "mu" else _a_code(sample)
    return found.astype(np.uint8)


def _mu_code(sample: _Whole) -> _Whole:
    size = np.minimum(np.abs(sample), _CLIP) + _BIAS
    segment = _top_bit(size) - 7
    found: _Whole = (np.where(sample < 0, 0x80, 0) | (segment << 4) | ((size >> (segment + 3)) & 0x0F)) ^ 0xFF
    return found


def _a_code(sample: _Whole) -> _Whole:
    # A negative sample is the positive one of its complement, so that 0 and -1 are neighbours with one size.
    size = np.where(sample < 0, ~sample, sample)
    segment = np.maximum(_top_bit(size) - 7, 0)
    step = (size >> np.maximum(segment + 3, 4)) & 0x0F
    found: _Whole = (np.where(sample < 0, 0, 0x80) | (segment << 4) | step) ^ _EVEN
    return found


def _top_bit(size: _Whole) -> _Whole:
    """The number of each one's highest bit; -1 for 0."""
    return np.frexp(size.astype(np.float64))[1].astype(np.int32) - 1
