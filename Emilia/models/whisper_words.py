"""Times of words from Whisper's alignment of tokens with encoder positions.

The alignment (dynamic time warping over the attention of the model's alignment heads; github.com/openai/whisper,
``timing.py``) is a path of pairs token, position; a token begins where the path first meets it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from Emilia.recording import Word

__all__ = ["words_of"]

_POSITION = 0.02


def words_of(
    pieces: Sequence[str],
    counts: Sequence[int],
    path: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    seconds: float,
) -> list[Word]:
    """Words with times within ``seconds``, from pieces of text and the ``counts`` of their tokens.

    ``path`` has all tokens and the end mark after them, ``probabilities`` one value a token. A piece without letter or
    digit belongs to the word before it, or with a space in front to the one after it.
    """
    _, first = np.unique([token for token, _ in path], return_index=True)
    begins = [min(path[index][1] * _POSITION, seconds) for index in first]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    words = []
    for group in _grouped(pieces):
        low, high = int(bounds[group[0]]), int(bounds[group[-1] + 1])
        text = "".join(pieces[index] for index in group).strip()
        words.append(Word(begins[low], begins[high], text, float(np.mean(probabilities[low:high]))))
    return words


def _grouped(pieces: Sequence[str]) -> list[list[int]]:
    """Indices of the pieces that make up each word; every piece is in one of them."""
    groups: list[list[int]] = []
    opening: list[int] = []
    for index, piece in enumerate(pieces):
        if any(letter.isalnum() for letter in piece):
            groups.append([*opening, index])
            opening = []
        elif opening or piece.startswith(" ") or not groups:
            opening.append(index)
        else:
            groups[-1].append(index)
    if opening:
        groups[-1:] = [[*(groups[-1] if groups else []), *opening]]
    return groups
