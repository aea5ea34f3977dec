"""What the tests of the latency measurement share: a clock that ticks by itself, small models, a report."""

from __future__ import annotations

from dataclasses import replace

from duplexforge.latency.report import Machine, Model, Report
from duplexforge.latency.turn import Turn
from duplexforge.models import base
from duplexforge.models.s2s.opening import Opened
from duplexforge.models.s2s.vocabulary import Vocabulary
from tests.unit.models.s2s_made import SMALL, Scripted

CODEC = base.open_mode("base")
SPOKEN = replace(SMALL, books=CODEC.books, entries=CODEC.entries)
"""A shape that speaks the base codec."""
MACHINE = Machine("a processor", 2, 1, 1, 0.5, "3.11", 0.9)


class Ticking:
    """A clock that goes on by one second each time that it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def scripted(pieces: tuple[int, ...] = (5, 6), frames: int = 3) -> Opened:
    """A model that says ``pieces`` and ends after ``frames``."""
    vocabulary = Vocabulary(tuple(f"▁{number}" for number in range(SPOKEN.vocabulary - 4)), ())
    return Opened(Scripted(SPOKEN, 1, pieces, frames), vocabulary, CODEC)


def report(*, random: bool = True, turns: list[Turn] | None = None, clock: str = "wall") -> Report:
    """A report of two turns, by hand."""
    times = {"first_text": [10.0], "first_audio": [30.0], "hear": [1.0, 2.0], "say": [2.0, 4.0], "hear_rtf": [0.1]}
    made = [Turn("one", 0.4, True, times), Turn("", 0.4, False, {"say": [6.0], "first_text": [200.0]})]
    model = Model("s2s.safetensors", random, "plain", "cpu", SPOKEN)
    return Report(
        model, MACHINE, clock, "q.wav", 1.5, made if turns is None else turns, {"base_encode_20ms": [1.0, 2.0, 30.0]}
    )
