"""Chooses one of many by their logits: temperature, top-k and top-p, for each slot by its own generator. Numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.errors import UsageError

__all__ = ["GREEDY", "USUAL", "Sampling", "choose"]


@dataclass(frozen=True)
class Sampling:
    """How to choose. A temperature of 0 takes the likeliest; ``top_k`` 0 and ``top_p`` 1 leave nothing out."""

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UsageError("temperature and top_k must not be negative, top_p must lie in (0, 1]")


GREEDY = Sampling(temperature=0.0, top_k=0)
USUAL = Sampling(temperature=0.3, top_k=10)
"""For sound: warmer, fewer answers are understood by the recognisers of ``benchmarks/s2s_answers.py``."""


def choose(logits: npt.NDArray[np.float32], how: Sampling, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """One index for each row of ``logits`` (rows × n). Draws one number a row, whatever the settings."""
    # Drawn even when it is not needed: a change of one stream's settings then leaves the others' numbers as they were.
    drawn = random.random(len(logits))
    if how.temperature == 0:
        return np.asarray(logits.argmax(axis=1), np.int64)
    order = np.argsort(-logits, axis=1, kind="stable")
    if how.top_k:
        order = order[:, : how.top_k]
    ranked = np.take_along_axis(logits, order, axis=1).astype(np.float64) / how.temperature
    odds = np.exp(ranked - ranked[:, :1])
    odds /= odds.sum(axis=1, keepdims=True)
    # The likeliest ones that together reach top_p, the one that crosses it included.
    odds *= np.cumsum(odds, axis=1) - odds < how.top_p
    edges = np.cumsum(odds, axis=1)
    at = (edges < drawn[:, None] * edges[:, -1:]).sum(axis=1)
    return np.take_along_axis(order, np.minimum(at, order.shape[1] - 1)[:, None], axis=1)[:, 0]
