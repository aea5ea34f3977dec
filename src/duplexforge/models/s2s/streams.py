"""The two streams that an answer is said in: text, and the codec's books each a step behind the one before.

Book k of audio frame a is said at step ``a + lead + k`` (the *delay pattern*: a book is chosen when the ones before it of
its frame are known). The text stream has a word's pieces from the step at which the word begins in the sound, or later
where the word before is not done yet; as the sound is ``lead`` steps late, the text goes ahead of it. ``END`` stands where the
first book would say the frame after the last one: from there on each book falls silent in its turn. So nothing but the
text tells an end, in training as when the model runs by itself. Source of the pattern: Copet et al., 2023; of the text
beside the sound: Défossez et al., 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import END, PAD

__all__ = ["Ints", "delayed", "placed", "steps_of", "undelayed"]

Ints = npt.NDArray[np.int64]


def steps_of(shape: Shape, frames: int) -> int:
    """Steps of an answer of ``frames`` audio frames, to its last book."""
    return frames + shape.wait


def delayed(shape: Shape, tokens: npt.NDArray[np.integer]) -> Ints:
    """What is said at each step (steps × books) for ``tokens`` (frames × books); ``shape.none`` where nothing is due."""
    said = np.full((steps_of(shape, len(tokens)), shape.books), shape.none, np.int64)
    for book in range(shape.books):
        first = shape.lead + book
        said[first : first + len(tokens), book] = tokens[:, book]
    return said


def undelayed(shape: Shape, said: npt.NDArray[np.integer]) -> Ints:
    """The frames (frames × books) that are whole in ``said`` (steps × books)."""
    frames = max(len(said) - shape.wait, 0)
    columns = [said[shape.lead + book : shape.lead + book + frames, book] for book in range(shape.books)]
    return np.stack(columns, axis=1).astype(np.int64)


def placed(shape: Shape, words: Sequence[tuple[float, Sequence[int]]], frames: int) -> Ints:
    """The text stream (steps) beside ``frames`` of audio; ``words`` are (step at which it may begin, pieces).

    Pieces that find no room squeeze back. They must be no more than the steps before the end.
    """
    end = frames + shape.lead
    flat = [(max(round(start), 0), piece) for start, pieces in words for piece in pieces]
    at = np.zeros(len(flat), np.int64)
    free = 0
    for number, (start, _) in enumerate(flat):
        at[number] = max(start, free)
        free = int(at[number]) + 1
    # A short answer may end before its last pieces have had their turn: they move forward from the end.
    for number in range(len(flat)):
        at[number] = min(at[number], end - (len(flat) - number))
    stream = np.full(steps_of(shape, frames), PAD, np.int64)
    stream[at] = [piece for _, piece in flat]
    stream[end] = END
    return stream
