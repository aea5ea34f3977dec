"""Voices as Gaussians over cepstra: how far apart two are, and the most likely sequence of voices in a stretch of
speech.

A voice is kept as sufficient statistics (count, sum, sum of outer products), so that joining two is an addition and a
day of audio needs no more room than a minute. The distance is Mahalanobis between the means under the pooled
covariance: with some ten seconds of speech each it separates speakers far better than the Bayesian information
criterion on full Gaussians does, whose penalty would have to be tuned to the amount of speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Frames", "Voice", "best_path", "distance"]

Frames = npt.NDArray[np.float64]

# Keeps the covariance of digitally clean synthetic speech invertible; cepstra have variances of 0.1 to 10.
_RIDGE = 1e-2


@dataclass(frozen=True)
class Voice:
    """Sufficient statistics of ``count`` frames of ``d`` cepstra: ``total`` (d,) and ``outer`` (d, d)."""

    count: int
    total: Frames
    outer: Frames

    @classmethod
    def of(cls, frames: Frames) -> Voice:
        """The voice of ``frames`` (n, d), n at least 1."""
        return cls(len(frames), frames.sum(axis=0), frames.T @ frames)

    def __add__(self, other: Voice) -> Voice:
        return Voice(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Frames:
        """Mean cepstra (d,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Frames:
        """Covariance (d, d), with a small ridge."""
        return self.outer / self.count - np.outer(self.mean, self.mean) + _RIDGE * np.eye(len(self.total))

    def log_likelihood(self, frames: Frames) -> Frames:
        """Log density of each frame (n,), up to a constant common to all voices."""
        factor = np.linalg.cholesky(self.covariance)
        whitened = np.linalg.solve(factor, (frames - self.mean).T)
        return np.asarray(-0.5 * np.square(whitened).sum(axis=0) - np.log(np.diag(factor)).sum())


def distance(one: Voice, other: Voice) -> float:
    """Squared Mahalanobis distance of the two means under the covariance of both voices pooled."""
    pooled = (one.covariance * one.count + other.covariance * other.count) / (one.count + other.count)
    apart = one.mean - other.mean
    return float(apart @ np.linalg.solve(pooled, apart))


def best_path(scores: Frames, costs: Sequence[float] | Frames) -> npt.NDArray[np.int64]:
    """Viterbi: the row of states (n,) that maximises the sum of ``scores`` (n, states) minus ``costs[t]`` for a
    change at ``t``.
    """
    steps, states = scores.shape
    back = np.zeros((steps, states), np.int64)
    stay = np.arange(states)
    value = scores[0].copy()
    for step in range(1, steps):
        best = int(value.argmax())
        change = value[best] - costs[step]
        keeps = value >= change
        back[step] = np.where(keeps, stay, best)
        value = np.where(keeps, value, change) + scores[step]
    path = np.zeros(steps, np.int64)
    path[-1] = value.argmax()
    for step in range(steps - 1, 0, -1):
        path[step - 1] = back[step, path[step]]
    return path
