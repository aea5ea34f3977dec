"""How well voices are told apart: all pairs of recordings, and the errors of deciding by their likeness who is the same.

Two kinds of error go against each other: taking two people for one, and one person for two. The equal error rate is where
both are as frequent; the detection cost weighs them as a doorkeeper would, to whom most people are strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError

__all__ = ["Trials", "detection_cost", "equal_error_rate", "pairs"]

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trials:
    """Pairs of recordings: how alike they are (n), and whether one speaks in both (n)."""

    scores: Floats
    same: Mask


def pairs(vectors: Floats, speakers: Sequence[str], files: Sequence[str], asked: Sequence[str] | None = None) -> Trials:
    """Every pair of ``vectors`` (n × width, of length 1) that is not of one file, which would be alike by its room alone.

    ``asked``: only pairs in which one of these speakers takes part; None: all.
    """
    one, other = np.triu_indices(len(vectors), 1)
    who, where = np.asarray(speakers), np.asarray(files)
    counts = where[one] != where[other]
    if asked is not None:
        counts &= np.isin(who[one], asked) | np.isin(who[other], asked)
    one, other = one[counts], other[counts]
    return Trials(np.einsum("nw,nw->n", vectors[one], vectors[other]), who[one] == who[other])


def equal_error_rate(trials: Trials) -> float:
    """The share of errors (0 to 1) at the threshold where both kinds are as frequent, on a line between two that are near."""
    false, missed = _errors(trials)
    # False alarms rise and misses fall from one threshold to the next: the difference goes from -1 to 1, and passes 0 once.
    apart = false - missed
    after = int(np.argmax(apart >= 0))
    before = after - 1
    part = -apart[before] / (apart[after] - apart[before])
    return float(false[before] + part * (false[after] - false[before]))


def detection_cost(trials: Trials, prior: float = 0.05) -> float:
    """Least cost over all thresholds when one pair in ``1 / prior`` is the same voice; 1 is what saying always no costs."""
    false, missed = _errors(trials)
    cost = (prior * missed + (1 - prior) * false) / min(prior, 1 - prior)
    return float(cost.min())


def _errors(trials: Trials) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of false alarms and of misses at every threshold, from one that nobody passes to one that all pass."""
    same, strange = int(trials.same.sum()), int((~trials.same).sum())
    if not same or not strange:
        raise InputError(f"{same} pairs of one voice and {strange} of two: both are wanted to tell errors")
    order = np.argsort(-trials.scores, kind="stable")
    scores, hits = trials.scores[order], trials.same[order]
    # Pairs that are exactly as alike pass together.
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    missed = 1 - np.concatenate([[0.0], np.cumsum(hits)[ends] / same])
    false = np.concatenate([[0.0], np.cumsum(~hits)[ends] / strange])
    return false, missed
