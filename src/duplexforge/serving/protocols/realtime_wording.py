"""Today's words of ``/v1/realtime`` and those of the beta: the same things, named and arranged differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter

from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.protocols import realtime_incoming as incoming
from duplexforge.serving.protocols import realtime_shapes as shapes
from duplexforge.serving.protocols.realtime_settings import (
    AudioFormat,
    BetaFormat,
    BetaResponseWanted,
    BetaSessionWanted,
    Detection,
    Modality,
    Pcm,
    Pcma,
    Pcmu,
    ResponseWanted,
    SessionWanted,
    Transcription,
    VoiceId,
)
from duplexforge.serving.session import SessionConfig

__all__ = ["Beta", "Changes", "Current", "How", "Wire", "Wording", "voice_of"]

_FORMATS: dict[BetaFormat, AudioFormat] = {
    "pcm16": Pcm(),
    "g711_ulaw": Pcmu(type="audio/pcmu"),
    "g711_alaw": Pcma(type="audio/pcma"),
}
_BETA_FORMATS = {form.type: name for name, form in _FORMATS.items()}

Added = Literal["conversation.item.added", "conversation.item.created"]
Spoken = Literal["output_audio", "audio"]
Written = Literal["output_text", "text"]
_PCM = Pcm()


@dataclass(frozen=True)
class Wire:
    """What a session has agreed on with its client, beside its ``SessionConfig``."""

    modality: Modality
    detection: Detection | None
    instructions: str = ""
    hears: AudioFormat = _PCM
    says: AudioFormat = _PCM
    transcription: Transcription | None = None


@dataclass(frozen=True)
class How:
    """How one answer is given."""

    modality: Modality
    form: AudioFormat
    voice: str | None
    temperature: float | None = None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True)
class Changes:
    """What a client wants otherwise, in either wording; None: as it is. ``given`` names what was set, be it to null."""

    modality: Modality | None = None
    hears: AudioFormat | None = None
    says: AudioFormat | None = None
    voice: str | None = None
    speed: float | None = None
    temperature: float | None = None
    instructions: str | None = None
    metadata: dict[str, str] | None = None
    detection: Detection | None = None
    transcription: Transcription | None = None
    given: frozenset[str] = frozenset()


class Wording(Protocol):
    """One of the two."""

    events: TypeAdapter[incoming.ClientEvent]
    """What a client may say."""
    renamed: Mapping[str, str]
    """Names of events that are others here."""
    added: Added
    """What it is called when an item comes."""
    done: bool
    """Whether an item is also told when it is as it will stay."""
    spoken: Spoken
    written: Written
    """What the parts of an answer are called."""

    def changes(self, wanted: Any) -> Changes:
        """What ``session.update`` or ``response.create`` asks for."""
        ...

    def session(self, name: str, facts: Facts, wire: Wire, config: SessionConfig, expires: int) -> Any:
        """The settings that hold."""
        ...

    def response(self, how: How, **common: Any) -> Any:
        """An answer; ``common``: what both wordings have."""
        ...


class Current:
    """Today's words."""

    events = incoming.CURRENT
    renamed: Mapping[str, str] = {}
    added: Added = "conversation.item.added"
    done = True
    spoken: Spoken = "output_audio"
    written: Written = "output_text"

    def changes(self, wanted: SessionWanted | ResponseWanted) -> Changes:
        """See ``Wording``."""
        heard = wanted.audio.input if isinstance(wanted, SessionWanted) and wanted.audio is not None else None
        said = wanted.audio.output if wanted.audio is not None else None
        voice = said.voice if said is not None else None
        return Changes(
            modality=wanted.output_modalities[0] if wanted.output_modalities else None,
            hears=heard.format if heard is not None else None,
            says=said.format if said is not None else None,
            voice=voice.id if isinstance(voice, VoiceId) else voice,
            speed=getattr(said, "speed", None),
            instructions=wanted.instructions,
            metadata=getattr(wanted, "metadata", None),
            detection=heard.turn_detection if heard is not None else None,
            transcription=heard.transcription if heard is not None else None,
            given=frozenset(heard.model_fields_set) if heard is not None else frozenset(),
        )

    def session(self, name: str, facts: Facts, wire: Wire, config: SessionConfig, expires: int) -> shapes.Session:
        """See ``Wording``."""
        heard = shapes.SessionInput(format=wire.hears, transcription=wire.transcription, turn_detection=wire.detection)
        said = shapes.SessionOutput(format=wire.says, voice=voice_of(facts, config.manner), speed=config.manner.rate)
        return shapes.Session(
            id=name,
            model=facts.name,
            expires_at=expires,
            output_modalities=[wire.modality],
            instructions=wire.instructions,
            audio=shapes.SessionAudio(input=heard, output=said),
        )

    def response(self, how: How, **common: Any) -> shapes.Response:
        """See ``Wording``."""
        audio = shapes.VoiceAudio(output=shapes.Voice(format=how.form, voice=how.voice))
        return shapes.Response(output_modalities=[how.modality], audio=audio, **common)


