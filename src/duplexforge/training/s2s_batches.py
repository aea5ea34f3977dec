"""Pairs as tensors: which ones a step sees, how a question is made to sound otherwise, and what is asked of each step.

Everything random follows from (seed, step, row), so that a resumed run and every number of processes see the same. A
question gets a pause before and after it, as a stream has them. In some batches the silence of the room goes on through the
answer, in the others nothing more is heard, as when a turn is handed over whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from duplexforge.models.s2s.features import SILENCE, STACK, WIDTH, scaled
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.streams import delayed, placed, steps_of
from duplexforge.models.s2s.vocabulary import START, Vocabulary, normal
from duplexforge.training.s2s_augment import PLAIN, Augment, masked, noisy, tilted, warped
from duplexforge.training.s2s_pairs import Pair, Prepared

__all__ = ["IGNORED", "Batch", "Letters", "Rows", "order"]

IGNORED = -100
# A frame that is this much louder than the floor of its question holds speech (natural logarithm of power).
_SPEECH = 4.0

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Letters:
    """The characters that the encoder is taught to tell, by number from 1 on; 0 is CTC's blank."""

    known: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Letters:
        """Those of the pairs' questions."""
        return cls(tuple(sorted({letter for pair in pairs for letter in _spelt(pair.question)})))

    def __len__(self) -> int:
        return len(self.known) + 1

    def numbers(self, question: str) -> list[int]:
        """The characters of a question that are known."""
        return [self.known.index(letter) + 1 for letter in _spelt(question) if letter in self.known]


