"""Rate: an answer said faster or slower than the model says it, by leaving out or repeating audio frames.

The base codec's frames are coded one by one and its synthesis goes smoothly from each to the next, so that pitch and timbre
stay as they are while the time between them changes, in steps of 40 ms.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from duplexforge.errors import UsageError

__all__ = ["Pace"]

Ints = npt.NDArray[np.int64]


class Pace:
    """A stream of frames at ``rate`` (1: as they come; 1.25: four of five; 0.5: each twice)."""

    def __init__(self, rate: float = 1.0) -> None:
        if not 0.5 <= rate <= 2:
            raise UsageError(f"the rate must lie between 0.5 and 2, not at {rate}")
        self._rate = rate
        self._taken, self._given = 0, 0

    def push(self, frame: Ints) -> Iterator[Ints]:
        """Take the next frame (books); the frames to be heard now: none, it, or it again."""
        self._taken += 1
        # Counted from the start, so that no error of rounding adds up over a long answer.
        due = int(np.ceil(self._taken / self._rate - 1e-9))
        for _ in range(due - self._given):
            yield frame
        self._given = due