class Beta:
    """The words of clients that send ``OpenAI-Beta: realtime=v1``."""

    events = incoming.BETA
    renamed: Mapping[str, str] = {
        f"response.output_{what}.{when}": f"response.{what}.{when}"
        for what in ("audio", "audio_transcript", "text")
        for when in ("delta", "done")
    }
    added: Added = "conversation.item.created"
    done = False
    spoken: Spoken = "audio"
    written: Written = "text"

    def changes(self, wanted: BetaSessionWanted | BetaResponseWanted) -> Changes:
        """See ``Wording``."""
        session = wanted if isinstance(wanted, BetaSessionWanted) else None
        given = {"turn_detection": "turn_detection", "input_audio_transcription": "transcription"}
        hears = session.input_audio_format if session is not None else None
        return Changes(
            modality=None if wanted.modalities is None else "audio" if "audio" in wanted.modalities else "text",
            hears=_FORMATS[hears] if hears else None,
            says=_FORMATS[wanted.output_audio_format] if wanted.output_audio_format else None,
            voice=wanted.voice,
            speed=session.speed if session is not None else None,
            temperature=wanted.temperature,
            instructions=wanted.instructions,
            metadata=getattr(wanted, "metadata", None),
            detection=session.turn_detection if session is not None else None,
            transcription=session.input_audio_transcription if session is not None else None,
            given=frozenset(given[name] for name in wanted.model_fields_set if name in given),
        )

    def session(self, name: str, facts: Facts, wire: Wire, config: SessionConfig, expires: int) -> shapes.BetaSession:
        """See ``Wording``."""
        return shapes.BetaSession(
            id=name,
            expires_at=expires,
            modalities=_beta_modalities(wire.modality),
            instructions=wire.instructions,
            voice=voice_of(facts, config.manner),
            input_audio_format=_BETA_FORMATS[wire.hears.type],
            output_audio_format=_BETA_FORMATS[wire.says.type],
            input_audio_transcription=wire.transcription,
            turn_detection=wire.detection,
            temperature=config.manner.temperature,
            speed=config.manner.rate,
        )

    def response(self, how: How, **common: Any) -> shapes.BetaResponse:
        """See ``Wording``."""
        return shapes.BetaResponse(
            modalities=_beta_modalities(how.modality),
            voice=how.voice,
            output_audio_format=_BETA_FORMATS[how.form.type],
            temperature=how.temperature,
            **common,
        )


def voice_of(facts: Facts, manner: Manner) -> str | None:
    """The key of the voice that answers; None for a model without voices to choose from."""
    return manner.speaker or (facts.speakers[0] if facts.speakers else None)


def _beta_modalities(modality: Modality) -> list[Modality]:
    # The beta counts the transcript of a sound as text.
    return ["text", "audio"] if modality == "audio" else ["text"]
