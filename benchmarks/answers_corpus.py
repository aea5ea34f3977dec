"""A folder of dialogues as `s2s_answers.py` reads it: pairs, which intent has which answer, and the true recordings."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from answers_heard import Recording, Shelf, sounds

from duplexforge.dialogues.pairs import Pair, read
from duplexforge.dialogues.report import measured
from duplexforge.models import audio_file
from duplexforge.models.s2s.features import RATE
from duplexforge.models.s2s.vocabulary import normal
from duplexforge.voices import EMOTIONS

__all__ = ["Corpus"]

Wave = npt.NDArray[np.float32]

TRIED = 2
"""Recordings of each answer that one is held against; more find no more."""


class Corpus:
    """A folder of dialogues: its pairs, and recordings on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.train, self.validation, self.unseen = (
            read(folder / f"{split}_pairs.json") for split in ("train", "validation", "unseen")
        )
        self.pitch = measured(folder)
        self.answers: dict[str, dict[str, str]] = {}
        """By language: the intent of each answer."""
        for pair in (*self.train, *self.validation):
            self.answers.setdefault(pair.language, {})[normal(pair.answer)] = pair.intent

    def wave(self, path: str) -> Wave:
        """The samples of a file."""
        return audio_file.read(self.folder / path, RATE)

    @cached_property
    def _laughs(self) -> dict[tuple[str, int], float]:
        """Seconds of the laugh before an answer by language and voice: one length for all of a voice's answers."""
        laughing = [pair for pair in self.train if EMOTIONS[pair.emotion_id] == "laugh" and pair.words]
        return {(pair.language, pair.speaker_id): pair.words[0].start for pair in laughing}

    def spoken(self, pair: Pair, wave: Wave) -> Wave:
        """``wave``, an answer as ``pair`` wants it, without the laugh."""
        if EMOTIONS[pair.emotion_id] != "laugh":
            return wave
        return wave[round(self._laughs.get((pair.language, pair.speaker_id), 0.0) * RATE) :]

    def shelves(self) -> dict[tuple[str, int], Shelf]:
        """All true answers by language and voice."""
        found: dict[tuple[str, int], list[Recording]] = {}
        pairs = {pair.target_path: pair for pair in (*self.train, *self.validation)}
        for path, pair in sorted(pairs.items()):
            heard = sounds(self.spoken(pair, self.wave(path)))
            one = Recording(path, normal(pair.answer), pair.emotion_id, heard)
            found.setdefault((pair.language, pair.speaker_id), []).append(one)
        return {key: Shelf(some, TRIED) for key, some in found.items()}
