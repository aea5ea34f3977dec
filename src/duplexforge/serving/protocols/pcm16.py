"""``/ws/pcm16``: sound in, text out, one message for each chunk.

Binary messages are little-endian mono PCM16, cut as the client likes; for each whole chunk (``frames_per_chunk`` frames of
``1 / frame_hz`` seconds) it gets one
``{text, chunk_ms, frames_per_chunk, frame_hz}``, when the model has heard it, with what was said since the last one.
A text message is JSON with overrides, at any time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import Field, TypeAdapter

from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.serving.events import Event, Failed, Interrupted, Taken, Words
from duplexforge.serving.packets import samples_of
from duplexforge.serving.protocols.messages import Incoming, Outgoing, parsed, read
from duplexforge.serving.session import Session

__all__ = ["MESSAGES", "Chunk", "Failure", "Info", "Overrides", "Pcm16"]

_SHORTEST, _LONGEST = 0.01, 60.0
"""Seconds of a chunk."""
_MOST_TEXT = 65536
"""Characters that wait for the next chunk; a client that sends no sound gets none."""
_HELD = 0.12
"""Seconds that are held back where the client's rate is not the model's: nothing may wait for them."""
_ROUNDING = 1e-6


class Overrides(Incoming):
    """From now on, in this session."""

    prompt: str | None = Field(default=None, max_length=16384)
    """Instructions, for models that read."""
    frames_per_chunk: int | None = Field(default=None, ge=1, le=1000)
    frame_hz: float | None = Field(default=None, gt=0, le=1000)


class Info(Outgoing):
    """An override of the chunks holds."""

    info: str
    value: float | int
    chunk_ms: float
    frames_per_chunk: int
    frame_hz: float


class Chunk(Outgoing):
    """A chunk was heard. ``text``: what was said since the last one."""

    text: str
    chunk_ms: float
    frames_per_chunk: int
    frame_hz: float


class Failure(Outgoing):
    """Something was wrong; the session goes on unless it is closed."""

    error: str


_READ = TypeAdapter(Overrides)
MESSAGES: dict[str, TypeAdapter[Any]] = {"in": _READ, "out": TypeAdapter(Chunk | Info | Failure)}
_NAMES = {"frames_per_chunk": "a positive integer, at most 1000", "frame_hz": "a positive number, at most 1000"}


class Pcm16:
    """One client of ``/ws/pcm16``."""

    def __init__(self, session: Session, settings: ServeSettings) -> None:
        self._session = session
        self._rate = settings.sca_sample_rate
        self._frame_hz, self._frames = settings.sca_frame_hz, settings.sca_frames_per_chunk
        self._rest = b""
        self._heard = self._into = 0
        """Samples of the session, and of the chunk that is under way."""
        self._due: deque[tuple[float, int, float]] = deque()
        """Chunks that wait for the model: how far it has to have heard, and what their answer says of their size."""
        self._at = 0.0
        self._text = ""

    def greet(self) -> Iterable[str]:
        """Nothing: the client speaks first."""
        return ()

    def take(self, message: str | bytes) -> Iterable[str]:
        """Sound, or overrides."""
        return self._override(message) if isinstance(message, str) else self._hear(message)

    def tell(self, event: Event) -> Iterable[str]:
        """Keep what is said for the next chunk, which is answered when the model has heard it."""
        if isinstance(event, Taken):
            return self._taken(event.at)
        if isinstance(event, Words):
            self._text = (self._text + event.text)[-_MOST_TEXT:]
        elif isinstance(event, Interrupted):
            self._text = ""
        elif isinstance(event, Failed):
            return [Failure(error=event.message).dumps()]
        return ()

    @staticmethod
    def complain(error: DuplexforgeError) -> str:
        """One sentence."""
        return Failure(error=str(error)).dumps()

    def _hear(self, data: bytes) -> Iterable[str]:
        # A sample may be cut in two by the client's network code: its first byte waits for the second.
        whole = self._rest + data
        cut = len(whole) // 2 * 2
        self._rest = whole[cut:]
        samples = samples_of(whole[:cut])
        size = max(1, round(self._rate * self._frames / self._frame_hz))
        for at in range(size - self._into, len(samples) + 1, size):
            self._due.append((self._needed((self._heard + at) / self._rate), self._frames, self._frame_hz))
        self._heard += len(samples)
        self._into = (self._into + len(samples)) % size
        if len(samples):
            self._session.hear(samples, self._rate)
        return self._taken(self._at)

    def _needed(self, end: float) -> float:
        """How far the model has to have heard for all whole frames of a chunk that ends at ``end``."""
        facts = self._session.facts
        held = 0.0 if self._rate == facts.hears else _HELD
        frame = facts.frame / facts.hears
        return math.floor((end - held) / frame + _ROUNDING) * frame

    def _taken(self, at: float) -> Iterable[str]:
        """The chunks that are due now that the model has heard up to ``at``."""
        self._at = max(self._at, at)
        while self._due and self._due[0][0] <= self._at + _ROUNDING:
            _, frames, frame_hz = self._due.popleft()
            said, self._text = self._text, ""
            yield Chunk(text=said, chunk_ms=_ms(frames, frame_hz), frames_per_chunk=frames, frame_hz=frame_hz).dumps()

    def _override(self, text: str) -> Iterable[str]:
        wanted = _overrides(text)
        frames, frame_hz = wanted.frames_per_chunk or self._frames, wanted.frame_hz or self._frame_hz
        if not _SHORTEST <= frames / frame_hz <= _LONGEST:
            raise InputError(f"a chunk lasts from {_SHORTEST:g} to {_LONGEST:g} s, not {frames / frame_hz:g} s")
        if wanted.prompt is not None:
            config = self._session.config
            self._session.configure(replace(config, manner=replace(config.manner, prompt=wanted.prompt)))
        if wanted.frames_per_chunk or wanted.frame_hz:
            self._frames, self._frame_hz, self._into = frames, frame_hz, 0
        return [
            Info(
                info=f"updated {name}",
                value=value,
                chunk_ms=_ms(self._frames, self._frame_hz),
                frames_per_chunk=self._frames,
                frame_hz=self._frame_hz,
            ).dumps()
            for name in _NAMES
            if (value := getattr(wanted, name)) is not None
        ]


def _ms(frames: int, frame_hz: float) -> float:
    return round(1000 * frames / frame_hz, 6)


def _overrides(text: str) -> Overrides:
    content = parsed(text)
    try:
        return read(content, _READ)
    except InputError as error:
        name = str(error).partition(":")[0]
        if name in _NAMES:
            raise InputError(f"{name} must be {_NAMES[name]}", reason=error.reason) from error
        raise
