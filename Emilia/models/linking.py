"""Speakers that were found block by block, made one cast: who in this block is who in that one.

Each block names its own speakers and knows nothing of the others. They are linked by their embeddings: the two nearest
groups are joined, then the two nearest of what is left, and so on up to a cosine distance (agglomerative clustering by
centroids, each speaker weighing as much as he spoke). Two speakers of one block are two people and are never joined,
whatever they sound like. The result depends neither on the order of the speakers nor on how a block numbered them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from Emilia.recording import Turn

__all__ = ["Heard", "Vector", "blocks", "joined", "link", "voice"]

Vector = npt.NDArray[np.float64]


class Heard(NamedTuple):
    """A speaker of one block: its number, the seconds he spoke in it (above 0), and his embedding there.

    ``embedding`` is None when he spoke too little to be recognised again.
    """

    block: int
    seconds: float
    embedding: Vector | None


def blocks(frames: int, size: int) -> list[tuple[int, int]]:
    """First and last sample of blocks of ``size`` samples; a last one under a tenth of that joins the one before.

    A block never depends on what comes after the next one, so its turns are the same in a recording of any length.
    """
    if not frames:
        return []
    count = max(1, frames // size + (frames % size * 10 >= size))
    return [(size * n, size * (n + 1) if n + 1 < count else frames) for n in range(count)]


def link(heard: Sequence[Heard], limit: float) -> list[int]:
    """The person that each speaker is, numbered from 0 by first appearance in ``heard``.

    Groups are joined up to the cosine distance ``limit`` (0..2). Who has no embedding stays a person of his own: he
    spoke for moments only, and a guess by time would put another's name to them.
    """
    known = sorted((n for n, one in enumerate(heard) if _usable(one.embedding)), key=lambda n: _rank(heard[n]))
    owner = list(range(len(heard)))
    for left, right in _Groups([heard[n] for n in known]).join(limit):
        owner[known[right]] = known[left]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(_root(owner, n), len(numbers)) for n in range(len(heard))]


def voice(heard: Sequence[Heard]) -> Vector | None:
    """The embedding of one person: the mean over his blocks weighted by seconds; None when no block gave one."""
    ranked = sorted((one for one in heard if _usable(one.embedding)), key=_rank)
    if not ranked:
        return None
    return np.average([one.embedding for one in ranked], axis=0, weights=[one.seconds for one in ranked])


def joined(found: Sequence[Sequence[Turn]], starts: Sequence[float], edge: float) -> list[Turn]:
    """All turns of blocks that begin at ``starts`` (seconds), speakers already linked.

    A turn that ends within ``edge`` seconds of a border and one of the same speaker that begins as near to it on the
    other side are one turn.
    """
    turns: list[Turn] = []
    for start, block in zip(starts, found, strict=True):
        waiting = {turn.speaker: n for n, turn in enumerate(turns) if turn.end >= start - edge}
        for turn in sorted(block):
            before = waiting.pop(turn.speaker, None)
            if before is not None and turn.start <= start + edge:
                turns[before] = Turn(turns[before].start, turn.end, turn.speaker)
            else:
                turns.append(turn)
    return turns


def _usable(embedding: Vector | None) -> bool:
    # pyannote pads with zeros where it has fewer voices than simultaneous speakers.
    return embedding is not None and bool(np.isfinite(embedding).all() and np.linalg.norm(embedding) > 0)


def _rank(one: Heard) -> tuple[int, float, list[float]]:
    """Order that does not depend on names: sums in another order would differ in the last bits."""
    return one.block, -one.seconds, [] if one.embedding is None else one.embedding.tolist()


def _root(owner: Sequence[int], n: int) -> int:
    while owner[n] != n:
        n = owner[n]
    return n


class _Groups:
    """Groups of speakers, each with its weighted sum and the blocks it has somebody in; N² distances are kept."""

    def __init__(self, heard: Sequence[Heard]) -> None:
        self._sums = np.array([one.seconds * np.asarray(one.embedding, np.float64) for one in heard])
        self._blocks = np.array([[one.block == block for block in sorted({h.block for h in heard})] for one in heard])
        count = len(heard)
        self._apart = np.array([self._row(n) for n in range(count)]).reshape(count, count)
        self._gone = np.zeros(count, bool)

    def join(self, limit: float) -> list[tuple[int, int]]:
        """Join until nothing within ``limit`` is left; gives ``(kept, taken in)`` in the order it happened."""
        pairs: list[tuple[int, int]] = []
        count = len(self._apart)
        while count:
            # Both of a pair have the same distance: the first in the order of _rank is the one that is kept.
            left, right = sorted(divmod(int(self._apart.argmin()), count))
            if not self._apart[left, right] <= limit:
                break
            self._merge(left, right)
            pairs.append((left, right))
        return pairs

    def _merge(self, left: int, right: int) -> None:
        self._sums[left] += self._sums[right]
        self._blocks[left] |= self._blocks[right]
        self._gone[right] = True
        self._apart[right, :] = self._apart[:, right] = np.inf
        row = np.where(self._gone, np.inf, self._row(left))
        self._apart[left, :] = self._apart[:, left] = row

    def _row(self, n: int) -> Vector:
        """Cosine distances from group ``n`` to all; infinite to itself and where both have somebody in one block."""
        lengths = np.linalg.norm(self._sums, axis=1) * np.linalg.norm(self._sums[n])
        cosine = self._sums @ self._sums[n] / np.maximum(lengths, np.finfo(float).tiny)
        row: Vector = np.where((self._blocks & self._blocks[n]).any(axis=1), np.inf, 1.0 - cosine)
        return row
