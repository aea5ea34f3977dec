"""The four voices, the emotions and the controls of what speaks: names, numbers and ranges, written down once.

The model's embeddings are rows in the order of these tables, so that a number here is a number in every weights file and
in every ``train_pairs.json``: new rows go to the end. What lies between two voices is found by :func:`slerp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from duplexforge.errors import UsageError

Floats = npt.NDArray[np.float64]

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
_STRENGTH: dict[Accent, float] = {"mild": 0.0, "moderate": 0.5, "heavy": 1.0}
"""Where an accent lies between the mild one and the heavy one."""
_OPPOSITE = 1e-6
"""So near to half a turn (radians) two directions are opposite."""


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
    """How a voice is to speak: factors on its own pitch, energy (amplitude) and rate, and the strength of its accent.

    Without an accent it speaks as its emotion says.
    """

    pitch: float = 1.0
    energy: float = 1.0
    rate: float = 1.0
    accent: Accent | None = None

    def __post_init__(self) -> None:
        for name in ("pitch", "energy", "rate"):
            value = getattr(self, name)
            if not 0.5 <= value <= 2.0:
                raise UsageError(f"{name} must lie between 0.5 and 2, not at {value}")
        if self.accent is not None:
            find_accent(self.accent)


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


def find_accent(wanted: str) -> Accent:
    """The accent of that name; a UsageError that lists them when there is none."""
    for accent in ACCENTS:
        if wanted.strip().lower() == accent:
            return accent
    raise UsageError(f"there is no accent {wanted}; there are {', '.join(ACCENTS)}")


def manner_of(table: npt.NDArray[Any], emotion: int, accent: Accent | None = None) -> npt.NDArray[np.float32]:
    """The vector of an emotion, or of an accent, from a model's ``table`` of emotions (rows × width).

    An accent is a row of the same table, moderate lies halfway between the mild one and the heavy one; so it takes the
    emotion's place, and a UsageError says so when that is not neutral.
    """
    if accent is None:
        return np.asarray(table[emotion], np.float32)
    if emotion != EMOTIONS.index("neutral"):
        raise UsageError(f"an accent is spoken in the emotion neutral alone: leave out {accent} or {EMOTIONS[emotion]}")
    mild, heavy = (table[EMOTIONS.index(f"telugu_{name}")] for name in ("mild", "heavy"))
    return np.asarray(slerp(mild, heavy, _STRENGTH[accent]), np.float32)


def slerp(one: npt.NDArray[Any], other: npt.NDArray[Any], weight: float) -> Floats:
    """The voice between two voices' vectors: ``one`` at weight 0, ``other`` at 1; UsageError outside or for a zero vector.

    Spherical linear interpolation (Shoemake, 1985): the direction turns evenly along the great circle through both, and the
    length goes evenly from the one's to the other's; a straight line would pass too near to zero. Opposite directions have
    no one circle: theirs goes through the axis that ``one`` is least along, so that the order of the two does not matter.
    """
    if not 0.0 <= weight <= 1.0:
        raise UsageError(f"the weight must lie between 0 and 1, not at {weight}")
    first, last = np.asarray(one, np.float64), np.asarray(other, np.float64)
    lengths = np.linalg.norm(first), np.linalg.norm(last)
    if first.shape != last.shape or not all(np.isfinite(lengths)) or not all(lengths):
        raise UsageError("two voices are blended by vectors of one width that are not zero")
    start, end = first / lengths[0], last / lengths[1]
    # Exact at small angles and near half a turn, where the arc cosine is not.
    angle = 2 * np.arctan2(np.linalg.norm(start - end), np.linalg.norm(start + end))
    side = _sideways(start, end, angle)
    turned = np.cos(weight * angle) * start + np.sin(weight * angle) * side
    found: Floats = turned * ((1 - weight) * lengths[0] + weight * lengths[1])
    return found


def _sideways(start: Floats, end: Floats, angle: float) -> Floats:
    """The unit vector square to ``start`` towards ``end``; zero where both are one direction."""
    towards = end
    if angle > np.pi - _OPPOSITE:
        towards = np.zeros_like(start)
        towards[np.argmin(np.abs(start))] = 1.0
    square = towards - (towards @ start) * start
    length = float(np.linalg.norm(square))
    return square / length if length > 0 else square
