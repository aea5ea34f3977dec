"""Segments of a processed episode, and what several of them amount to as a conversation of two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Segment", "Stretch"]


class Segment(BaseModel):
    """One object of ``all_segments.json``; fields it does not know are left aside. Times are seconds in the episode."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    segment_id: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    speaker: str
    text: str = ""
    language: str = "unknown"
    dnsmos: float | None = None
    flags: tuple[str, ...] = ()
    audio: str = ""
    sha256: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    @property
    def says(self) -> bool:
        """Whether it has a text."""
        return bool(self.text.strip())


@dataclass(frozen=True)
class Stretch:
    """``segments`` in time order, of all who are heard; ``start`` and ``end`` leave a little room around them.

    ``around`` is what is no part of it and lies at its ends, or reaches into it.
    """

    segments: tuple[Segment, ...]
    start: float
    end: float
    around: tuple[Segment, ...] = ()

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """The (at most) two who say most, in order of appearance; a sound without a text makes nobody a speaker."""
        said: dict[str, float] = {}
        for one in self.segments:
            said[one.speaker] = said.get(one.speaker, 0.0) + one.seconds * one.says
        two = sorted(said, key=lambda name: (-said[name], name))[:2]
        return tuple(name for name in said if name in two and said[name] > 0)

    def of(self, speaker: str) -> list[Segment]:
        """The segments of one speaker."""
        return [one for one in self.segments if one.speaker == speaker]

    @property
    def theirs(self) -> list[Segment]:
        """The segments of the two."""
        return [one for one in self.segments if one.speaker in self.speakers]

    @property
    def seconds(self) -> float:
        """Length, with the room around the speech."""
        return self.end - self.start

    @property
    def turns(self) -> int:
        """How often one begins where the other spoke last."""
        return len(list(groupby(one.speaker for one in self.theirs if one.says)))

    @property
    def speech(self) -> float:
        """Seconds in which one of the two speaks."""
        return _covered((one.start, one.end) for one in self.theirs)

    @property
    def overlap(self) -> float:
        """Seconds in which both do."""
        alone = sum(_covered((one.start, one.end) for one in self.of(name)) for name in self.speakers)
        return max(0.0, round(alone - self.speech, 6))

    @property
    def others(self) -> float:
        """Seconds in which somebody else says something, from the first to the last segment."""
        first, last = self.segments[0].start, max(one.end for one in self.segments)
        strangers = [one for one in self.segments + self.around if one.says and one.speaker not in self.speakers]
        return _covered((max(one.start, first), min(one.end, last)) for one in strangers)

    @property
    def dnsmos(self) -> float | None:
        """Mean score of the two, weighed by length; None when no segment has one."""
        scored = [(one.dnsmos, one.seconds) for one in self.theirs if one.dnsmos is not None]
        return sum(score * length for score, length in scored) / sum(length for _, length in scored) if scored else None

    @property
    def language(self) -> str:
        """The language of most of what the two say."""
        spoken: dict[str, float] = {}
        for one in self.theirs:
            spoken[one.language] = spoken.get(one.language, 0.0) + one.seconds * one.says
        return min(spoken, key=lambda code: (-spoken[code], code))


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
