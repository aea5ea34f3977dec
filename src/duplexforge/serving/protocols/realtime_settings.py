"""What a client of ``/v1/realtime`` may set, for a session or for one answer, in today's words and in those of the beta.

What this server has not is accepted where it changes nothing that a client could miss, and is then told as absent
(``noise_reduction``, ``include``, ``tracing``, ``truncation``, ``parallel_tool_calls``, an empty list of tools, limits that
limit nothing); everything else of that kind is an error with the code ``unsupported``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from duplexforge.serving.protocols.messages import Incoming

__all__ = [
    "AudioFormat",
    "BetaFormat",
    "BetaResponseWanted",
    "BetaSessionWanted",
    "Detection",
    "Modality",
    "Pcm",
    "Pcma",
    "Pcmu",
    "ResponseWanted",
    "SemanticVad",
    "ServerVad",
    "SessionWanted",
    "Transcription",
    "VoiceId",
]

Modality = Literal["text", "audio"]
BetaFormat = Literal["pcm16", "g711_ulaw", "g711_alaw"]
_NO_LIMIT = 4096
"""Tokens of an answer above which nobody can ask; whoever asks for so many wants no limit."""


def _lacking(sentence: str, fits: Callable[[Any], bool] = lambda _: False) -> AfterValidator:
    """A value that has to be null, or one that ``fits``: the rest is not there."""

    def check(value: Any) -> Any:
        if value is not None and not fits(value):
            raise PydanticCustomError("unsupported", "{sentence}", {"sentence": sentence})
        return value

    return AfterValidator(check)


_Name = Annotated[str, Field(max_length=64)]
_Instructions = Annotated[str, Field(max_length=16384)]
_Tools = Annotated[list[Any] | None, _lacking("this server has no tools", lambda tools: not tools)]
_Choice = Annotated[
    str | dict[str, Any] | None, _lacking("this server has no tools", lambda choice: choice in ("auto", "none"))
]
_Limit = Annotated[
    int | str | None,
    _lacking("an answer cannot be limited to a number of tokens", lambda most: most in ("inf", _NO_LIMIT)),
]
_Prompt = Annotated[Any, _lacking("this server keeps no prompts: send instructions")]
_Reasoning = Annotated[Any, _lacking("this server's models do not reason")]
_Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class Pcm(Incoming):
    """Little-endian mono PCM16."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class Pcmu(Incoming):
    """G.711 µ-law at 8 kHz."""

    type: Literal["audio/pcmu"]


class Pcma(Incoming):
    """G.711 A-law at 8 kHz."""

    type: Literal["audio/pcma"]


AudioFormat = Annotated[Pcm | Pcmu | Pcma, Field(discriminator="type")]


class ServerVad(Incoming):
    """A turn is over after so much silence, whatever the model thinks."""

    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000)
    silence_duration_ms: int = Field(default=500, ge=100, le=10000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[int | None, _lacking("nobody here speaks unasked: leave idle_timeout_ms out")] = Field(
        default=None, exclude=True
    )


class SemanticVad(Incoming):
    """A turn is over when the model holds it to be; where it has no opinion, after silence."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    """``low`` (sure at 0.97, then 0.4 s of silence; else 1.5 s), ``medium`` and ``auto`` (as any session begins), ``high``
    (0.7, 0.1 s; 0.4 s)."""
    create_response: bool = True
    interrupt_response: bool = True


Detection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(Incoming):
    """Nobody here writes down what the user says: each of their turns is answered by ``….input_audio_transcription.failed``."""

    model: _Name | None = None
    language: _Name | None = None
    prompt: _Instructions | None = None


class VoiceId(Incoming):
    """A voice by its key."""

    id: _Name


class _Input(Incoming):
    format: AudioFormat | None = None
    noise_reduction: dict[str, Any] | None = None
    transcription: Transcription | None = None
    turn_detection: Detection | None = None
    """null: the client says when a turn is over (``input_audio_buffer.commit``) and asks for an answer."""


class _AnswerOutput(Incoming):
    format: AudioFormat | None = None
    voice: _Name | VoiceId | None = None
    """A voice of ``/speakers``, by key, name or number."""


class _Output(_AnswerOutput):
    speed: float | None = Field(default=None, ge=0.5, le=2)


class _Audio(Incoming):
    input: _Input | None = None
    output: _Output | None = None


class _AnswerAudio(Incoming):
    output: _AnswerOutput | None = None


class _Lacking(Incoming):
    """What is not there, for sessions and for answers."""

    tools: _Tools = None
    tool_choice: _Choice = None
    parallel_tool_calls: bool | None = None
    prompt: _Prompt = None
    reasoning: _Reasoning = None
    max_output_tokens: _Limit = None


_Modalities = Annotated[list[Modality], Field(min_length=1, max_length=1)]


class SessionWanted(_Lacking):
    """How the session is to run from now on; what is left out stays."""

    type: Annotated[
        Literal["realtime", "transcription"] | None,
        _lacking(
            "this server writes nothing down: its sessions are of the type realtime", lambda kind: kind == "realtime"
        ),
    ] = None
    model: _Name | None = None
    """Taken and left aside: the server has one model."""
    instructions: _Instructions | None = None
    """For models that read."""
    output_modalities: _Modalities | None = None
    audio: _Audio | None = None
    include: list[str] | None = None
    tracing: Any = None
    truncation: Any = None


class ResponseWanted(_Lacking):
    """How this one answer is to be."""

    instructions: _Instructions | None = None
    output_modalities: _Modalities | None = None
    audio: _AnswerAudio | None = None
    metadata: _Metadata | None = None
    conversation: Annotated[
        str | None, _lacking("an answer belongs to the conversation here", lambda where: where == "auto")
    ] = None
    input: Annotated[list[Any] | None, _lacking("an answer follows from what was heard: leave input out")] = None


_BetaModalities = Annotated[list[Modality], Field(min_length=1, max_length=2)]


class _BetaWanted(Incoming):
    instructions: _Instructions | None = None
    modalities: _BetaModalities | None = None
    voice: _Name | None = None
    output_audio_format: BetaFormat | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_response_output_tokens: _Limit = None
    tools: _Tools = None
    tool_choice: _Choice = None


class BetaSessionWanted(_BetaWanted):
    """The same as ``SessionWanted``, in the words of the beta."""

    model: _Name | None = None
    input_audio_format: BetaFormat | None = None
    input_audio_transcription: Transcription | None = None
    input_audio_noise_reduction: dict[str, Any] | None = None
    turn_detection: Detection | None = None
    speed: float | None = Field(default=None, ge=0.5, le=2)
    tracing: Any = None


class BetaResponseWanted(_BetaWanted):
    """The same as ``ResponseWanted``, in the words of the beta."""

    metadata: _Metadata | None = None
    conversation: Annotated[
        str | None, _lacking("an answer belongs to the conversation here", lambda where: where == "auto")
    ] = None
    input: Annotated[list[Any] | None, _lacking("an answer follows from what was heard: leave input out")] = None
