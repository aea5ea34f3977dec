"""``/ws/<session>``: the voice agent. JSON both ways, sound as base64 float32, in stream or turn mode.

Everything that belongs to an answer carries its ``epoch``: after ``interrupted`` a client throws away what it has not played,
and what still comes of that epoch or an earlier one.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError, InputError, RetryLater
from duplexforge.serving import events
from duplexforge.serving.backends import Manner
from duplexforge.serving.events import Event
from duplexforge.serving.packets import Floats, samples_of
from duplexforge.serving.protocols import agent_messages as said
from duplexforge.serving.resampling import Resampler
from duplexforge.serving.session import Session, SessionConfig
from duplexforge.voices import VOICES, find_voice

__all__ = ["Agent"]

_SESSION = {field.name for field in fields(SessionConfig)} - {"manner"}
_MANNER = {field.name for field in fields(Manner)} - {"voice"}
_VOICES = ("speaker", "other")


class Agent:
    """One client of ``/ws/<session>``."""

    def __init__(self, session: Session, settings: ServeSettings) -> None:
        self._session = session
        self._hears, self._wants = settings.sca_sample_rate, settings.sca_output_sample_rate
        self._chunk: float | None = None
        self._first = True
        self._voice: _Voice | None = None

    def greet(self) -> Iterable[str]:
        """Who is there."""
        facts = self._session.facts
        yield _metadata(
            session=self._session.id,
            backend=facts.name,
            model=facts.model,
            rates={"input": self._hears, "output": self._wants},
            speakers=list(facts.speakers),
            emotions=list(facts.emotions),
            config=self._settings(),
        )

    def take(self, message: str | bytes) -> Iterable[str]:
        """A message of the client."""
        if isinstance(message, bytes):
            raise InputError("this protocol speaks JSON; sound goes as base64 float32", reason="binary")
        first, self._first = self._first, False
        session = self._session
        match said.understood(message, first=first):
            case said.Audio(audio=audio, sample_rate=rate):
                session.hear(_floats(audio), rate or self._hears)
            case said.Config(config=wanted):
                self._configure(wanted)
                return [_metadata(config=self._settings())]
            case said.Interrupt(played=played):
                session.interrupt(played)
            case said.Played(epoch=epoch, seconds=seconds):
                session.played(epoch, seconds)
            case said.Commit():
                session.commit()
            case said.Clear():
                session.clear()
            case said.Respond():
                session.respond()
            case said.Ping(id=number):
                return [said.Pong(id=number, timestamp=time.time()).dumps()]
        return ()

    def tell(self, event: Event) -> Iterable[str]:
        """What the client is told of ``event``."""
        teller = _TOLD.get(type(event))
        if isinstance(event, events.Sound):
            yield from self._sound(event)
        elif isinstance(event, events.AnswerMade | events.AnswerEnded):
            yield from self._tail(event.epoch)
        elif isinstance(event, events.Interrupted):
            self._voice = None
        if teller is not None:
            yield teller(event)

    @staticmethod
    def complain(error: DuplexforgeError) -> str:
        """One sentence, and a word for programs."""
        after = error.after if isinstance(error, RetryLater) else None
        return said.ErrorOut(code=error.reason, error=str(error), retry_after=after).dumps()

    # -- settings -----------------------------------------------------------------------------------------

    def _configure(self, wanted: said.Wanted) -> None:
        given = wanted.model_dump(exclude_none=True)
        for name in _VOICES:
            if name in given:
                given[name] = self._voice_key(given[name])
        now = self._session.config
        manner = replace(now.manner, **{name: value for name, value in given.items() if name in _MANNER})
        changes = {name: value for name, value in given.items() if name in _SESSION}
        self._session.configure(replace(now, manner=manner, **changes))
        self._hears = wanted.sample_rate or self._hears
        self._wants = wanted.output_sample_rate or self._wants
        self._chunk = wanted.chunk_size / 1000 if wanted.chunk_size else self._chunk

    def _voice_key(self, wanted: str | int) -> str:
        speakers = self._session.facts.speakers
        known = {voice.key for voice in VOICES} & set(speakers)
        return find_voice(wanted).key if known and wanted not in speakers else str(wanted)

    def _settings(self) -> dict[str, Any]:
        """The settings that hold, as a client would write them."""
        config = self._session.config
        found = {name: getattr(config, name) for name in sorted(_SESSION)}
        manner = {name: value for name, value in asdict(config.manner).items() if name in _MANNER and value is not None}
        return {**found, **manner, "sample_rate": self._hears, "output_sample_rate": self._wants}

    # -- what the client hears ----------------------------------------------------------------------------------------

    def _sound(self, event: events.Sound) -> Iterable[str]:
        if self._voice is None or self._voice.epoch != event.epoch:
            self._voice = _Voice(event.epoch, event.audio.rate, self._wants, self._chunk)
        return self._voice.push(samples_of(event.audio.audio_bytes))

    def _tail(self, epoch: int) -> Iterable[str]:
        if self._voice is None or self._voice.epoch != epoch:
            return ()
        voice, self._voice = self._voice, None
        return voice.push(np.zeros(0, np.float32), last=True)


class _Voice:
    """One answer on its way out: its rate made the client's, cut into the pieces that it wants."""

    def __init__(self, epoch: int, source: int, target: int, chunk: float | None) -> None:
        self.epoch = epoch
        self._rate = target
        self._resampler = Resampler(source, target)
        self._size = round(chunk * target) if chunk else None
        self._rest: Floats = np.zeros(0, np.float32)
        self._sent = 0

    def push(self, samples: Floats, *, last: bool = False) -> Iterable[str]:
        ready = np.concatenate([self._rest, self._resampler.push(samples, last=last)])
        size = self._size or max(len(ready), 1)
        whole = len(ready) if last else len(ready) // size * size
        self._rest = ready[whole:]
        return [self._message(ready[at : min(at + size, whole)]) for at in range(0, whole, size)]

    def _message(self, samples: Floats) -> str:
        start, self._sent = self._sent / self._rate, self._sent + len(samples)
        return said.AudioOut(
            audio=base64.b64encode(samples.astype("<f4").tobytes()).decode(),
            sample_rate=self._rate,
            epoch=self.epoch,
            start=round(start, 6),
            timestamp=time.time(),
        ).dumps()


