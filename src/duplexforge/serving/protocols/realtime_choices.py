"""From what a client of ``/v1/realtime`` wants to how its session runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.protocols.realtime_incoming import Refused
from duplexforge.serving.protocols.realtime_settings import Detection, SemanticVad
from duplexforge.serving.protocols.realtime_wording import Changes, How, Wire, voice_of
from duplexforge.serving.session import SessionConfig
from duplexforge.voices import VOICES, find_voice

__all__ = ["asked", "changed", "first", "listening"]

_EAGERNESS: dict[str, dict[str, Any]] = {
    "low": {"sure": 0.97, "sure_silence": 0.4, "silence": 1.5},
    "medium": {name: getattr(SessionConfig(), name) for name in ("sure", "sure_silence", "silence")},
    "high": {"sure": 0.7, "sure_silence": 0.1, "silence": 0.4},
}
_LEAST, _MOST = 0.01, 0.99
"""Thresholds beyond which there would be voice always, or never."""


def first(facts: Facts, config: SessionConfig) -> tuple[Wire, SessionConfig]:
    """How a session begins: the model's own opinion ends a turn, because that is what answers soonest."""
    detection = SemanticVad(type="semantic_vad")
    wire = Wire("audio" if facts.says else "text", detection, instructions=config.manner.prompt)
    return wire, listening(config, detection)


def listening(config: SessionConfig, detection: Detection | None) -> SessionConfig:
    """``config`` with the turns told apart in this way; None: the client tells, and nothing happens by itself."""
    if detection is None:
        return replace(config, turns="client", answers=False, interruption=False)
    config = replace(
        config, turns="server", answers=detection.create_response, interruption=detection.interrupt_response
    )
    if isinstance(detection, SemanticVad):
        usual = SessionConfig()
        eagerness = "medium" if detection.eagerness == "auto" else detection.eagerness
        return replace(config, vad_threshold=usual.vad_threshold, prefix=usual.prefix, **_EAGERNESS[eagerness])
    silence = detection.silence_duration_ms / 1000
    return replace(
        config,
        vad_threshold=min(max(detection.threshold, _LEAST), _MOST),
        prefix=detection.prefix_padding_ms / 1000,
        silence=silence,
        # As long as without an opinion: then the model's has no effect.
        sure_silence=silence,
        sure=1.0,
    )


def changed(wire: Wire, config: SessionConfig, changes: Changes, facts: Facts) -> tuple[Wire, SessionConfig]:
    """Both with ``changes``; ``Refused`` and UsageError for what this server has not. The prompt is left as it was."""
    _speakable(changes, facts)
    wire = replace(wire, **_given(changes, ("modality", "hears", "says", "instructions")))
    if "transcription" in changes.given:
        wire = replace(wire, transcription=changes.transcription)
    if "turn_detection" in changes.given:
        wire = replace(wire, detection=changes.detection)
        config = listening(config, changes.detection)
    return wire, replace(config, manner=_manner(config.manner, changes, facts))


def asked(wire: Wire, config: SessionConfig, changes: Changes, facts: Facts, prompt: str) -> tuple[How, Manner | None]:
    """How one answer is to be, and its manner where that is not the session's. Raises as :func:`changed`."""
    _speakable(changes, facts)
    manner = replace(_manner(config.manner, changes, facts), prompt=prompt)
    how = How(
        changes.modality or wire.modality,
        changes.says or wire.says,
        voice_of(facts, manner),
        temperature=manner.temperature,
        metadata=changes.metadata,
    )
    return how, manner if manner != config.manner else None


def _manner(manner: Manner, changes: Changes, facts: Facts) -> Manner:
    wanted: dict[str, Any] = _given(changes, ("temperature",))
    if changes.speed is not None:
        wanted["rate"] = changes.speed
    if changes.voice is not None:
        wanted["speaker"] = _voice(changes.voice, facts)
    return replace(manner, **wanted) if wanted else manner


def _voice(wanted: str, facts: Facts) -> str:
    """The key of a voice that is named by key, name or number; a UsageError lists those that there are."""
    ours = {voice.key for voice in VOICES} & set(facts.speakers)
    return find_voice(wanted).key if ours and wanted not in facts.speakers else wanted


def _given(changes: Changes, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(changes, name)) is not None}


def _speakable(changes: Changes, facts: Facts) -> None:
    if changes.modality == "audio" and not facts.says:
        raise Refused(f"{facts.name} writes and does not speak: ask for text", "unsupported", param="output_modalities")
