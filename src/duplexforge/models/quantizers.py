"""Residual vector quantisers: books of vectors, each of which codes what the books before it left over.

The search weighs every coefficient, so that the same books serve a plain and a perceptual error. What keeps a book healthy
is here too: a start by k-means, a count of how often each entry is taken, and a new place for the entries nobody takes
(Zeghidour et al., 2021; Dhariwal et al., 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 8192
"""Vectors that are compared with a book at a time: the table of distances stays in the cache's reach."""


def nearest(values: Tensor, weights: Tensor, book: Tensor) -> Tensor:
    """Index (n) of the entry of ``book`` (entries × dim) with the least weighted error to each of ``values`` (n × dim)."""
    squares = (book * book).T
    parts = [
        (weight @ squares - 2 * (value * weight) @ book.T).argmin(dim=1)
        for value, weight in zip(values.split(_BLOCK), weights.split(_BLOCK), strict=True)
    ]
    return torch.cat(parts)


def kmeans(values: Tensor, weights: Tensor, entries: int, rounds: int, generator: torch.Generator) -> Tensor:
    """A book of ``entries`` vectors (entries × dim) fitted to ``values`` by Lloyd's rounds under ``weights`` (both n × dim).

    It starts from values drawn by their weighted energy, so that loud frames, which make the error, get the most entries;
    an entry that nobody takes starts anew the same way.
    """
    energy = (weights * values * values).sum(dim=1) + 1e-12
    book = _drawn(values, energy, entries, generator)
    for _ in range(rounds):
        index = nearest(values, weights, book)
        sums = torch.zeros_like(book).index_add_(0, index, weights * values)
        mass = torch.zeros_like(book).index_add_(0, index, weights)
        book = sums / (mass + 1e-12)
        dead = torch.bincount(index, minlength=entries) < 2
        if dead.any():
            book[dead] = _drawn(values, energy, int(dead.sum()), generator)
    return book


def _drawn(values: Tensor, energy: Tensor, count: int, generator: torch.Generator) -> Tensor:
    # torch.multinomial takes at most 2^24 categories, far above what is ever fitted here.
    chosen = torch.multinomial(energy, count, replacement=len(values) < count, generator=generator)
    return values[chosen].clone()


class Books(torch.nn.Module):  # type: ignore[misc]
    """``count`` books of ``entries`` vectors of ``dim``: the parameters of a residual quantiser, and their use.

    ``used`` counts, fading by half every ``1/(1−fade)`` batches or so, how often each entry was taken.
    """

    used: Tensor

    def __init__(self, count: int, entries: int, dim: int, *, fade: float = 0.99) -> None:
        super().__init__()
        self.vectors = torch.nn.Parameter(torch.randn(count, entries, dim) * 0.1)
        self.register_buffer("used", torch.ones(count, entries))
        self.fade = fade

    def search(self, values: Tensor, weights: Tensor, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """Indices (n × depth) and the sum of the entries (n × dim; its gradient goes to the books) for ``values``."""
        found = []
        coded = torch.zeros_like(values)
        for book in self.vectors[:depth]:
            with torch.no_grad():
                index = nearest(values - coded, weights, book)
            coded = coded + book[index]
            found.append(index)
        return torch.stack(found, dim=1), coded

    def start(self, values: Tensor, weights: Tensor, rounds: int, generator: torch.Generator) -> Tensor:
        """Fit every book by k-means to what the ones before it leave; returns what is left in the end."""
        left = values
        with torch.no_grad():
            for number in range(len(self.vectors)):
                self.vectors[number] = kmeans(left, weights, self.vectors.shape[1], rounds, generator)
                left = left - self.vectors[number][nearest(left, weights, self.vectors[number])]
        return left

    def count(self, indices: Tensor) -> None:
        """Note the use of ``indices`` (n × depth), while training."""
        self.used.mul_(self.fade)
        for number, index in enumerate(indices.T):
            self.used[number] += torch.bincount(index, minlength=self.used.shape[1]) * (1 - self.fade)

    def restart(self, values: Tensor, weights: Tensor, least: float, generator: torch.Generator) -> int:
        """Give entries used less than ``least`` a new place among what is left of ``values`` there; returns how many."""
        moved = 0
        left = values
        with torch.no_grad():
            for number, book in enumerate(self.vectors):
                index = nearest(left, weights, book)
                dead = self.used[number] < least
                if dead.any():
                    energy = (weights * left * left).sum(dim=1) + 1e-12
                    book[dead] = _drawn(left, energy, int(dead.sum()), generator)
                    # Fresh entries are spared until they had a chance to be taken.
                    self.used[number][dead] = 1.0
                    moved += int(dead.sum())
                left = left - book[index]
        return moved

    def bits(self) -> list[float]:
        """The entropy of each book's use, in bits: ten when all of 1024 entries are taken equally often."""
        share = self.used / self.used.sum(dim=1, keepdim=True).clamp_min(1e-9)
        return [float(-(row * row.clamp_min(1e-12).log2()).sum()) for row in share]
