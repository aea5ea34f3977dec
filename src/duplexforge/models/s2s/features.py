"""What the model hears: the logarithm of 80 mel bands every 10 ms, four of them to a frame of 40 ms. Numpy alone.

A window of 25 ms *ends* with its 10 ms, so that a frame is whole with its last sample and nothing looks ahead. Before the first
sample there is silence. ``Hearing`` is the stream; :func:`log_mel` is the stream over a whole wave.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["BANDS", "FRAME", "HOP", "RATE", "SILENCE", "STACK", "WIDTH", "Hearing", "frames_of", "log_mel", "scaled"]

RATE = 16_000
HOP = 160
BANDS = 80
STACK = 4
FRAME = HOP * STACK
"""Samples of a frame."""
WIDTH = BANDS * STACK
"""Numbers of a frame."""
_WINDOW = 400
_FFT = 512
_LOWEST, _HIGHEST = 40.0, 7_600.0
_FLOOR = np.float32(1e-9)
SILENCE = float(np.log(_FLOOR))
"""The logarithm of a band in which there is nothing: 90 dB below full scale."""
# Speech at an ordinary level then has a mean near 0 and a spread near 1. Fixed, since a mean over what is to come is none.
_MIDDLE, _SPREAD = np.float32(-13.0), np.float32(3.5)

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def log_mel(wave: Floats) -> Floats:
    """Logarithms of mel power (n // 160 × 80) of ``wave`` (n samples, −1 to 1); what is left over at the end is dropped."""
    found: Floats = _bands(np.concatenate([np.zeros((1, _WINDOW - HOP), np.float32), wave[None]], axis=1))[0]
    return found


def scaled(logs: Floats) -> Floats:
    """Logarithms as the network takes them."""
    found: Floats = (logs - _MIDDLE) / _SPREAD
    return found


def frames_of(logs: Floats, *, multiple: int = 1) -> Floats:
    """Frames (n × 320) for the network of ``logs`` (m × 80), filled up with silence to a multiple of ``multiple`` frames."""
    missing = -len(logs) % (STACK * multiple)
    whole = np.concatenate([logs, np.full((missing, BANDS), SILENCE, np.float32)])
    return scaled(whole).reshape(-1, WIDTH)


class Hearing:
    """A stream of ``slots`` voices: samples in, frames for the network out. One clock for all slots."""

    def __init__(self, slots: int = 1) -> None:
        self._past = np.zeros((slots, _WINDOW - HOP), np.float32)

    def push(self, wave: Floats) -> Floats:
        """Take ``wave`` (slots × n) and return the frames (slots × m × 320) that are now whole; the rest waits."""
        self._past = np.concatenate([self._past, wave.astype(np.float32, copy=False)], axis=1)
        whole = (self._past.shape[1] - (_WINDOW - HOP)) // FRAME
        if not whole:
            return np.zeros((len(wave), 0, WIDTH), np.float32)
        logs = _bands(self._past[:, : _WINDOW - HOP + whole * FRAME])
        self._past = self._past[:, whole * FRAME :]
        return scaled(logs).reshape(len(wave), whole, WIDTH)

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` (None: all) afresh; the clock goes on, and what they had waiting counts as silence."""
        self._past[slice(None) if mask is None else mask] = 0


def _bands(wave: Floats) -> Floats:
    """Logarithms (slots × frames × 80) of every whole window of ``wave`` (slots × n)."""
    if wave.shape[1] < _WINDOW:
        return np.zeros((len(wave), 0, BANDS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW, axis=1)[:, ::HOP]
    spectrum = np.fft.rfft(windows * _taper(), _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    logs: Floats = np.log(np.maximum(power @ _filters(), _FLOOR))
    return logs


@functools.cache
def _taper() -> Floats:
    """Hann, scaled so that a full-scale sine has a power of 1/4 at its peak."""
    window = np.hanning(_WINDOW)
    taper: Floats = (window / window.sum()).astype(np.float32)
    return taper


def _mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


@functools.cache
def _filters() -> Floats:
    """Triangles (bins × bands), linear in mel."""
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), BANDS + 2)
    bins = _mel(np.fft.rfftfreq(_FFT, 1 / RATE))[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rise, fall))
    # The lowest triangles are narrower than a bin of 31 Hz: each takes the nearest bin then, so that none is deaf.
    nearest = np.abs(bins - edges[1:-1]).argmin(axis=0)
    weights[nearest, np.arange(BANDS)] = np.maximum(weights[nearest, np.arange(BANDS)], 1e-2)
    return weights.astype(np.float32)
