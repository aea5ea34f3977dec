"""The four voices, the emotions and the controls of what speaks: names, numbers and ranges, written down once.

The model's embeddings are rows in the order of these tables, so that a number here is a number in every weights file and
in every ``train_pairs.json``: new rows go to the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from duplexforge.errors import UsageError

Accent = Literal["mild", "moderate", "heavy"]

ACCENTS: tuple[Accent, ...] = ("mild", "moderate", "heavy")
EMOTIONS = (
    "neutral",
    "happy",
    "laugh",
    "excited",
    "empathy",
    "surprise",
    "thinking",
    "telugu_heavy",
    "telugu_mild",
)
"""Emotions and styles by number."""


@dataclass(frozen=True)
class Voice:
    """One voice: its number, the names people and files use, and the pitch it speaks at (Hz, median)."""

    id: int
    name: str
    key: str
    pitch: float


VOICES = (
    Voice(0, "Arjun", "male_young", 120.0),
    Voice(1, "Ravi", "male_mature", 100.0),
    Voice(2, "Priya", "female_young", 220.0),
    Voice(3, "Lakshmi", "female_professional", 190.0),
)


@dataclass(frozen=True)
class Controls:
    """How a voice is to speak: factors on its own pitch, energy (amplitude) and rate, and the strength of its accent."""

    pitch: float = 1.0
    energy: float = 1.0
    rate: float = 1.0
    accent: Accent = "moderate"

    def __post_init__(self) -> None:
        for name in ("pitch", "energy", "rate"):
            value = getattr(self, name)
            if not 0.5 <= value <= 2.0:
                raise UsageError(f"{name} must lie between 0.5 and 2, not at {value}")
        if self.accent not in ACCENTS:
            raise UsageError(f"there is no accent {self.accent}; there are {', '.join(ACCENTS)}")


def find_voice(wanted: str | int) -> Voice:
    """The voice of that number, name or key, in any case; a UsageError that lists them when there is none."""
    for voice in VOICES:
        if str(wanted).strip().lower() in (str(voice.id), voice.name.lower(), voice.key):
            return voice
    known = ", ".join(f"{voice.name} ({voice.key})" for voice in VOICES)
    raise UsageError(f"there is no voice {wanted}; there are {known}")


def find_emotion(wanted: str | int) -> int:
    """The number of an emotion given by number or name; a UsageError that lists them when there is none."""
    text = str(wanted).strip().lower()
    if text in EMOTIONS:
        return EMOTIONS.index(text)
    if text.isdecimal() and int(text) < len(EMOTIONS):
        return int(text)
    raise UsageError(f"there is no emotion {wanted}; there are {', '.join(EMOTIONS)}")
