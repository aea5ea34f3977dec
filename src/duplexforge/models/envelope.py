"""How loud the bands of a packet are to be: what the last code of every row says.

Books that are searched for the least squared error give too little wherever they know little, and the ear hears the holes.
So the codes of the wave are followed by others that say, for every band of a packet, by what factor what was decoded is to be
raised or lowered. A packet is about as long as the ear listens to at once; gains for each frame by itself would be dearer and
were heard to be worse. They change the sound and not the past that the next frames are expected from.
Needs numpy alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

PACKET = 320
"""Samples a packet."""
FLOOR = np.float32(1e-8)
"""Energy of a band that counts as silence."""
MOST = np.float32(3.0)
"""Largest factor that is ever asked for, as a natural logarithm of amplitude."""
LOUD = np.float32(0.3)
"""How much more a loud band counts than a quiet one: its error weighs as (energy)^LOUD."""


def edges(hop: int, bands: int) -> npt.NDArray[np.int64]:
    """The first coefficient of each band, and ``hop``: even steps on the mel scale, ``bands`` of them or fewer."""
    top = 2595 * np.log10(1 + 8000 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, bands + 1) / 2595) - 1)
    return np.unique(np.rint(hertz / 8000 * hop).astype(np.int64))


@cache
def members(hop: int, bands: int) -> Floats:
    """Which coefficient is in which band (bands × hop): 1 or 0."""
    limits = edges(hop, bands)
    at = np.arange(hop)
    return ((at >= limits[:-1, None]) & (at < limits[1:, None])).astype(np.float32)


def wanted(frames: Floats, coded: Floats, bands: int) -> tuple[Floats, Floats]:
    """The gains that make ``coded`` (frames of a packet × hop) as loud as ``frames``, and how much each counts (bands).

    A gain is the natural logarithm of a factor on the amplitude.
    """
    into = members(frames.shape[-1], bands).T
    energy, had = (np.square(part).mean(axis=0) @ into + FLOOR for part in (frames, coded))
    gains = np.float32(0.5) * np.log(energy / had)
    return np.asarray(np.clip(gains, -MOST, MOST), np.float32), np.asarray(energy**LOUD, np.float32)


def raised(coded: Floats, gains: Floats, bands: int) -> Floats:
    """``coded`` (frames × hop) with each band changed by its one of ``gains`` (bands)."""
    factors: Floats = np.exp(gains) @ members(coded.shape[-1], bands)
    return coded * factors
