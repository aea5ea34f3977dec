"""Speech-like audio from a source and a filter, so that the tests need neither recordings nor a synthesiser.

A pulse train with a wandering pitch goes through four vowel resonances; syllables alternate with soft fricatives. The
voice activity network takes it for speech, and two throats (pitch and scale of the resonances) differ as two people
do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

RATE = 16000
_VOWELS = (
    (730, 1090, 2440, 3400),
    (270, 2290, 3010, 3700),
    (300, 870, 2240, 3300),
    (530, 1840, 2480, 3500),
    (570, 840, 2410, 3300),
)
_WIDTHS = (80, 100, 140, 200)


@dataclass(frozen=True)
class Throat:
    """Pitch in Hz and the factor on all resonances."""

    pitch: float
    scale: float


MAN = Throat(110.0, 0.92)
WOMAN = Throat(210.0, 1.15)


def speech(seconds: float, throat: Throat = MAN, seed: int = 0, rate: int = RATE) -> npt.NDArray[np.float32]:
    """``seconds`` of syllables, peak about 0.3."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * rate)
    pieces: list[npt.NDArray[np.float64]] = []
    length = 0
    while length < frames:
        syllable = _syllable(throat, rng, rate)
        pieces.append(syllable)
        length += len(syllable)
    sound = np.concatenate(pieces)[:frames]
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def _syllable(throat: Throat, rng: np.random.Generator, rate: int) -> npt.NDArray[np.float64]:
    frames = round(rng.uniform(0.12, 0.25) * rate)
    pitch = throat.pitch * rng.uniform(0.9, 1.15) * np.linspace(1.05, 0.92, frames)
    phase = np.cumsum(pitch / rate)
    source = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(frames)
    vowel = _VOWELS[rng.integers(len(_VOWELS))]
    for formant, width in zip(vowel, _WIDTHS, strict=True):
        radius = np.exp(-np.pi * width / rate)
        angle = 2 * np.pi * formant * throat.scale / rate
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    voiced = source / np.abs(source).max() * np.hanning(frames) ** 0.5
    hiss = np.diff(rng.standard_normal(round(rng.uniform(0.03, 0.07) * rate) + 1)) * 0.03
    return np.concatenate([hiss, voiced])


def silence(seconds: float, seed: int = 0, rate: int = RATE) -> npt.NDArray[np.float32]:
    """A quiet room."""
    return (1e-4 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def dialogue(turns: list[tuple[Throat, float]], pause: float = 0.5) -> npt.NDArray[np.float32]:
    """The turns (throat, seconds) one after the other with pauses between and around."""
    parts = [silence(pause)]
    for seed, (throat, seconds) in enumerate(turns):
        parts += [speech(seconds, throat, seed), silence(pause, seed)]
    return np.concatenate(parts)


def talk() -> npt.NDArray[np.float32]:
    """A man and a woman, four turns, 12 seconds."""
    return dialogue([(MAN, 3.5), (WOMAN, 3.0), (MAN, 2.0), (WOMAN, 1.0)])
