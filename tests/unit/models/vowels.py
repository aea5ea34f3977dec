"""A vowel that stands still: all harmonics of one pitch under three formants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE = 16_000
FORMANTS = ((600, 200, 1.0), (1400, 250, 0.5), (2600, 400, 0.3))
"""Middle and width in Hz, and height."""


def vowel(pitch: float, seconds: float, level: float = 0.1) -> npt.NDArray[np.float32]:
    """``seconds`` at 16 kHz, of root mean square ``level``; its ends fade over 20 ms."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros(len(time))
    for number in range(1, int(7000 / pitch)):
        height = sum(peak * np.exp(-(((number * pitch - at) / width) ** 2)) for at, width, peak in FORMANTS)
        wave += (height + 0.02) * np.sin(2 * np.pi * pitch * number * time + number**2 * 0.3)
    wave *= np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    return (wave * level / np.sqrt(np.mean(wave**2))).astype(np.float32)
