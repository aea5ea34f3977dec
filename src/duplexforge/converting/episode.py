"""What conversion reads, wherever it comes from: an episode with its speech and with the other sounds heard in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Episode", "Row", "Sound", "SoundRow", "Source", "Speech", "Unreadable", "video_id", "web_address"]

_YOUTUBE = "yt-"


class Row(BaseModel):
    """One object of ``all_segments.json`` or one published sample; fields it does not know are left aside."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    segment_id: str
    index: int = 0
    text: str = ""
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    speaker: str
    language: str = "unknown"
    flags: list[str] = Field(default_factory=list)


class SoundRow(BaseModel):
    """One object of ``events.json``."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    event: str
    label: str = ""
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    score: float = 1.0


@dataclass(frozen=True)
class Speech:
    """Somebody talks from ``start`` to ``end`` (seconds in the recording); ``segments`` are the ids that it is made of."""

    start: float
    end: float
    speaker: str
    text: str
    language: str
    segments: tuple[str, ...]
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Row) -> Speech:
        """The speech of one segment."""
        return cls(row.start, row.end, row.speaker, row.text, row.language, (row.segment_id,), tuple(sorted(row.flags)))


@dataclass(frozen=True)
class Sound:
    """Something else is heard: ``event`` is the word for it, ``label`` the model's own, ``score`` its probability."""

    start: float
    end: float
    event: str
    label: str
    score: float

    @classmethod
    def of(cls, row: SoundRow) -> Sound:
        """The sound of one event."""
        return cls(row.start, row.end, row.event, row.label, row.score)


@dataclass(frozen=True)
class Episode:
    """One recording. ``duration`` is in seconds, None when the source does not say; ``listener`` is the engine that
    looked for ``sounds``, None when nobody did; ``outcome`` is the pipeline's.
    """

    episode_id: str
    language: str = "unknown"
    speech: tuple[Speech, ...] = ()
    sounds: tuple[Sound, ...] = ()
    listener: str | None = None
    duration: float | None = None
    outcome: str = "ok"
    title: str | None = None
    url: str | None = None
    source: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """An episode that is there and cannot be used: ``reason`` is counted, ``sentence`` is for a person."""

    episode_id: str
    reason: str
    sentence: str


class Source(Protocol):
    """A place with episodes. ``left_out`` counts by reason what it does not give, once it was read to its end."""

    left_out: dict[str, int]

    def episodes(self) -> Iterator[Episode | Unreadable]:
        """All episodes in order of their ids, one after the other."""


def video_id(episode_id: str) -> str:
    """The id under which users know a recording: YouTube's own for its videos, else the episode's."""
    return episode_id.removeprefix(_YOUTUBE)


def web_address(url: str | None) -> str | None:
    """``url`` when it is one that others can open; the path of a file on somebody's machine is not."""
    return url if url and url.startswith(("http://", "https://")) else None
