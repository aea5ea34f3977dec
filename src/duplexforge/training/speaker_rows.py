"""Which recordings a speaker encoder learns from, which are kept to ask it, and how both come to it.

Of every speaker who is learned some files are kept back: whether the encoder knows them again is one question. Whether it tells
apart people whom it has never heard is another, which the speakers of the split ``validation`` are for.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from duplexforge.errors import InputError
from duplexforge.models.s2s.features import BANDS, log_mel
from duplexforge.models.speakers import heard
from duplexforge.training import s2s_augment
from duplexforge.training.recipe import Table
from duplexforge.training.speech import MANIFEST, Crop, Speech, SpeechRow

__all__ = ["Augment", "Voices", "can_be_told", "changed", "filled", "frames_of", "parted", "spread_crops"]

Floats = npt.NDArray[np.float32]


class Augment(Table):
    """``[model.augment]``: how much a crop is changed. Pitch and vocal tract are not: they are who speaks."""

    noise_db: tuple[float, float] = (-75.0, -45.0)
    """Level of the room's noise, drawn between these (decibels below full scale)."""
    noisy: float = Field(default=0.6, ge=0, le=1)
    """Share of crops with noise."""
    tilt_db: float = Field(default=6.0, ge=0)
    """Largest difference that is made between the lowest and the highest band: microphones."""
    masks: int = Field(default=1, ge=0)
    """Stretches of time and of bands that are wiped out, of each as many."""
    mask_bands: int = Field(default=10, ge=0, le=BANDS)
    mask_frames: int = Field(default=20, ge=0)
    """Longest stretch of time, in 10 ms."""


@dataclass(frozen=True)
class Voices:
    """Speakers in the order of their numbers; rows to learn from, rows of theirs that are kept, and rows of other people."""

    speakers: tuple[str, ...]
    learned: tuple[SpeechRow, ...]
    kept: tuple[SpeechRow, ...]
    strangers: tuple[SpeechRow, ...]

    def number(self, row: SpeechRow) -> int:
        """The place of the speaker of ``row`` among those who are learned."""
        return self.speakers.index(row.speaker)


def parted(speech: Speech, folder: Path, share: float, seed: int) -> Voices:
    """The rows of ``folder``, a ``share`` of each learned speaker's files kept back: one at least, but never all.

    InputError when no two speakers are learned, when rows have no labels, and when nothing could be asked of the encoder.
    """
    rows = speech.of("train")
    if any(row.label is None for row in rows):
        raise InputError(
            f"{folder / MANIFEST} gives its speakers no numbers: make the folder with duplexforge data speakers"
        )
    by_speaker = _by_speaker(rows)
    if len(by_speaker) < 2:
        raise InputError(
            f"a speaker encoder learns to tell voices apart, and {folder / MANIFEST} has {len(by_speaker)} in the split train"
        )
    kept: list[SpeechRow] = []
    for mine in by_speaker.values():
        # An order that names and seed alone decide, so that a second start keeps the same files.
        order = sorted(mine, key=lambda row: hashlib.sha256(f"{seed}/{row.path}".encode()).digest())
        kept += order[: min(max(1, round(share * len(mine))), len(mine) - 1)]
    strangers = tuple(row for row in speech.rows if row.split == "validation")
    if not kept and not can_be_told(strangers):
        raise InputError(
            f"every speaker of {folder / MANIFEST} has a single file, of which none can be kept back to score on: "
            "give speakers more files, or hold two out with --validation"
        )
    back = {row.path for row in kept}
    names = sorted(by_speaker, key=lambda name: (by_speaker[name][0].label or 0, name))
    return Voices(tuple(names), tuple(row for row in rows if row.path not in back), tuple(kept), strangers)


def can_be_told(rows: Iterable[SpeechRow]) -> bool:
    """Whether there are pairs of one voice in two files, and of two voices."""
    files = [len({row.path for row in mine}) for mine in _by_speaker(rows).values()]
    return len(files) > 1 and max(files) > 1


def spread_crops(rows: Sequence[SpeechRow], count: int, samples: int, random: np.random.Generator) -> list[Crop]:
    """``count`` crops of each speaker of ``rows``, over as many of their files as there are."""
    crops = []
    for mine in _by_speaker(rows).values():
        order = random.permutation(len(mine))
        for number in range(count):
            row = mine[order[number % len(mine)]]
            crops.append(Crop(row, int(random.integers(0, max(row.samples - samples, 0) + 1)), samples))
    return crops


def filled(speech: Speech, crop: Crop) -> Floats:
    """The samples of ``crop``; what is shorter is said again and again: silence behind it would be no one's voice."""
    length = min(crop.samples, crop.row.samples - crop.start)
    wave = speech.read(Crop(crop.row, crop.start, length, crop.gain))
    return np.resize(wave, crop.samples)


def frames_of(wave: Floats) -> Floats:
    """What the encoder hears (n × 80) of ``wave``."""
    return heard(log_mel(wave))


def changed(wave: Floats, shift: float, augment: Augment, random: np.random.Generator) -> Floats:
    """The same ``shift`` bands higher on the mel scale, and changed as ``augment`` says."""
    logs = s2s_augment.warped(log_mel(wave), 1.0, shift)
    told = {name: getattr(augment, name) for name in type(augment).model_fields}
    ways = s2s_augment.Augment(**told)
    logs = s2s_augment.tilted(logs, 0.0, float(random.uniform(-1, 1)) * augment.tilt_db)
    frames = heard(s2s_augment.noisy(logs, ways, random).astype(np.float32))
    # After the mean was taken off: what is wiped out is then as loud as the rest.
    return s2s_augment.masked(frames, len(frames), ways, random)


def _by_speaker(rows: Iterable[SpeechRow]) -> dict[str, list[SpeechRow]]:
    found: dict[str, list[SpeechRow]] = defaultdict(list)
    for row in rows:
        found[row.speaker].append(row)
    return found
