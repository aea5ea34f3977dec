"""A made voice: harmonics of a gliding pitch under formants, breath between, pauses. Speech-like enough for the codec."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE = 16_000


def voice(seconds: float, seed: int = 0, loudness: float = 0.1) -> npt.NDArray[np.float32]:
    """``seconds`` of it at 16 kHz, with a root mean square of about ``loudness``."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 130 + 30 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros_like(time)
    for harmonic in range(1, 24):
        height = sum(np.exp(-(((harmonic * 140 - peak) / width) ** 2)) for peak, width in ((500, 250), (1500, 300)))
        sound += (height + 0.01) * np.sin(harmonic * phase + rng.uniform(0, 6))
    voiced = np.clip(1.5 * np.sin(2 * np.pi * 1.3 * time + rng.uniform(0, 6)), 0, 1)
    breath = rng.standard_normal(len(time)) * 0.02 * np.clip(np.sin(2 * np.pi * 2.1 * time), 0, 1)
    mixed = sound * voiced + breath
    power = np.sqrt(np.mean(mixed**2)) if len(mixed) else 1.0
    return (mixed * loudness / max(power, 1e-9)).astype(np.float32)