def _floats(text: str) -> Floats:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("audio: is no base64", reason="invalid_audio") from error
    if len(data) % 4:
        raise InputError("audio: float32 has four bytes a sample, and some are left over", reason="invalid_audio")
    return np.frombuffer(data, "<f4")


def _metadata(**data: Any) -> str:
    told = said.Data(**data)
    return said.Metadata(data=told, interrupted=told.interrupted, timestamp=time.time()).dumps()


def _latency(event: events.Heard) -> str:
    return said.Latency(
        latency_ms=round(1000 * event.first, 1),
        endpoint_ms=round(1000 * event.endpoint, 1),
        epoch=event.epoch,
        timestamp=time.time(),
    ).dumps()


_TOLD: dict[type, Callable[[Any], str]] = {
    events.SpeechBegan: lambda event: _metadata(speech="began", at=event.at),
    events.SpeechEnded: lambda event: _metadata(speech="ended", at=event.at, after=event.after),
    events.AnswerBegan: lambda event: _metadata(answer="began", epoch=event.epoch),
    events.Words: lambda event: _metadata(text=event.text, epoch=event.epoch),
    events.AnswerMade: lambda event: _metadata(answer="made", epoch=event.epoch, seconds=event.seconds),
    events.AnswerEnded: lambda event: _metadata(
        answer="ended", epoch=event.epoch, seconds=event.seconds, text=event.text
    ),
    events.Ducked: lambda event: _metadata(ducked=True, epoch=event.epoch),
    events.Resumed: lambda event: _metadata(resumed=True, epoch=event.epoch),
    events.Interrupted: lambda event: _metadata(
        interrupted=True, epoch=event.epoch, played=event.played, text=event.text, by=event.by
    ),
    events.Lagged: lambda event: _metadata(lagged=event.seconds),
    events.Heard: _latency,
    events.Failed: lambda event: said.ErrorOut(code=event.code, error=event.message).dumps(),
}
