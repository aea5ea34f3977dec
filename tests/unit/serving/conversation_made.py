"""An engine that does nothing by itself, an event loop whose time passes at once, and sound that is speech or is none."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr

from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.backends.manners import check
from duplexforge.serving.events import Event, Failed, Lagged
from duplexforge.serving.limits import Full
from duplexforge.serving.packets import AudioInput, AudioOutput, Floats, Outcome, ThoughtPacket

RATE = 16_000
DEMO = Path(__file__).parents[3] / "examples" / "demo" / "novel.flac"
SPEECH = (24.35, 27.2)
"""Where, in seconds of the recording, one sentence begins and ends; there is no pause in it."""


class MadeEngine:
    """The engine's side towards a conversation; a test says what the model makes."""

    def __init__(self, slots: int = 1, **facts: Any) -> None:
        told: dict[str, Any] = {
            "hears": RATE,
            "frame": 1280,
            "says": RATE,
            "speakers": ("a", "b"),
            "emotions": ("neutral", "happy"),
        }
        self.facts = Facts("made", "none", **{**told, **facts})
        self.free = list(range(slots))
        self.calls: list[tuple[Any, ...]] = []
        self.frames: list[AudioInput] = []
        self.sink: Callable[[Outcome | Lagged | Failed], None] | None = None

    def take(self) -> int:
        if not self.free:
            raise Full("every slot is taken")
        return self.free.pop()

    def open(
        self, slot: int, manner: Manner, sink: Callable[[Outcome | Lagged | Failed], None], progress: bool = False
    ) -> None:
        check(self.facts, manner)
        assert progress, "protocols want to know how far the model has heard"
        self.calls.append(("open", manner))
        self.sink = sink

    def push(self, slot: int, audio: AudioInput) -> None:
        assert slot not in self.free
        self.frames.append(audio)
        self.calls.append(("push", audio.timestamp))

    def waiting(self, slot: int) -> float:
        return 0.0

    def attend(self, slot: int, since: float) -> None:
        self._called(slot, "attend", since)

    def begin(self, slot: int, ahead: float) -> None:
        self._called(slot, "begin", ahead)

    def manner(self, slot: int, manner: Manner) -> None:
        check(self.facts, manner)
        self._called(slot, "manner", manner)

    def cancel(self, slot: int) -> None:
        self._called(slot, "cancel")

    def give_back(self, slot: int) -> None:
        self._called(slot, "give_back")
        self.free.append(slot)

    def _called(self, slot: int, *what: Any) -> None:
        assert slot not in self.free, "the slot is not this conversation's any more"
        self.calls.append(what)

    def named(self, name: str) -> list[Any]:
        """The arguments of the calls of that name."""
        return [call[1] if len(call) == 2 else call[1:] for call in self.calls if call[0] == name]

    def make(
        self,
        text: str = "",
        seconds: float | None = None,
        *,
        ended: bool = False,
        turn: float | None = None,
        **thought: Any,
    ) -> None:
        """The model has made this."""
        assert self.sink is not None
        rate = self.facts.says
        audio = None if seconds is None else AudioOutput(b"\0\x10" * round(seconds * rate), rate)
        self.sink(Outcome(ThoughtPacket(text, turn=turn, **thought), audio, ended))


class _Skipping(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Instead of waiting, moves the time on; a wait without an end is a test that hangs."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            if timeout is None:
                # Only another thread can help now, and that takes time as it is.
                found = super().select(20.0)
                assert found, "everybody waits for somebody else"
                return found
            self.now += max(timeout, 0.0)
        return found


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour takes no time."""

    def __init__(self) -> None:
        self.skipping = _Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.now


def timeless(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``test`` in a loop in which time passes at once."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(test())


def kinds(events: list[Event]) -> list[str]:
    """The events' names."""
    return [type(event).__name__ for event in events]


@functools.cache
def speech(rate: int = RATE) -> Floats:
    """A sentence from the demo's recording of a reader."""
    sound, source = sf.read(DEMO, dtype="float32")
    found: Floats = soxr.resample(sound[round(SPEECH[0] * source) : round(SPEECH[1] * source)], source, rate)
    return found


def hush(seconds: float, rate: int = RATE) -> Floats:
    """A quiet room: noise 66 dB below full scale."""
    noise: Floats = np.random.default_rng(7).normal(0, 5e-4, round(seconds * rate)).astype(np.float32)
    return noise
