"""Kaldi's log mel filter bank in numpy, as the AudioSet networks were trained on it.

25 ms symmetric Hann windows every 10 ms, each freed of its mean and pre-emphasised by itself, the power spectrum of 512
points under triangles on Kaldi's mel scale, natural logarithm. Source: ``torchaudio.compliance.kaldi.fbank`` with
``window_type="hanning"``; written out here because torchaudio does not load beside every torch.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from Emilia.recording import Audio

__all__ = ["HOP", "RATE", "WINDOW", "fbank"]

RATE = 16000
HOP = 160
WINDOW = 400
_FFT = 512
_LOWEST = 20.0
_EMPHASIS = np.float32(0.97)
# The smallest power that has a logarithm: what 32-bit numbers resolve at 1.0.
_FLOOR = np.float32(np.finfo(np.float32).eps)


def _mel(frequency: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(frequency) / 700.0))


@functools.cache
def _filters(bands: int) -> npt.NDArray[np.float32]:
    """Triangles (bins, bands), linear in mel; the bin at half the rate belongs to none, as in Kaldi."""
    low, high = _mel(_LOWEST), _mel(RATE / 2)
    edges = low + (high - low) / (bands + 1) * np.arange(bands + 2)
    bins = _mel(np.fft.rfftfreq(_FFT, 1 / RATE))[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    weights[-1] = 0.0
    return weights.astype(np.float32)


_TAPER = np.hanning(WINDOW).astype(np.float32)


def fbank(samples: Audio, bands: int = 128) -> npt.NDArray[np.float32]:
    """Log energies (frames, ``bands``) of 16 kHz ``samples``; frame ``i`` covers samples ``160 i`` to ``160 i + 400``.

    Incomplete frames are left out. A frame depends on its own samples alone, so those of a part are a part of those
    of the whole.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, bands), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    # The first sample has no predecessor inside its frame: it stands in for it itself.
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = rfft((frames - _EMPHASIS * before) * _TAPER, _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    energies: npt.NDArray[np.float32] = np.log(np.maximum(power @ _filters(bands), _FLOOR))
    return energies
