"""Sound from knots: harmonics of the pitch and shaped noise.

From knot to knot everything is drawn in straight lines: envelope and loudness in decibels each 10 ms, pitch in octaves.
Harmonics have the phases of the causal filter of least delay that has their sizes (McAulay and Quatieri, 1986), which keeps
the buzz of pulses without phase away. The noise is one and the same for every voice, so that a voice among others sounds
as it does alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from duplexforge.models.base_analysis import BANDS, BREATH_CENTRES, CENTRES, FLOOR_DB, GAINS, HOP, KNOT
from duplexforge.models.base_pitch import RATE, Floats

STEP = HOP // GAINS
"""Samples from one set of amplitudes to the next: 10 ms."""
_BINS = STEP + 1
_FREQUENCIES = np.fft.rfftfreq(2 * STEP, 1 / RATE)
_RISE = np.sin(np.pi * (np.arange(2 * STEP) + 0.5) / (2 * STEP))
_NOISE = 1 << 16
_GATE = 6.0
"""Above the floor by less than this, in dB, there is nothing to be heard."""


@cache
def spread() -> Floats:
    """The matrix (BANDS × bins) that draws lines between the envelope's points."""
    return np.stack([np.interp(_FREQUENCIES, CENTRES, row) for row in np.eye(BANDS)])


@cache
def breath_spread() -> Floats:
    """The matrix (BREATHS × BANDS) that does so for the shares of breath."""
    return np.stack([np.interp(CENTRES, BREATH_CENTRES, row) for row in np.eye(len(BREATH_CENTRES))])


@cache
def phases() -> Floats:
    """The matrix (BANDS × bins) from the envelope in dB to the phases of least delay, in radians."""
    size = 2 * STEP
    fold = np.zeros(size)
    fold[1 : size // 2] = 1
    fold[size // 2 + 1 :] = -1
    logs = spread() * (np.log(10) / 20)
    cepstrum = np.fft.irfft(logs, size, axis=1)
    return np.asarray(np.fft.rfft(cepstrum * fold, axis=1).imag, np.float64)


@cache
def noise() -> Floats:
    """White noise of mean square one, the same everywhere and always."""
    state = np.arange(1, _NOISE + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    unit = (state >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return np.asarray((unit - 0.5) * np.sqrt(12), np.float64)


@dataclass(frozen=True)
class Knots:
    """A frame as it is to sound: at each 10 ms the densities of harmonics and noise (GAINS × BANDS, dB), at each knot the
    pitch (2, Hz; 0: none).
    """

    harmonics: Floats
    breath: Floats
    pitches: Floats


SILENT = -200.0
"""Density (dB) of what is not there."""


@dataclass
class Voice:
    """Where one voice stands: what its last knot was, and what sounds on."""

    phase: float = 0.0
    pitch: float = 0.0
    harmonics: Floats = field(default_factory=lambda: np.full(BANDS, SILENT))
    tail: Floats = field(default_factory=lambda: np.zeros(STEP))
    steps: int = 0

    def sing(self, knots: Knots) -> Floats:
        """The next frame (HOP samples)."""
        return self._harmonics(knots) + self._noise(knots.breath)

    def pitch_line(self, pitches: Floats) -> Floats:
        """The pitch (HOP, Hz) of each sample after knots of ``pitches``; where one end has none, the other's is held."""
        parts = []
        before = self.pitch
        for pitch in pitches:
            first, second = before or pitch, pitch or before
            share = (np.arange(KNOT) + 1) / KNOT
            parts.append(first * (second / first) ** share if first else np.zeros(KNOT))
            before = float(pitch)
        return np.concatenate(parts)

    def _harmonics(self, knots: Knots) -> Floats:
        line = self.pitch_line(knots.pitches)
        self.pitch = float(knots.pitches[-1])
        before, self.harmonics = self.harmonics, knots.harmonics[-1]
        densities = np.concatenate([before[None], knots.harmonics])
        if not line.any() or densities.max() <= SILENT / 2:
            return np.zeros(HOP)
        turned = self.phase + 2 * np.pi * np.cumsum(line) / RATE
        self.phase = float(turned[-1] % (2 * np.pi))
        count = int(RATE / 2 / line[line > 0].min())
        angles = np.exp(1j * turned)[:, None]
        powers = np.cumprod(np.broadcast_to(angles, (HOP, count)), axis=1)
        out = np.zeros(HOP)
        fade = (np.arange(STEP) + 1) / STEP
        for step in range(GAINS):
            here = slice(step * STEP, (step + 1) * STEP)
            edges = (line[max(step * STEP - 1, 0)], line[(step + 1) * STEP - 1])
            sizes = np.stack(
                [_sizes(one, pitch, count) for one, pitch in zip(densities[step : step + 2], edges, strict=True)]
            )
            first, second = (powers[here] @ sizes.T).imag.T
            out[here] = first * (1 - fade) + second * fade
        return out

    def _noise(self, breath: Floats) -> Floats:
        gains = 10 ** (breath @ spread() / 20)
        starts = (self.steps + np.arange(GAINS)) * STEP % _NOISE
        self.steps += GAINS
        pieces = np.take(noise(), starts[:, None] + np.arange(2 * STEP), mode="wrap") * _RISE
        made = np.fft.irfft(np.fft.rfft(pieces, axis=1) * gains, axis=1) * _RISE
        heads = made[:, :STEP]
        tails = np.concatenate([self.tail[None], made[:-1, STEP:]])
        self.tail = made[-1, STEP:]
        return np.asarray((heads + tails).reshape(-1), np.float64)


def _sizes(density: Floats, pitch: float, count: int) -> Floats:
    """Size and phase (count, complex) of the harmonics of ``pitch`` under ``density``."""
    if not pitch or density.max() <= SILENT / 2:
        return np.zeros(count, np.complex128)
    frequencies = pitch * np.arange(1, count + 1)
    levels = np.interp(frequencies, CENTRES, density)
    angle = np.interp(frequencies, _FREQUENCIES, density @ phases())
    sizes = np.sqrt(2 * pitch / (RATE / 2)) * 10 ** (levels / 20)
    # A harmonic fades out below half the rate, beyond which it would come back as another tone.
    sizes *= np.clip((RATE / 2 - frequencies) / 200, 0, 1)
    return np.asarray(sizes * np.exp(1j * angle))


def audible(levels: Floats) -> Floats:
    """What is added (dB, 0 or less) so that the floor of the levels is silence."""
    rest = np.clip((levels - FLOOR_DB) / _GATE - 0.5, 0, 1)
    return np.asarray(20 * np.log10(np.maximum(rest, 1e-10)), np.float64)
