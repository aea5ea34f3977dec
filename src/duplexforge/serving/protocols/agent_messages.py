"""What is said over ``/ws/<session>``, in both directions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from duplexforge.errors import InputError
from duplexforge.serving.protocols.messages import Incoming, Outgoing, parsed, read

__all__ = [
    "MESSAGES",
    "Audio",
    "AudioOut",
    "Clear",
    "Commit",
    "Config",
    "Data",
    "ErrorOut",
    "Interrupt",
    "Latency",
    "Metadata",
    "Ping",
    "Played",
    "Pong",
    "Respond",
    "Wanted",
    "understood",
]

_Rate = Annotated[int, Field(ge=8000, le=48000)]
_Name = Annotated[str, Field(max_length=64)]


class Wanted(Incoming):
    """How the session is to run from now on; what is left out stays."""

    mode: Literal["stream", "turn"] | None = None
    interruption: bool | None = None
    """Whether the user's voice may break off an answer."""
    vad_threshold: float | None = None
    chunk_size: float | None = Field(default=None, ge=10, le=1000)
    """Milliseconds of the answer's sound in one message; left out: as it comes."""
    session_id: _Name | None = None
    """Taken for older clients; the session's name is the one in the address."""
    turns: Literal["server", "client"] | None = None
    """Who says that the user has finished."""
    answers: bool | None = None
    """Whether an answer begins by itself."""
    silence: float | None = None
    sure_silence: float | None = None
    sure: float | None = None
    prefix: float | None = None
    confirm: float | None = None
    speaker: _Name | int | None = None
    """A voice of ``/speakers``, by key, name or number."""
    other: _Name | int | None = None
    """A second voice to blend with."""
    blend: float | None = None
    emotion: _Name | None = None
    accent: _Name | None = None
    pitch: float | None = None
    energy: float | None = None
    rate: float | None = None
    temperature: float | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    prompt: str | None = Field(default=None, max_length=16384)
    sample_rate: _Rate | None = None
    """Samples a second that the client sends."""
    output_sample_rate: _Rate | None = None
    """Samples a second that it wants."""


class Config(Incoming):
    """Change the settings. As the first message it needs no ``type``, and its keys may always stand in the message itself."""

    type: Literal["config"]
    config: Wanted


class Audio(Incoming):
    """The user's sound: float32 in ±1, little-endian, mono, in base64."""

    type: Literal["audio"]
    audio: str
    sample_rate: _Rate | None = None


class Interrupt(Incoming):
    """Break off the answer; ``played`` seconds of it were heard."""

    type: Literal["interrupt"]
    played: float | None = Field(default=None, ge=0)


class Played(Incoming):
    """So much of answer ``epoch`` was played."""

    type: Literal["played"]
    epoch: int
    seconds: float = Field(ge=0)


class Commit(Incoming):
    """The user's turn is over."""

    type: Literal["commit"]


class Clear(Incoming):
    """Forget what was heard since the last turn."""

    type: Literal["clear"]


class Respond(Incoming):
    """Answer now."""

    type: Literal["respond"]


class Ping(Incoming):
    """Are you there? Answered by ``pong`` with the same ``id``."""

    type: Literal["ping"]
    id: int | None = None


class AudioOut(Outgoing):
    """A piece of answer ``epoch``, ``start`` seconds from its beginning: float32 as in ``audio`` of the client."""

    type: Literal["audio"] = "audio"
    audio: str
    sample_rate: int
    epoch: int
    start: float
    timestamp: float


class Data(Outgoing):
    """What happened; only the keys that belong to it are there.

    ``session`` with ``backend``, ``model``, ``rates``, ``speakers``, ``emotions``: it begins. ``config``: these settings hold.
    ``speech`` began or ended. ``answer`` began, was made (all of it is sent), or ended (it was played). ``text`` of an answer.
    ``ducked``, ``resumed``, ``interrupted``: the user's voice during an answer. ``lagged``: seconds that were left out.
    """

    session: str | None = None
    backend: str | None = None
    model: str | None = None
    rates: dict[str, int] | None = None
    speakers: list[str] | None = None
    emotions: list[str] | None = None
    config: dict[str, Any] | None = None
    speech: Literal["began", "ended"] | None = None
    at: float | None = None
    after: float | None = None
    answer: Literal["began", "made", "ended"] | None = None
    text: str | None = None
    seconds: float | None = None
    ducked: bool | None = None
    resumed: bool | None = None
    interrupted: bool | None = None
    played: float | None = None
    by: str | None = None
    lagged: float | None = None
    epoch: int | None = None


class Metadata(Outgoing):
    """Something happened. ``interrupted`` stands here too: then what was not played is to be thrown away."""

    type: Literal["metadata"] = "metadata"
    data: Data
    interrupted: bool | None = None
    timestamp: float


class Latency(Outgoing):
    """How long answer ``epoch`` took, from the user's last sound to its first one, and until the turn was held to be over."""

    type: Literal["latency"] = "latency"
    latency_ms: float
    endpoint_ms: float
    epoch: int
    timestamp: float


class Pong(Outgoing):
    """Here."""

    type: Literal["pong"] = "pong"
    id: int | None = None
    timestamp: float


class ErrorOut(Outgoing):
    """Something was wrong; the session goes on unless it is closed."""

    type: Literal["error"] = "error"
    code: str
    error: str
    retry_after: float | None = None
    """Seconds after which it is worth trying again."""


In = Annotated[Audio | Config | Interrupt | Played | Commit | Clear | Respond | Ping, Field(discriminator="type")]
MESSAGES: dict[str, TypeAdapter[Any]] = {
    "in": TypeAdapter(In),
    "out": TypeAdapter(AudioOut | Metadata | Latency | Pong | ErrorOut),
}


def understood(text: str, *, first: bool) -> Any:
    """The message that ``text`` is; InputError, naming the key, when it is none. ``first``: a config needs no type."""
    content = parsed(text)
    if "type" not in content and not first:
        raise InputError("type: a message needs one", reason="invalid_value")
    if content.get("type", "config") == "config" and "config" not in content:
        content = {"type": "config", "config": {key: value for key, value in content.items() if key != "type"}}
    return read(content, MESSAGES["in"], skip=1)
