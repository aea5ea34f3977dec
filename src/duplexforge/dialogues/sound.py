"""From espeak-ng's samples to the corpus' files: 16 kHz, silence cut, level set, noise added."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from duplexforge.dialogues.espeak import RATE as SPOKEN_RATE
from duplexforge.dialogues.espeak import Pcm

__all__ = ["RATE", "answer", "question", "resampled", "spoken_part"]

RATE = 16_000
"""Samples a second of the files."""

Wave = npt.NDArray[np.float32]

_QUIET = 0.01
_BEFORE, _AFTER = 0.05, 0.08
_ANSWER_LEVEL = 0.08
_MOST_LEAD, _TAIL = 0.25, 0.15
_BLOCK = 160
_PEAK = 0.98


def resampled(samples: Pcm) -> Wave:
    """What was spoken, at :data:`RATE`."""
    import soxr

    found: Wave = soxr.resample(samples.astype(np.float32) / 32768, SPOKEN_RATE, RATE, quality="VHQ")
    return found


def spoken_part(wave: Wave) -> tuple[int, int]:
    """First sample and end of what is above 1 % of the peak, with 50 ms before and 80 ms behind where there are so many."""
    loud = np.flatnonzero(np.abs(wave) > _QUIET * np.abs(wave).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    return max(first - round(_BEFORE * RATE), 0), min(last + round(_AFTER * RATE), len(wave))


def answer(wave: Wave, energy: float) -> tuple[Wave, int]:
    """An answer, cut, with an RMS of −22 dBFS times the ``energy`` of its emotion, and how many samples were cut before it."""
    first, end = spoken_part(wave)
    return _at_level(wave[first:end], _ANSWER_LEVEL * energy), first


def question(wave: Wave, level: float, noise: float | None, name: str) -> Wave:
    """A question, cut, at ``level`` dBFS, between silences, with pink noise so many dB below it. ``name`` seeds the rest."""
    # A silence of one length before every question would be learnt as part of it.
    random = np.random.default_rng(np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint32))
    first, end = spoken_part(wave)
    spoken = _at_level(wave[first:end], 10 ** (level / 20))
    lead = np.zeros(int(random.integers(0, round(_MOST_LEAD * RATE))), np.float32)
    whole = np.concatenate([lead, spoken, np.zeros(round(_TAIL * RATE), np.float32)])
    if noise is None:
        return whole
    noisy: Wave = np.clip(whole + _pink(len(whole), random) * np.float32(10 ** ((level - noise) / 20)), -_PEAK, _PEAK)
    return noisy


def _at_level(wave: Wave, level: float) -> Wave:
    """``wave`` with the RMS ``level`` over its 10 ms blocks that are not pauses, or as near as its peak allows."""
    # Pauses are left out, or a slow speaker would be made louder than a quick one.
    blocks = wave[: len(wave) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).astype(np.float64)
    power = (blocks**2).mean(axis=1)
    active = power[power > power.max() * 1e-3]
    gain = level / np.sqrt(active.mean())
    return (wave * np.float32(min(gain, _PEAK / np.abs(wave).max()))).astype(np.float32)


def _pink(count: int, random: np.random.Generator) -> Wave:
    """Noise of RMS 1 whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    # Flat below 20 bins: the lowest would outweigh all the others, and no microphone passes them.
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20))
    found = np.fft.irfft(spectrum, count)
    whole: Wave = (found / np.sqrt((found**2).mean())).astype(np.float32)
    return whole
