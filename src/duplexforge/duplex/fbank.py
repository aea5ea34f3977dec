"""Kaldi's log mel filter bank in numpy, as speaker networks were trained on it.

25 ms windows every 10 ms, each freed of its mean and pre-emphasised by itself, the power spectrum of 512 points under 80
triangles on Kaldi's mel scale from 20 Hz, natural logarithm. Source: Kaldi's ``compute-fbank-feats`` without dither, as
``torchaudio.compliance.kaldi.fbank`` states it; written out because neither torch nor scipy belongs to this command.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BANDS", "HOP", "RATE", "WINDOW", "Taper", "fbank"]

Taper = Literal["hamming", "povey"]

RATE = 16_000
HOP = 160
WINDOW = 400
BANDS = 80
_FFT = 512
_LOWEST = 20.0
_EMPHASIS = np.float32(0.97)
# The smallest energy that has a logarithm: what 32-bit numbers resolve at 1.0.
_FLOOR = np.float32(np.finfo(np.float32).eps)


def fbank(samples: npt.NDArray[np.float32], taper: Taper) -> npt.NDArray[np.float32]:
    """Log energies float32[frames, 80] of 16 kHz ``samples``; frame ``i`` covers samples ``160 i`` to ``160 i + 400``.

    Incomplete frames are left out.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32, copy=False), WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    # The first sample has no predecessor inside its frame: it stands in for it itself.
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - _EMPHASIS * before) * _taper(taper), _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    energies: npt.NDArray[np.float32] = np.log(np.maximum(power @ _filters(), _FLOOR))
    return energies


@functools.cache
def _taper(name: Taper) -> npt.NDArray[np.float32]:
    """Hamming, or Povey's: Hann to the power of 0.85, which goes to zero at the edges and is narrower inside."""
    window = np.hamming(WINDOW) if name == "hamming" else np.hanning(WINDOW) ** 0.85
    return window.astype(np.float32)


def _mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


@functools.cache
def _filters() -> npt.NDArray[np.float32]:
    """Triangles (bins, bands), linear in mel; the bin at half the rate belongs to none, as in Kaldi."""
    low, high = _mel(_LOWEST), _mel(RATE / 2)
    edges = low + (high - low) / (BANDS + 1) * np.arange(BANDS + 2)
    bins = _mel(np.fft.rfftfreq(_FFT, 1 / RATE))[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights[-1] = 0.0
    return weights.astype(np.float32)
