"""What follows from what happens in a conversation, and how often it did. Part of ``turns``."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from duplexforge.serving.events import AnswerBegan, Ducked, Resumed, SpeechBegan, SpeechEnded

__all__ = ["Action", "Attend", "Broken", "Counts", "Made", "Whole"]


@dataclass(frozen=True)
class Attend:
    """A turn of the user begins at ``since`` seconds of their stream."""

    since: float


@dataclass(frozen=True)
class Broken:
    """The answer is broken off; ``played`` seconds count as heard. ``by``: as in ``events.Interrupted``."""

    epoch: int
    played: float
    by: str


@dataclass(frozen=True)
class Made:
    """The model has said all of the answer, which may still be playing."""

    epoch: int


@dataclass(frozen=True)
class Whole:
    """The answer is over, all of it was said."""

    epoch: int


Action = SpeechBegan | SpeechEnded | AnswerBegan | Ducked | Resumed | Attend | Broken | Made | Whole


@dataclass
class Counts:
    """What happened so far. The latencies count from the arrival of the first window with voice; the last 256 are kept."""

    turns: int = 0
    answers: int = 0
    interruptions: int = 0
    """Answers that the user's voice broke off; those by the client are in ``stopped``."""
    stopped: int = 0
    false_alarms: int = 0
    ducks: deque[float] = field(default_factory=lambda: deque(maxlen=256))
    """Seconds until the answer was ducked."""
    stops: deque[float] = field(default_factory=lambda: deque(maxlen=256))
    """Seconds until it was broken off."""
