"""Reads a training folder that ``duplexforge data speech`` made: rows, and crops of them in an order that needs no memory.

Which crops a step sees follows from (seed, step) alone, so that a run which was killed sees the same ones when it goes on,
and several processes share one batch without talking to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duplexforge.errors import InputError

__all__ = ["MANIFEST", "RATE", "SPLITS", "Crop", "Speech", "SpeechRow", "generator"]

RATE = 16_000
MANIFEST = "manifest.jsonl"
SPLITS = ("train", "validation", "test")

Wave = npt.NDArray[np.float32]


class SpeechRow(BaseModel):
    """One line of the manifest: a FLAC file of one speaker, 16 kHz mono."""

    model_config = ConfigDict(frozen=True)

    path: str
    speaker: str
    split: str
    samples: int = Field(gt=0)
    sha256: str
    source: str = ""
    licence: str | None = None
    language: str = "unknown"
    synthetic: bool = False
    """Whether a machine spoke it."""
    label: int | None = None
    """The speaker's number, in a folder of ``duplexforge data speakers``."""
    weight: float = Field(default=1.0, gt=0)
    """How much likelier a second of it is to be drawn than one of weight 1."""


@dataclass(frozen=True)
class Crop:
    """Which part of which row, and by what factor its level is changed."""

    row: SpeechRow
    start: int
    samples: int
    gain: float = 1.0


def generator(seed: int, *place: int) -> np.random.Generator:
    """A generator that depends on the seed and the place in the run (step, purpose) and on nothing that came before."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *place])))


class Speech:
    """A training folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows = _rows(folder / MANIFEST)

    def of(self, split: str) -> list[SpeechRow]:
        """The rows of a split, in the manifest's order. InputError when there are none."""
        rows = [row for row in self.rows if row.split == split]
        if not rows:
            raise InputError(f"{self._folder / MANIFEST} has nothing in the split {split}")
        return rows

    def crops(self, rows: Sequence[SpeechRow], count: int, samples: int, random: np.random.Generator) -> list[Crop]:
        """``count`` crops drawn at random, each second of speech as likely as any other of its weight."""
        shares = np.array([row.samples * row.weight for row in rows], dtype=np.float64)
        chosen = random.choice(len(rows), size=count, p=shares / shares.sum())
        return [
            Crop(rows[index], int(random.integers(0, max(rows[index].samples - samples, 0) + 1)), samples)
            for index in chosen
        ]

    def read(self, crop: Crop) -> Wave:
        """The samples of ``crop``, filled up with zeros behind the end of the recording."""
        import soundfile as sf

        path = self._folder / crop.row.path
        try:
            found, rate = sf.read(path, frames=crop.samples, start=crop.start, dtype="float32")
        except (OSError, RuntimeError) as error:
            raise InputError(f"cannot read {path}, which the manifest names: {error}") from error
        if rate != RATE or found.ndim != 1:
            raise InputError(f"{path} is not mono at {RATE} Hz: make the folder anew with duplexforge data speech")
        wave = np.zeros(crop.samples, np.float32)
        wave[: len(found)] = found * np.float32(crop.gain)
        return wave


def _rows(path: Path) -> list[SpeechRow]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; duplexforge data speech makes such a folder"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(SpeechRow.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(f"{path}, line {number}: {first['msg']}") from error
    return rows
