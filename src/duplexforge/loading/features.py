"""Log-mel features of chunks, as Qwen3-Omni's feature extractor makes them of one chunk at a time, for many chunks at once.

It is Whisper's extractor with 128 mels: 25 ms windows every 10 ms, reflected at the edges, squared magnitudes, mels after
Slaney, log10, cut at 8 below the *chunk's* own peak. That peak is why a chunk alone differs from the same chunk out of a
longer recording; a model that hears 0.32 s at a time must be trained on chunks alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ConfigError
from duplexforge.framing import DuplexFormat

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RATE = 16_000
MELS = 128
WINDOW = 400
HOP = 160
# Slaney's scale: even up to 1 kHz, which is 15 mels, then 27 mels to each factor of 6.4.
_EVEN_HZ, _EVEN_MELS, _PER_MEL = 1000.0, 15.0, np.log(6.4) / 27.0
# Chunks that are transformed at once: more gains nothing, and their windows take 100 kB each.
_BLOCK = 64


def check(fmt: DuplexFormat) -> None:
    """ConfigError when the features cannot be made of a format's chunks."""
    if fmt.user_rate != RATE:
        raise ConfigError(f"the features are made at {RATE} Hz, and this data set's user track has {fmt.user_rate} Hz")
    if fmt.user_samples % HOP or fmt.user_samples <= WINDOW // 2:
        raise ConfigError(f"no features can be made of chunks of {fmt.user_samples} samples")


def log_mels(chunks: Floats) -> Floats:
    """Features float32[chunks, 128, frames] of user samples float32[chunks, samples] at 16 kHz, a frame each 160 samples."""
    parts = [_block(chunks[first : first + _BLOCK]) for first in range(0, len(chunks), _BLOCK)]
    frames = chunks.shape[1] // HOP
    return np.concatenate(parts) if parts else np.zeros((0, MELS, frames), dtype=np.float32)


def _block(chunks: Floats) -> Floats:
    edge = WINDOW // 2
    padded = np.pad(chunks.astype(np.float64), ((0, 0), (edge, edge)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=1)[:, ::HOP]
    # One window more fits in than there are frames; the extractor drops the last as well.
    spectrum = np.fft.rfft(windows[:, : chunks.shape[1] // HOP] * _window(), axis=2)
    power = spectrum.real**2 + spectrum.imag**2
    logs = np.log10(np.maximum(power @ mel_filters(), 1e-10))
    logs = np.maximum(logs, logs.max(axis=(1, 2), keepdims=True) - 8.0)
    features: Floats = np.ascontiguousarray(((logs + 4.0) / 4.0).transpose(0, 2, 1), dtype=np.float32)
    return features


@cache
def _window() -> Doubles:
    # Periodic, as a spectrogram wants it, and not symmetric, as numpy's own is.
    window: Doubles = np.hanning(WINDOW + 1)[:-1]
    return window


@cache
def mel_filters() -> Doubles:
    """Weights float64[201, 128]: triangles between neighbouring mels up to 8 kHz, each of the same area."""
    bins = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    corners = _hz(np.linspace(0.0, _mel(RATE / 2), MELS + 2))
    rising = (bins[:, None] - corners[None, :-2]) / np.diff(corners)[None, :-1]
    falling = (corners[None, 2:] - bins[:, None]) / np.diff(corners)[None, 1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Doubles = triangles * (2.0 / (corners[2:] - corners[:-2]))
    return filters


def _mel(hz: float) -> float:
    return float(_EVEN_MELS + np.log(hz / _EVEN_HZ) / _PER_MEL)


def _hz(mels: Doubles) -> Doubles:
    even = mels * (_EVEN_HZ / _EVEN_MELS)
    return np.where(mels < _EVEN_MELS, even, _EVEN_HZ * np.exp(_PER_MEL * (mels - _EVEN_MELS)))
