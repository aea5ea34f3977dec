"""What stands in the events of ``/v1/realtime``: sessions, items, answers, in today's words and in those of the beta."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from duplexforge.serving.protocols.realtime_settings import (
    AudioFormat,
    BetaFormat,
    Detection,
    Modality,
    Transcription,
)

__all__ = [
    "BetaResponse",
    "BetaSession",
    "Conversation",
    "Error",
    "Item",
    "Part",
    "PlainPart",
    "Problem",
    "Response",
    "Session",
    "SessionAudio",
    "SessionInput",
    "SessionOutput",
    "SpokenPart",
    "Status",
    "StatusDetails",
    "Told",
    "Voice",
    "VoiceAudio",
    "WrittenPart",
]

Status = Literal["in_progress", "completed", "cancelled", "failed"]


class Told(BaseModel):
    """Base of it all: every key is always there, with null where nothing is known; clients ask ``turn_detection === null``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def line(self) -> str:
        """As JSON."""
        return self.model_dump_json()


class WrittenPart(Told):
    """Text; ``text`` is the beta's name for an answer's."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class SpokenPart(Told):
    """Sound, which is not repeated here. ``transcript``: null where nobody wrote it down; ``audio`` is the beta's name."""

    type: Literal["input_audio", "output_audio", "audio"]
    transcript: str | None


Part = WrittenPart | SpokenPart


class Item(Told):
    """A message of the conversation."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["user", "assistant", "system"]
    content: list[Part]


class SessionInput(Told):
    """How the user is heard."""

    format: AudioFormat
    noise_reduction: None = None
    transcription: Transcription | None
    turn_detection: Detection | None


class SessionOutput(Told):
    """How the user is answered."""

    format: AudioFormat
    voice: str | None
    speed: float


class SessionAudio(Told):
    """Both directions."""

    input: SessionInput
    output: SessionOutput


class Session(Told):
    """The settings that hold. ``model`` is what answers here, whatever was asked for."""

    id: str
    object: Literal["realtime.session"] = "realtime.session"
    type: Literal["realtime"] = "realtime"
    model: str
    expires_at: int
    output_modalities: list[Modality]
    instructions: str
    audio: SessionAudio
    tools: list[Any] = Field(default_factory=list, max_length=0)
    tool_choice: Literal["auto"] = "auto"
    max_output_tokens: Literal["inf"] = "inf"
    tracing: None = None
    prompt: None = None
    include: None = None


class BetaSession(Told):
    """The same in the words of the beta, which knows OpenAI's models alone."""

    id: str
    object: Literal["realtime.session"] = "realtime.session"
    expires_at: int
    modalities: list[Modality]
    instructions: str
    voice: str | None
    input_audio_format: BetaFormat
    output_audio_format: BetaFormat
    input_audio_transcription: Transcription | None
    input_audio_noise_reduction: None = None
    turn_detection: Detection | None
    tools: list[Any] = Field(default_factory=list, max_length=0)
    tool_choice: Literal["auto"] = "auto"
    temperature: float | None
    max_response_output_tokens: Literal["inf"] = "inf"
    speed: float
    tracing: None = None


class Problem(Told):
    """Why an answer failed."""

    type: Literal["server_error"] = "server_error"
    code: str
    message: str


class StatusDetails(Told):
    """Why an answer is not whole."""

    type: Literal["completed", "cancelled", "failed"]
    reason: Literal["turn_detected", "client_cancelled"] | None = None
    error: Problem | None = None


class Voice(Told):
    """How an answer sounds."""

    format: AudioFormat
    voice: str | None


class VoiceAudio(Told):
    """Wraps it."""

    output: Voice


class _Answer(Told):
    id: str
    object: Literal["realtime.response"] = "realtime.response"
    status: Status
    status_details: StatusDetails | None = None
    output: list[Item]
    conversation_id: str
    metadata: dict[str, str] | None
    usage: None = None
    """Nothing is billed here, and these models' tokens are not OpenAI's: what is not counted is not made up."""


class Response(_Answer):
    """An answer."""

    output_modalities: list[Modality]
    max_output_tokens: Literal["inf"] = "inf"
    audio: VoiceAudio


class BetaResponse(_Answer):
    """An answer, in the words of the beta."""

    modalities: list[Modality]
    max_output_tokens: Literal["inf"] = "inf"
    voice: str | None
    output_audio_format: BetaFormat
    temperature: float | None


class Conversation(Told):
    """The conversation of a session."""

    id: str
    object: Literal["realtime.conversation"] = "realtime.conversation"


class Error(Told):
    """What was wrong. ``event_id`` is the client's event that caused it, ``param`` the key."""

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class PlainPart(Told):
    """A part of an answer in ``response.content_part``: text, or sound with its transcript."""

    type: Literal["text", "audio"]
    text: str | None = None
    transcript: str | None = None
