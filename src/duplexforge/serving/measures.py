"""What the engine counts: for Prometheus in ``duplexforge.metrics``, and as one snapshot for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from duplexforge import metrics
from duplexforge.serving.backends import Facts, Given
from duplexforge.serving.packets import Outcome

__all__ = ["Measures"]

_LATEST = 1024
"""Steps whose times are kept for the snapshot."""


class Measures:
    """The engine's counts since it began. Its own thread writes; a snapshot may be torn by one step, and nobody minds."""

    def __init__(self, facts: Facts, slots: int, now: float) -> None:
        self._facts, self._slots, self._began = facts, slots, now
        self._steps: deque[float] = deque(maxlen=_LATEST)
        self._batches: deque[int] = deque(maxlen=_LATEST)
        self.steps = self.late = self.failures = 0
        self.busy = self.heard = self.said = self.lagged = 0.0
        # Looked up once: a label costs more than its number.
        self._seconds = {what: metrics.SERVE_SECONDS.labels(what) for what in ("heard", "said", "lagged")}
        self.budget = facts.frame / facts.hears
        metrics.SERVE_BUDGET.set(self.budget)
        self.slots(0)

    def slots(self, taken: int) -> None:
        """So many slots are taken now."""
        self._taken = taken
        metrics.SERVE_SLOTS.labels("taken").set(taken)
        metrics.SERVE_SLOTS.labels("free").set(self._slots - taken)

    def step(self, given: Mapping[int, Given], made: Mapping[int, list[Outcome]], seconds: float) -> None:
        """A step took so long."""
        self.steps += 1
        self.busy += seconds
        self._steps.append(seconds)
        self._batches.append(len(given))
        heard = sum(len(one.frame.samples) for one in given.values() if one.frame is not None) / self._facts.hears
        said = sum(one.audio.seconds for some in made.values() for one in some if one.audio is not None)
        self.heard += heard
        self.said += said
        metrics.SERVE_STEP.observe(seconds)
        metrics.SERVE_BATCH.observe(len(given))
        self._seconds["heard"].inc(heard)
        self._seconds["said"].inc(said)

    def lag(self, seconds: float) -> None:
        """So much of a user's sound was left out."""
        self.lagged += seconds
        self._seconds["lagged"].inc(seconds)

    def behind(self) -> None:
        """A piece of an answer came later than it was to be heard."""
        self.late += 1
        metrics.SERVE_LATE.inc()

    def snapshot(self, now: float) -> dict[str, float | int]:
        """Everything in numbers; times in seconds."""
        times = np.asarray(self._steps or [0.0])
        half, most = np.percentile(times, [50, 99])
        return {
            "slots": self._slots,
            "slots_taken": self._taken,
            "steps": self.steps,
            "step_p50": round(float(half), 6),
            "step_p99": round(float(most), 6),
            "budget": self.budget,
            "batch_mean": round(float(np.mean(self._batches or [0])), 3),
            "heard": round(self.heard, 3),
            "said": round(self.said, 3),
            "lagged": round(self.lagged, 3),
            "late_frames": self.late,
            "answers_failed": self.failures,
            "load": round(self.busy / max(now - self._began, 1e-9), 6),
            "real_time_factor": round(self.busy / self.heard, 6) if self.heard else 0.0,
        }
