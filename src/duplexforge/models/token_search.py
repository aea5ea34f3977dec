"""Which codes the encoder of the mode token picks: of all sums of entries, those that are nearest, a few at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from duplexforge.models import envelope
from duplexforge.models.token_weights import Book, Floats, TokenWeights

BREADTH = 3
"""Sums that the search keeps from book to book."""

Codes = npt.NDArray[np.int64]


def search(model: TokenWeights, frame: Floats, weights: Floats, past: Floats, expected: Floats) -> tuple[Codes, Floats]:
    """The codes (books) of ``frame`` (hop) and what they decode to, given what is seen of the past (1 × 3·hop)
    and ``expected`` (hop).

    Book by book, the few sums that are nearest so far are kept: the entry that is best alone is often not the one that
    leaves the next books the most to do well. ``weights`` (hop) are those of the errors.
    """
    coded = expected[None]
    codes = np.zeros((1, 0), np.int64)
    error: Floats = np.asarray(((frame - coded) ** 2) @ weights, np.float32)
    for number, group in enumerate(model.groups):
        size = model.sizes(number, past, coded)
        for book in group:
            scaled = weights * size
            error, from_, index = _nearest(book, error, scaled * size, scaled * (frame - coded))
            size = size[from_]
            coded = coded[from_] + book.vectors[index] * size
            codes = np.concatenate([codes[from_], index[:, None]], axis=1)
    nearest = int(np.argmin(error))
    return codes[nearest], coded[nearest]


def loudness(model: TokenWeights, frames: Floats, coded: Floats) -> Codes:
    """The codes (one a frame) of the gains that make the ``coded`` frames of a packet as loud as the true ones."""
    gains, weights = (part[None] for part in envelope.wanted(frames, coded, model.bands))
    left, codes = gains, np.zeros((1, 0), np.int64)
    error = (weights * gains * gains).sum(axis=1)
    for book in model.gains:
        error, from_, index = _nearest(book, error, np.broadcast_to(weights, left.shape), weights * left)
        left = left[from_] - book.vectors[index]
        codes = np.concatenate([codes[from_], index[:, None]], axis=1)
    best: Codes = codes[int(np.argmin(error))]
    return best


def _nearest(book: Book, error: Floats, weights: Floats, weighted: Floats) -> tuple[Floats, Codes, Codes]:
    """Of all sums with an entry more, the best few: their error, which sum each goes on from, and by which entry."""
    costs = book.costs(weights, weighted)
    costs += error[:, None]
    flat = costs.reshape(-1)
    best = np.argpartition(flat, BREADTH)[:BREADTH] if len(flat) > BREADTH else np.arange(len(flat))
    block, from_, index = np.unravel_index(best, costs.shape)
    return flat[best], from_, block * costs.shape[2] + index
