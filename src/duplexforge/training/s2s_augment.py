"""How a question is made to sound otherwise, on the logarithms of its mel bands (n × 80): cheap, and without its wave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from duplexforge.models.s2s.features import BANDS
from duplexforge.training.recipe import Table

__all__ = ["PLAIN", "Augment", "masked", "noisy", "tilted", "warped"]

Floats = npt.NDArray[np.float32]


class Augment(Table):
    """``[model.augment]``: how much a question is changed. Zeros leave it as it is."""

    noise_db: tuple[float, float] = (-75.0, -45.0)
    """Level of the room's noise, drawn between these (decibels below full scale)."""
    noisy: float = Field(default=0.7, ge=0, le=1)
    """Share of questions with noise."""
    rate: float = Field(default=0.12, ge=0, lt=0.5)
    """Largest share by which it is spoken faster or slower."""
    bands: float = Field(default=2.0, ge=0)
    """Largest shift along the mel scale, in bands: a longer or shorter vocal tract."""
    tilt_db: float = Field(default=6.0, ge=0)
    """Largest difference that is made between the lowest and the highest band: voices and microphones."""
    masks: int = Field(default=2, ge=0)
    """Stretches of time and of bands that are wiped out, of each as many."""
    mask_bands: int = Field(default=12, ge=0, le=BANDS)
    mask_frames: int = Field(default=16, ge=0)
    """Longest stretch of time, in 10 ms."""
    said: float = Field(default=0.1, ge=0, le=1)
    """Share of audio tokens that are others when they come back in: the model must bear its own errors."""
    unheard: float = Field(default=0.1, ge=0, le=1)
    """Share of questions of which nothing is heard. No text follows from silence, so none is asked: it is given, and what the
    model learns there is to read a text aloud (``voices render``)."""


PLAIN = Augment(noise_db=(-90.0, -90.0), noisy=0.0, rate=0.0, bands=0.0, tilt_db=0.0, masks=0, said=0.0, unheard=0.0)
"""Nothing changed: for evaluation."""


def warped(logs: Floats, rate: float, shift: float) -> Floats:
    """``logs`` spoken ``rate`` times as fast and ``shift`` bands higher, by lines between the points."""
    if rate != 1:
        at = np.arange(0, len(logs) - 1, rate)
        low = at.astype(np.int64)
        part = (at - low).astype(np.float32)[:, None]
        logs = logs[low] * (1 - part) + logs[low + 1] * part
    if shift:
        at = np.clip(np.arange(BANDS) - shift, 0, BANDS - 1.001)
        low = at.astype(np.int64)
        share = (at - low).astype(np.float32)
        logs = logs[:, low] * (1 - share) + logs[:, low + 1] * share
    return logs


def tilted(logs: Floats, gain_db: float, tilt_db: float) -> Floats:
    """``logs`` louder by ``gain_db``, with as much as ``tilt_db`` between the lowest and the highest band."""
    change = gain_db + tilt_db * np.linspace(-0.5, 0.5, BANDS)
    found: Floats = logs + (np.log(10) / 10 * change).astype(np.float32)
    return found


def noisy(logs: Floats, augment: Augment, random: np.random.Generator) -> Floats:
    """``logs`` in a room's noise, or as they are."""
    if random.random() >= augment.noisy:
        return logs
    level = random.uniform(*augment.noise_db)
    # Between white and twice as steep as pink; powers of a noise's bands are spread like those of real ones.
    slope = np.linspace(0, random.uniform(-2.0, 0.5), BANDS)
    mean = np.exp(np.log(10) / 10 * level + slope) / 20
    power = mean * random.standard_exponential((len(logs), BANDS), dtype=np.float32)
    found: Floats = np.log(np.exp(logs) + power)
    return found


def masked(logs: Floats, until: int, augment: Augment, random: np.random.Generator) -> Floats:
    """``logs`` with stretches of time and of bands wiped out, before row ``until``."""
    logs = logs.copy()
    middle = logs.mean()
    for _ in range(augment.masks):
        width = int(random.integers(0, augment.mask_bands + 1))
        band = int(random.integers(0, BANDS - width + 1))
        logs[:until, band : band + width] = middle
        length = int(random.integers(0, augment.mask_frames + 1))
        start = int(random.integers(0, max(until - length, 0) + 1))
        logs[start : start + length] = middle
    return logs