@dataclass(frozen=True)
class Batch:
    """Rows of a step. ``text`` and ``audio`` are as said one step before, their labels as they are to be said."""

    frames: Tensor
    """batch × frames × 320"""
    seen: Tensor
    """bool, batch × steps × frames"""
    text: Tensor
    audio: Tensor
    text_labels: Tensor
    """batch × steps, −100 where nothing is asked"""
    audio_labels: Tensor
    """batch × steps × books"""
    turns: Tensor
    """float, batch × frames: 1 where the question is over, 0 where it is not, −100 where it is not asked"""
    speaker: Tensor
    emotion: Tensor
    letters: Tensor
    """batch × longest, characters of the question"""
    letter_counts: Tensor
    frame_counts: Tensor
    """Frames at the decision."""

    def to(self, device: str) -> Batch:
        """The same on ``device``."""
        return replace(self, **{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    def parts(self, count: int) -> list[Batch]:
        """In ``count`` parts of about the same size."""
        chunks = [getattr(self, one.name).chunk(count) for one in fields(self)]
        return [Batch(*rows) for rows in zip(*chunks, strict=True)]


def order(lengths: Sequence[int], batch: int, random: np.random.Generator, *, pool: int = 20) -> list[Ints]:
    """The rows of every batch of one pass: all rows once, alike in length within a batch, in random order.

    ``pool`` batches are drawn at random, then sorted: batches differ from pass to pass. A last one that is not full is left
    out of this pass, unless it is the only one.
    """
    shuffled = random.permutation(len(lengths))
    batches: list[Ints] = []
    for at in range(0, len(shuffled), batch * pool):
        rows = shuffled[at : at + batch * pool]
        rows = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")]
        batches += [rows[start : start + batch] for start in range(0, len(rows), batch)]
    whole = [rows for rows in batches if len(rows) == batch] or batches[:1]
    return [whole[number] for number in random.permutation(len(whole))]


@dataclass(frozen=True)
class _Row:
    frames: Floats
    decided: int
    ended: int
    """Frame after which the question is over."""
    text: Ints
    audio: Ints
    heard_back: Ints
    pair: Pair
    unheard: bool


class Rows:
    """Makes rows and batches of pairs."""

    def __init__(
        self,
        shape: Shape,
        prepared: Prepared,
        vocabulary: Vocabulary,
        letters: Letters,
        *,
        placing: Literal["words", "early"],
    ) -> None:
        self._shape, self._prepared, self._vocabulary = shape, prepared, vocabulary
        self._letters, self._placing = letters, placing

    def fits(self, pair: Pair) -> bool:
        """Whether the pair has room in the model's memory and cache."""
        frames = len(self._prepared.said(pair))
        pieces = sum(len(self._vocabulary.word(normal(word))) for _, word in pair.timed)
        room = steps_of(self._shape, frames) <= self._shape.steps and self.length(pair) <= self._shape.memory
        return room and pieces <= frames + self._shape.lead

    def length(self, pair: Pair) -> int:
        """About how many frames the pair takes."""
        return len(self._prepared.heard(pair)) // STACK + len(self._prepared.said(pair))

    def question(
        self, pair: Pair, augment: Augment, gain_db: tuple[float, float], random: np.random.Generator
    ) -> Floats:
        """The question's logarithms (n × 80) as they are heard: changed, with pauses round it."""
        logs = self._prepared.heard(pair)
        logs = warped(logs, 1 + random.uniform(-augment.rate, augment.rate), random.uniform(-1, 1) * augment.bands)
        logs = tilted(logs, random.uniform(*gain_db), random.uniform(-1, 1) * augment.tilt_db)
        before, after = int(random.integers(0, 60)), int(random.integers(16, 50))
        logs = np.pad(logs, ((before, after), (0, 0)), constant_values=SILENCE)
        return np.maximum(logs, np.float32(SILENCE))

    def text(self, pair: Pair) -> Ints:
        """The text stream of the answer."""
        early = self._placing == "early"
        words = [(0.0 if early else start * 25, self._vocabulary.word(normal(word))) for start, word in pair.timed]
        return placed(self._shape, words, len(self._prepared.said(pair)))

    def batch(
        self,
        pairs: Sequence[Pair],
        randoms: Sequence[np.random.Generator],
        *,
        augment: Augment = PLAIN,
        gain_db: tuple[float, float] = (0.0, 0.0),
        goes_on: bool = False,
    ) -> Batch:
        """The pairs as one batch; ``randoms`` are one generator a row. ``goes_on``: the user is heard during the answer too."""
        each = zip(pairs, randoms, strict=True)
        return self._stacked([self._row(pair, augment, gain_db, random, goes_on) for pair, random in each])

    def _row(
        self, pair: Pair, augment: Augment, gain_db: tuple[float, float], random: np.random.Generator, goes_on: bool
    ) -> _Row:
        shape = self._shape
        logs = self.question(pair, augment, gain_db, random)
        ended = _end(logs)
        unheard = bool(random.random() < augment.unheard)
        if unheard:
            logs = np.full_like(logs, SILENCE)
        missing = -len(logs) % (STACK * shape.chunk)
        decided = (len(logs) + missing) // STACK
        said = delayed(shape, self._prepared.said(pair).astype(np.int64))
        later = int(shape.heard(decided, len(said))[-1] - decided) if goes_on else 0
        logs = np.pad(logs, ((0, missing + later * STACK), (0, 0)), constant_values=SILENCE)
        logs = noisy(logs, augment, random)
        logs = masked(logs, decided * STACK, augment, random)
        wrong = random.random(said.shape) < augment.said
        others = random.integers(0, shape.entries, said.shape)
        back = np.where(wrong & (said != shape.none), others, said)
        return _Row(scaled(logs).reshape(-1, WIDTH), decided, ended, self.text(pair), said, back, pair, unheard)

    def _stacked(self, rows: Sequence[_Row]) -> Batch:
        shape, count = self._shape, len(rows)
        frames = _rounded(max(len(row.frames) for row in rows))
        steps = _rounded(max(len(row.text) for row in rows))
        letters = [[] if row.unheard else self._letters.numbers(row.pair.question) for row in rows]
        heard = np.zeros((count, frames, WIDTH), np.float32)
        seen = np.zeros((count, steps, frames), np.bool_)
        text, text_labels = np.full((count, steps), START), np.full((count, steps), IGNORED)
        audio = np.full((count, steps, shape.books), shape.none)
        audio_labels = np.full((count, steps, shape.books), IGNORED)
        turns = np.full((count, frames), float(IGNORED), np.float32)
        spelt = np.zeros((count, max(1, *map(len, letters))), np.int64)
        times = np.arange(frames)
        for number, row in enumerate(rows):
            last = np.minimum(shape.heard(row.decided, steps), len(row.frames))[:, None]
            heard[number, : len(row.frames)] = row.frames
            seen[number] = (times < last) & (times >= last - shape.memory)
            text[number, 1 : len(row.text)] = row.text[:-1]
            # Behind the end nothing is asked of the text: nobody chooses it there.
            asked = 0 if row.unheard else len(row.text) - shape.books + 2
            text_labels[number, :asked] = row.text[:asked]
            audio[number, 1 : len(row.text)] = row.heard_back[:-1]
            audio_labels[number, : len(row.text)] = np.where(row.audio == shape.none, IGNORED, row.audio)
            if not row.unheard:
                turns[number, : row.ended] = 0
                # Some frames after the last sound nobody can tell yet: neither answer is taught there.
                turns[number, row.ended + 4 : row.decided] = 1
            spelt[number, : len(letters[number])] = letters[number]
        numbers = ([row.pair.speaker_id for row in rows], [row.pair.emotion_id for row in rows])
        counts = ([len(one) for one in letters], [row.decided for row in rows])
        arrays = (heard, seen, text, audio, text_labels, audio_labels, turns, *numbers, spelt, *counts)
        return Batch(*(torch.as_tensor(np.asarray(array)) for array in arrays))


def _rounded(length: int) -> int:
    # Few different sizes: libraries keep what they prepared for each one.
    return -(-length // 8) * 8


def _spelt(question: str) -> str:
    return "".join(
        letter for letter in normal(question).casefold() if letter.isalnum() or letter in " '" or ord(letter) > 127
    )


def _end(logs: Floats) -> int:
    """The frame after the last one that holds speech."""
    loud = logs.max(axis=1)
    speech = np.flatnonzero(loud > max(SILENCE, float(np.percentile(loud, 95)) - 12) + _SPEECH)
    return int(speech[-1]) // STACK + 1 if len(speech) else 0
