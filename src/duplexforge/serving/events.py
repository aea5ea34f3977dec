"""What a conversation tells its client, whatever the protocol. ``epoch`` counts answers: what belongs to an old one is stale."""

from __future__ import annotations

from dataclasses import dataclass

from duplexforge.serving.packets import AudioOutput

__all__ = [
    "AnswerBegan",
    "AnswerEnded",
    "AnswerMade",
    "Ducked",
    "Event",
    "Failed",
    "Heard",
    "Interrupted",
    "Lagged",
    "Resumed",
    "Sound",
    "SpeechBegan",
    "SpeechEnded",
    "Taken",
    "Words",
]


@dataclass(frozen=True)
class SpeechBegan:
    """The user began to speak, ``at`` seconds into their stream."""

    at: float


@dataclass(frozen=True)
class SpeechEnded:
    """The user's turn is over: its last sound was ``at`` seconds into their stream, decided ``after`` seconds of silence."""

    at: float
    after: float


@dataclass(frozen=True)
class AnswerBegan:
    """Answer number ``epoch`` begins."""

    epoch: int


@dataclass(frozen=True)
class Words:
    """A piece of the answer's text."""

    epoch: int
    text: str


@dataclass(frozen=True)
class Sound:
    """A piece of the answer, ``start`` seconds from its beginning."""

    epoch: int
    start: float
    audio: AudioOutput


@dataclass(frozen=True)
class AnswerMade:
    """No more of answer ``epoch`` is to come; it is ``seconds`` long, and may still be playing."""

    epoch: int
    seconds: float


@dataclass(frozen=True)
class AnswerEnded:
    """The answer is whole; ``seconds`` of it were said, and its whole ``text``."""

    epoch: int
    seconds: float
    text: str


@dataclass(frozen=True)
class Ducked:
    """The user may be interrupting: play softly until it is known."""

    epoch: int


@dataclass(frozen=True)
class Resumed:
    """It was no interruption: play as before."""

    epoch: int


@dataclass(frozen=True)
class Interrupted:
    """The answer was broken off: throw away what was not played. ``played`` seconds count as heard, with ``text`` until there.

    ``by``: ``voice`` (the user spoke), ``client`` (it asked for it) or ``turn`` (a new answer was asked for).
    """

    epoch: int
    played: float
    text: str
    by: str


@dataclass(frozen=True)
class Lagged:
    """The model is behind: ``seconds`` of the user's sound were left out."""

    seconds: float


@dataclass(frozen=True)
class Taken:
    """The model has heard the user's stream up to ``at`` seconds; what it made of that was told before."""

    at: float


@dataclass(frozen=True)
class Heard:
    """Times of one answer, seconds. ``first`` and ``endpoint`` count from the user's last sound to reach the server."""

    epoch: int
    endpoint: float
    """Until the turn was held to be over."""
    first: float
    """Until the first sound of the answer was handed to the protocol."""


@dataclass(frozen=True)
class Failed:
    """Something went wrong that this client should know; ``code`` is a short word, and the session may be over."""

    code: str
    message: str
    over: bool = False


Event = (
    SpeechBegan
    | SpeechEnded
    | AnswerBegan
    | Words
    | Sound
    | AnswerMade
    | AnswerEnded
    | Ducked
    | Resumed
    | Interrupted
    | Lagged
    | Taken
    | Heard
    | Failed
)
