"""One user's sound as it comes, cut for two listeners: frames for the model, windows for voice activity, on one clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duplexforge.serving import vad
from duplexforge.serving.packets import AudioInput, Floats
from duplexforge.serving.resampling import Resampler, clean

__all__ = ["Ear", "Heard"]

_SETTLE = 0.12
"""Seconds of silence that bring out of a resampler what it holds back."""


@dataclass(frozen=True)
class Heard:
    """What is whole: ``frames`` of the user for the model, and ``windows`` (n × 512 at 16 kHz) that end at ``ends`` seconds."""

    frames: list[AudioInput]
    windows: Floats
    ends: list[float]


class Ear:
    """Takes sound at any rate; ``at`` is how many seconds of it are there, by the samples at the model's rate."""

    def __init__(self, hears: int, frame: int) -> None:
        self._hears, self._frame = hears, frame
        self._in: Resampler | None = None
        self._down = Resampler(hears, vad.RATE)
        self._rest = self._window = np.zeros(0, np.float32)
        self._frames = self._windows = 0

    @property
    def at(self) -> float:
        """Seconds of the stream so far."""
        return (self._frames * self._frame + len(self._rest)) / self._hears

    @property
    def waiting(self) -> float:
        """Seconds that are not yet a whole frame."""
        return len(self._rest) / self._hears

    def hear(self, samples: Floats, rate: int) -> Heard:
        """What is whole with these samples; UsageError for a rate that nobody speaks at."""
        if self._in is None or self._in.source != rate:
            self._in = Resampler(rate, self._hears)
        return self._take(self._in.push(clean(samples)))

    def flush(self) -> Heard:
        """Fill the last frame up with silence, so that the model hears all that was said."""
        tail = np.zeros(0, np.float32)
        if self._in is not None and self._in.source != self._hears:
            tail = self._in.push(np.zeros(round(_SETTLE * self._in.source), np.float32))
        missing = -(len(self._rest) + len(tail)) % self._frame
        return self._take(np.concatenate([tail, np.zeros(missing, np.float32)]))

    def _take(self, samples: Floats) -> Heard:
        waiting = np.concatenate([self._rest, samples])
        whole = len(waiting) // self._frame
        frames = []
        for one in waiting[: whole * self._frame].reshape(whole, self._frame):
            self._frames += 1
            # A copy: the engine may keep a frame for long, and should not keep the whole message with it.
            frames.append(AudioInput(one.copy(), timestamp=self._frames * self._frame / self._hears))
        self._rest = waiting[whole * self._frame :].copy()
        windows, ends = self._cut(self._down.push(samples))
        return Heard(frames, windows, ends)

    def _cut(self, samples: Floats) -> tuple[Floats, list[float]]:
        waiting = np.concatenate([self._window, samples])
        whole = len(waiting) // vad.WINDOW
        self._window = waiting[whole * vad.WINDOW :].copy()
        ends = [(self._windows + number) * vad.SECONDS for number in range(1, whole + 1)]
        self._windows += whole
        return waiting[: whole * vad.WINDOW].reshape(whole, vad.WINDOW), ends
