"""Backends that do what a test wants to see, and a clock that stands still until it is moved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np

from duplexforge.errors import UsageError
from duplexforge.serving.backends import Facts, Given, Manner
from duplexforge.serving.packets import AudioInput, AudioOutput, Outcome, ThoughtPacket

FRAME = 160
RATE = 2000
SECONDS = FRAME / RATE

Step = Callable[[Mapping[int, Given]], dict[int, list[Outcome]]]


def frame(number: int, samples: int = FRAME) -> AudioInput:
    """Frame ``number`` of a stream: its samples tell which it is."""
    return AudioInput(np.full(samples, number / 1000, np.float32), None, (number + 1) * SECONDS)


def numbers(heard: list[AudioInput]) -> list[int]:
    """Which frames they were."""
    return [round(float(one.samples[0]) * 1000) for one in heard]


def sound(seconds: float = SECONDS) -> AudioOutput:
    """A piece of an answer."""
    return AudioOutput(b"\0\0" * round(seconds * RATE), RATE)


class Stub:
    """Says ``pieces`` of ``SECONDS`` an answer and keeps what it was called with; ``doing`` replaces its step."""

    def __init__(self, pieces: int = 3, *, decides: bool = False, doing: Step | None = None) -> None:
        self.facts = Facts("stub", "none", hears=RATE, frame=FRAME, says=RATE, decides=decides, speakers=("a", "b"))
        self.pieces, self.doing = pieces, doing
        self.calls: list[tuple[object, ...]] = []
        self.heard: dict[int, list[AudioInput]] = {}
        self.batches: list[list[int]] = []
        self.left: dict[int, int] = {}
        self.answers: dict[int, int] = {}
        self.threads: set[int] = set()

    def load(self, slots: int) -> None:
        self._called("load", slots)

    def open(self, slot: int, manner: Manner) -> None:
        self._called("open", slot, manner.speaker)
        self.heard[slot], self.answers[slot] = [], 0
        self.left.pop(slot, None)
        if manner.prompt == "refuse":
            raise UsageError("it will not be opened so")

    def manner(self, slot: int, manner: Manner) -> None:
        self._called("manner", slot, manner.speaker)
        if manner.prompt == "refuse":
            raise UsageError("it has no such manner")

    def attend(self, slot: int, since: float) -> None:
        self._called("attend", slot, since)

    def begin(self, slot: int) -> None:
        self._called("begin", slot, len(self.heard[slot]))
        if self.pieces == 0:
            raise UsageError("it says nothing")
        self.left[slot] = self.pieces
        self.answers[slot] += 1

    def step(self, given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        self.threads.add(threading.get_ident())
        self.batches.append(sorted(given))
        for slot, one in given.items():
            if one.frame is not None:
                self.heard[slot].append(one.frame)
        if self.doing is not None:
            return self.doing(given)
        return {slot: self._made(slot, one) for slot, one in given.items()}

    def _made(self, slot: int, one: Given) -> list[Outcome]:
        made = [Outcome(ThoughtPacket(turn=0.5))] if one.frame is not None else []
        if one.speak and self.left.get(slot):
            self.left[slot] -= 1
            text = f"{self.answers[slot]}:{self.pieces - self.left[slot]}"
            made.append(Outcome(ThoughtPacket(text), sound(), ended=not self.left[slot]))
        return made

    def cancel(self, slot: int) -> None:
        self._called("cancel", slot)
        self.left.pop(slot, None)

    def close(self, slot: int) -> None:
        self._called("close", slot)

    def _called(self, *what: object) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(what)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
