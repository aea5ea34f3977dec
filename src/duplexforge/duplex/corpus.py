"""What a corpus of two-speaker recordings is to the builder: conversations of two tracks, and problems told one by one.

A new kind of corpus is one module with a :class:`Corpus` and one line in ``build.CORPORA``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Problem:
    """Something that was left out, changed or doubted: ``reason`` is a class word that is counted; ``line`` from 1.

    ``kept`` tells that nothing was lost by it: what the problem is about was mended, or kept with doubt. ``by_rule`` tells
    that it was left out because a rule of the user's choice says so, and is nobody's fault.
    """

    file: str
    line: int | None
    reason: str
    message: str
    kept: bool = False
    by_rule: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a line of ``report.jsonl``."""
        return asdict(self)

    @property
    def lost(self) -> bool:
        """Whether something was left out that the user did not ask to leave out."""
        return not self.kept and not self.by_rule


def blamed(problems: Sequence[Problem]) -> Problem:
    """The one of some problems that best says why nothing came of it: the first loss, else the first by rule, else any."""
    return min(problems, key=lambda one: (not one.lost, not one.by_rule))


@dataclass(frozen=True)
class Word:
    """A word with its times in seconds on the conversation's clock."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """What one speaker says without a break, seconds on the conversation's clock. ``words`` only when their times are known."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] | None = None


class Audio(Protocol):
    """One speaker's audio, to be read in any process: small, frozen, picklable; opens its file when it is read."""

    def blocks(self, rate: int) -> Iterator[Samples]:
        """Mono float32 in ±1 at ``rate``, in blocks of any length; InputError when it cannot be read."""
        ...


@dataclass(frozen=True)
class Track:
    """One speaker of a conversation: the audio on which mainly this speaker is heard, and what they say, by start."""

    speaker: str
    audio: Audio
    utterances: tuple[Utterance, ...]
    gender: str | None = None


@dataclass(frozen=True)
class Conversation:
    """Two tracks on one clock. ``conversation_id`` and speakers are safe names (``layout.safe_name``).

    ``group`` ties conversations of one recording session together: a split never cuts through a group or a speaker.
    ``provenance`` is what a reader needs to find the source again, JSON-able.
    """

    conversation_id: str
    tracks: tuple[Track, Track]
    group: str = ""
    language: str = "unknown"
    licence: str | None = None
    flags: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


class Corpus(Protocol):
    """Conversations in the order of their ids, the same in every run; problems are complete once they were all read."""

    problems: list[Problem]

    def conversations(self) -> Iterator[Conversation]:
        """All of them, metadata only: no audio is decoded here beyond headers."""
        ...
