"""What Whisper hears: log mel spectrograms in windows as long as the clip.

Source: github.com/openai/whisper, ``audio.py``: 25 ms Hann windows every 10 ms with reflected ends, Slaney mel filters,
the decimal logarithm limited to eight below the loudest value of the window, then ``(x + 4) / 4``. A clip is followed by
silence up to the end of its window. Frames of nothing but that silence are filled in, not computed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft

from Emilia.recording import Audio

__all__ = ["HOP", "LONGEST", "RATE", "Heard", "LogMel", "Spectrogram", "cut", "frames_of", "lengths", "shortest"]

Spectrogram = npt.NDArray[np.float32]

RATE = 16000
HOP = 160
LONGEST = 3000
"""Frames of 30 s, the longest window that the network takes."""

_SHORTEST = 100
_FFT = 400
# Eight positions after the encoder's stride of two: shapes that tensor cores take without padding.
_MULTIPLE = 16
_FLOOR = 1e-10


def frames_of(samples: int) -> int:
    """Frames of 10 ms that ``samples`` at 16 kHz reach into."""
    return -(-samples // HOP)


def lengths(step: float, mels: int) -> list[int]:
    """The windows there are, in frames, rising by the factor ``step`` (over 1) from 1 s to 30 s.

    CTranslate2 knows an encoder's output from a spectrogram only by its second dimension differing from ``mels``, so
    the one window that is ``mels`` positions long after the encoder is left out: it would be encoded twice.
    """
    found: list[int] = []
    wanted = float(_SHORTEST)
    while True:
        frames = -(-int(np.ceil(wanted)) // _MULTIPLE) * _MULTIPLE
        if frames == 2 * mels:
            frames += _MULTIPLE
        if frames >= LONGEST:
            return [*found, LONGEST]
        if not found or frames > found[-1]:
            found.append(frames)
        wanted = max(wanted * step, found[-1] + 1.0)


def shortest(windows: list[int], samples: int) -> int:
    """The shortest of the sorted ``windows`` (frames) that holds ``samples``."""
    return windows[bisect_left(windows, frames_of(samples))]


def cut(samples: int) -> list[int]:
    """Samples of the parts of a clip: one, or as many equal ones as 30 s windows are needed."""
    count = max(1, -(-samples // (LONGEST * HOP)))
    return [samples * (part + 1) // count - samples * part // count for part in range(count)]


class Heard(NamedTuple):
    """A clip as the network takes it: spectrograms of its parts (parts x bands x frames), each part's samples, and
    whether the clip is nothing but zeros.
    """

    parts: Spectrogram
    samples: list[int]
    silent: bool


class LogMel:
    """Spectrograms over ``filters`` (mel bands x 201 frequencies)."""

    def __init__(self, filters: npt.NDArray[np.float32]) -> None:
        self._filters = np.ascontiguousarray(filters.T, np.float32)
        self._taper = np.hanning(_FFT + 1)[:-1].astype(np.float32)

    def __call__(self, clip: Audio, frames: int) -> Spectrogram:
        """Bands x ``frames`` of ``clip`` (16 kHz), which must not be longer than that."""
        heard = np.zeros(frames * HOP, np.float32)
        heard[: len(clip)] = clip
        heard = np.pad(heard, _FFT // 2, mode="reflect")
        # The first frame that begins behind the clip, and all after it, hear nothing.
        count = min(frames, frames_of(len(clip) + _FFT // 2)) if len(clip) else 0
        spectrum = rfft(sliding_window_view(heard, _FFT)[::HOP][:count] * self._taper)
        power = (spectrum.real**2 + spectrum.imag**2) @ self._filters
        levels = np.log10(np.maximum(power, np.float32(_FLOOR)))
        silent = np.float32(np.log10(_FLOOR))
        least = max(silent, levels.max(initial=silent) - np.float32(8.0))
        filled = np.full((self._filters.shape[1], frames), least, np.float32)
        filled[:, :count] = np.maximum(levels, least).T
        return (filled + np.float32(4.0)) / np.float32(4.0)

    def heard(self, clip: Audio, frames: int) -> Heard:
        """All of ``clip``, in parts that fit windows of ``frames``."""
        samples = cut(len(clip))
        ends = np.cumsum(samples).tolist()
        parts = [self(clip[end - count : end], frames) for end, count in zip(ends, samples, strict=True)]
        return Heard(np.stack(parts), samples, not clip.any())
