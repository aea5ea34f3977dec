"""A client of ``/v1/realtime`` without a network, and the strictest reading of its events by OpenAI's own types."""

from __future__ import annotations

import base64
import json
import typing
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from openai.types.beta import realtime as beta_types
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from pydantic import BaseModel

from duplexforge.serving import events
from duplexforge.serving.packets import AudioOutput, Floats, pcm16, samples_of
from duplexforge.serving.protocols.realtime import Realtime, RealtimeBeta
from tests.unit.serving.running import noise, settings
from tests.unit.serving.session_made import FACTS, MadeSession

WANTED = settings()
_BETA_SESSION = {"object", "expires_at"}
"""What the beta's server says beyond what its types know."""


@cache
def _types(beta: bool) -> dict[str, type[BaseModel]]:
    """The class of each event's name."""
    union = beta_types.RealtimeServerEvent if beta else RealtimeServerEvent
    found = {}
    for kind in typing.get_args(typing.get_args(union)[0]):
        for name in typing.get_args(kind.model_fields["type"].annotation):
            found[name] = kind
    return found


def checked(text: str, *, beta: bool = False) -> dict[str, Any]:
    """The event that ``text`` is: no value of another type than OpenAI's, no key that OpenAI does not know."""
    event: dict[str, Any] = json.loads(text)
    kind = _types(beta)[event["type"]]
    extras = list(_extras(kind.model_validate_json(text, strict=True)))
    if event["type"].startswith("session."):
        if not beta:
            extras = list(_extras(RealtimeSessionCreateResponse.model_validate(event["session"], strict=True)))
        extras = [name for name in extras if not beta or name not in _BETA_SESSION]
    assert not extras, (event["type"], extras)
    return event


def _extras(value: Any) -> typing.Iterator[str]:
    if isinstance(value, BaseModel):
        yield from value.model_extra or {}
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            yield from _extras(one)


class Client:
    """One client. Whatever it is told is read by :func:`checked`."""

    def __init__(self, *, beta: bool = False, greeted: bool = True, **facts: Any) -> None:
        self.session = MadeSession(replace(FACTS, **facts))
        self.beta = beta
        self.dialect = (RealtimeBeta if beta else Realtime)(self.session, WANTED)
        if greeted:
            self.greeted = self._read(self.dialect.greet())

    def send(self, kind: str, **content: Any) -> list[dict[str, Any]]:
        """What is answered at once."""
        return self.raw(json.dumps({"type": kind, **content}))

    def raw(self, message: str | bytes) -> list[dict[str, Any]]:
        """The same for any message."""
        return self._read(self.dialect.take(message))

    def update(self, **session: Any) -> dict[str, Any]:
        """Change the settings; the session, or the error."""
        (told,) = self.send("session.update", session=session)
        found: dict[str, Any] = told["error"] if told["type"] == "error" else told["session"]
        return found

    def told(self, *happened: events.Event) -> list[dict[str, Any]]:
        """What it is told."""
        return [one for event in happened for one in self._read(self.dialect.tell(event))]

    def says(self, samples: Floats) -> list[dict[str, Any]]:
        """Append sound."""
        return self.send("input_audio_buffer.append", audio=packed(pcm16(samples)))

    def _read(self, texts: Any) -> list[dict[str, Any]]:
        return [checked(text, beta=self.beta) for text in texts]


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpacked(told: list[dict[str, Any]]) -> bytes:
    """The sound of all deltas."""
    kinds = ("response.output_audio.delta", "response.audio.delta")
    return b"".join(base64.b64decode(one["delta"]) for one in told if one["type"] in kinds)


def kinds(told: list[dict[str, Any]]) -> list[str]:
    """The events' names."""
    return [one["type"] for one in told]


def only(told: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one event of that name."""
    (found,) = (one for one in told if one["type"] == kind)
    return found


def sound(epoch: int, seconds: float, start: float = 0.0) -> events.Sound:
    """A piece of an answer."""
    return events.Sound(epoch, start, AudioOutput(pcm16(noise(seconds)), 16000))


def answer(client: Client, epoch: int = 1, text: str = " yes it is", seconds: float = 0.4) -> list[dict[str, Any]]:
    """A whole answer, up to the time when all of it is made."""
    return client.told(
        events.AnswerBegan(epoch), events.Words(epoch, text), sound(epoch, seconds), events.AnswerMade(epoch, seconds)
    )


def floats(data: bytes) -> Floats:
    return np.asarray(samples_of(data))
