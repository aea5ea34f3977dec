"""What is measured, and how many times are summed up: median, high percentiles, the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duplexforge.errors import InputError

__all__ = ["MEASURES", "Measure", "Spread", "Times"]

Times = dict[str, list[float]]
"""Milliseconds (or ratios) by the name of what was measured."""


@dataclass(frozen=True)
class Measure:
    """One thing that is timed. ``start`` says when its clock starts and what it takes in."""

    title: str
    start: str
    goal: float | None = None
    """The 95th percentile has to stay below it."""
    unit: str = "ms"


@dataclass(frozen=True)
class Spread:
    """``n`` values in few numbers."""

    n: int
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of ``values``; percentiles lie between neighbours where there are few. InputError without any."""
        if not values:
            raise InputError("nothing was measured, so there is nothing to sum up")
        middle, high, higher = (float(one) for one in np.percentile(values, (50, 95, 99)))
        return cls(len(values), middle, high, higher, max(values))

    def to_json(self) -> dict[str, float]:
        """As it stands in the report; the worst is called ``max`` there."""
        figures = {"p50": self.p50, "p95": self.p95, "p99": self.p99, "max": self.most}
        return {"n": self.n} | {name: round(value, 4) for name, value in figures.items()}


MEASURES = {
    "first_text": Measure(
        "first text token",
        "from the last chunk of the user being handed in (16 kHz samples): features, encoder, decision, decoder, choice",
        goal=150.0,
    ),
    "first_audio": Measure(
        "first audio sample",
        "from the same moment to the samples of the first 40 ms: the delay pattern's steps and the base codec's decoder too",
    ),
    "answer": Measure("whole answer", "from the same moment to the answer's last sample, as fast as the machine can"),
    "hear": Measure("hear a chunk", "from a chunk's samples to the model's states: features and encoder"),
    "say": Measure("say a step", "one step of 40 ms: decoder and choice of its tokens"),
    "speak": Measure("say and decode a frame", "one step, and the base codec's decoder where it completes a frame"),
    "answer_rtf": Measure("answer, real-time factor", "seconds of work for a second of the answer", 1.0, unit="x"),
    "hear_rtf": Measure("hearing, real-time factor", "seconds of work for a second of the user", 1.0, unit="x"),
}
"""What is measured of the model, by its name in the report; the goals are for one processor core."""
