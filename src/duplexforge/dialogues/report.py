"""What a corpus holds, counted and measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from duplexforge.dialogues.plan import SPLITS, Answer, Asked
from duplexforge.errors import InputError
from duplexforge.voices import EMOTIONS, VOICES

__all__ = ["Report", "counted", "measured"]

SUMMARY = "dialogues.json"
"""The file of a corpus that has its report."""
_MEASURED = Path(__file__).with_name("measured.json")


@dataclass
class Report:
    """Counts, hours of the questions by split and of the answers, and the median pitch by voice and emotion (Hz)."""

    pairs: dict[str, int]
    intents: dict[str, int]
    answers: int
    emotions: dict[str, int]
    speakers: dict[str, int]
    held_out: dict[str, int]
    hours: dict[str, float] = field(default_factory=dict)
    pitch: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines and for ``dialogues.json``."""
        return asdict(self) | {"synthetic": True}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Report:
        """What :meth:`to_json` wrote."""
        return cls(**{name: value for name, value in told.items() if name != "synthetic"})

    def to_text(self) -> str:
        """The same for people."""
        told = [
            "pairs: " + ", ".join(f"{split} {count}" for split, count in self.pairs.items()),
            "intents: " + ", ".join(f"{language} {count}" for language, count in self.intents.items()),
            f"answers: {self.answers} files, all synthetic speech",
        ]
        if self.hours:
            told.append("hours: " + ", ".join(f"{part} {hours:.2f}" for part, hours in self.hours.items()))
        told += [
            f"{voice.name}: {self.pitch[voice.key]['neutral']:.0f} Hz (wanted {voice.pitch:.0f})"
            for voice in VOICES
            if "neutral" in self.pitch.get(voice.key, {})
        ]
        return "\n".join(told)


def counted(
    asked: Sequence[Asked],
    heard: Sequence[tuple[Answer, float]] = (),
    seconds: Mapping[str, float] | None = None,
    answered: float = 0.0,
) -> Report:
    """The report on a plan; with the pitch ``heard`` of each answer and the seconds spoken, on a corpus."""
    answers = {one.answer for one in asked}
    # Shares are those of training: what is held out is drawn alike, but there is too little of it to judge by.
    train = [one for one in asked if one.split == "train"]
    hours = {split: round(value / 3600, 3) for split, value in (seconds or {}).items()}
    return Report(
        pairs={split: sum(one.split == split for one in asked) for split in SPLITS},
        intents=dict(Counter(language for language, _ in {(a.intent.language, a.intent.id) for a in answers})),
        answers=len(answers),
        emotions={name: sum(one.answer.emotion == place for one in train) for place, name in enumerate(EMOTIONS)},
        speakers={voice.key: sum(one.answer.speaker == voice.id for one in train) for voice in VOICES},
        held_out=dict(Counter(one.held_out for one in asked if one.held_out)),
        hours=hours | {"answers": round(answered / 3600, 3)} if hours else {},
        pitch=_pitches(heard),
    )


def measured(corpus: Path | None = None) -> dict[str, dict[str, float]]:
    """The median pitch (Hz) by voice and emotion of a corpus; without one, of the corpus made with the usual settings."""
    path = _MEASURED if corpus is None else corpus / SUMMARY
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["pitch"]
        return {str(voice): {str(name): float(hz) for name, hz in moods.items()} for voice, moods in told.items()}
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; duplexforge data dialogues makes such a folder"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no summary of dialogues: {error}") from error


def _pitches(heard: Sequence[tuple[Answer, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {}
    for answer, pitch in heard:
        voice, emotion = VOICES[answer.speaker].key, EMOTIONS[answer.emotion]
        # Not a number where nothing was voiced, in a whisper or a cough.
        if pitch == pitch:
            found.setdefault(voice, {}).setdefault(emotion, []).append(pitch)
    return {voice: {name: round(median(some), 1) for name, some in moods.items()} for voice, moods in found.items()}
