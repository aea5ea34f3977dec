"""The pitch of speech, measured on its samples: what shows that a voice speaks where its table says.

Normalised autocorrelation, frame by frame. The shortest period that comes close to the best one wins, or a voice would be
heard an octave too low.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["contour", "median_pitch"]

Wave = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

LOWEST, HIGHEST = 60.0, 420.0
"""Between these two (Hz) pitch is looked for."""
_WINDOW, _HOP = 0.04, 0.02
_VOICED = 0.6
_NEAR_BEST = 0.88
_QUIET = 0.1


def contour(wave: Wave, rate: int) -> Floats:
    """The pitch (Hz) every 20 ms; NaN where there is no voice."""
    size, hop = round(_WINDOW * rate), round(_HOP * rate)
    longest = int(rate / LOWEST)
    if len(wave) < size + longest:
        return np.zeros(0)
    starts = np.arange(0, len(wave) - size - longest, hop)
    # A window and the same window a period later, so that long periods are not weaker for their overlap.
    spans = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), size + longest)[starts]
    width = 1 << int(np.ceil(np.log2(2 * size + longest)))
    ahead = np.fft.rfft(spans, width) * np.conj(np.fft.rfft(spans[:, :size], width))
    products = np.fft.irfft(ahead, width)[:, : longest + 1]
    squares = np.cumsum(np.pad(spans**2, ((0, 0), (1, 0))), axis=1)
    energy = squares[:, size:] - squares[:, :-size]
    level = energy[:, 0]
    likeness = products / np.sqrt(np.maximum(level[:, None] * energy, 1e-12))
    loud = level > (_QUIET**2) * np.percentile(level, 95)
    return np.array([_pitch(row, rate) if on else np.nan for row, on in zip(likeness, loud, strict=True)])


def median_pitch(wave: Wave, rate: int) -> float:
    """The median of the voiced frames (Hz); NaN where nothing is voiced."""
    found = contour(wave, rate)
    found = found[~np.isnan(found)]
    return float(np.median(found)) if len(found) else float("nan")


def _pitch(likeness: Floats, rate: int) -> float:
    shortest = int(rate / HIGHEST)
    inner = likeness[shortest:-1]
    peaks = np.flatnonzero((inner > likeness[shortest - 1 : -2]) & (inner >= likeness[shortest + 1 :])) + shortest
    if not len(peaks) or likeness[peaks].max() < _VOICED:
        return float("nan")
    lag = int(peaks[likeness[peaks] >= _NEAR_BEST * likeness[peaks].max()][0])
    # A parabola through the peak and its neighbours: at 16 kHz and 220 Hz a whole sample is 1.4 %.
    left, middle, right = likeness[lag - 1 : lag + 2]
    bend = left - 2 * middle + right
    return float(rate / (lag + (0.5 * (left - right) / bend if bend else 0.0)))
