"""The small histograms that every ledger entry keeps, so that the card's plots never read the samples again.

A histogram is a list of counts of equal steps; the end bins take what is outside. Lists of different entries are added
up place by place, so steps and bounds may never change without a new field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Scale(NamedTuple):
    """Where a histogram begins, how wide a step is and how many there are."""

    low: float
    step: float
    bins: int

    def place(self, value: float) -> int:
        """The bin of a value."""
        # A hair is added so that a value on an edge falls above it whatever its binary rounding.
        return min(self.bins - 1, max(0, int((value - self.low) / self.step + 1e-9)))

    def edges(self) -> list[float]:
        """Lower edges of the bins."""
        return [self.low + self.step * number for number in range(self.bins)]

    def counts(self, values: Iterable[float]) -> list[int]:
        """The histogram of ``values``."""
        found = [0] * self.bins
        for value in values:
            found[self.place(value)] += 1
        return found

    def total(self, histograms: Iterable[Sequence[int]]) -> list[int]:
        """The sum of histograms; empty ones (of old entries) add nothing."""
        whole = [0] * self.bins
        for one in histograms:
            for number, count in enumerate(one[: self.bins]):
                whole[number] += count
        return whole


DURATIONS = Scale(0.0, 1.0, 31)
"""Seconds of a segment; the last bin takes 30 and longer."""
SCORES = Scale(1.0, 0.1, 40)
"""DNSMOS P.835 OVRL, 1 to 5."""
