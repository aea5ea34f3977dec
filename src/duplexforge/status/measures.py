"""What the report measures on segments: histograms, hours by speaker, text. One pass, however many segments there are.

Segments come as the dictionaries of ``all_segments.json``; a field that is missing or has the wrong type counts as not
measured, because a report must not fail on data that it is there to judge.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self


def number(value: object) -> float | None:
    """``value`` as a finite number, or None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def flags_of(segment: Mapping[str, Any]) -> list[str]:
    """The segment's flags."""
    flags = segment.get("flags")
    return [str(flag) for flag in flags] if isinstance(flags, list) else []


def length_of(segment: Mapping[str, Any]) -> float:
    """Seconds from start to end; 0 when they cannot be told."""
    start, end = number(segment.get("start")), number(segment.get("end"))
    return max(0.0, end - start) if start is not None and end is not None else 0.0


@dataclass
class Histogram:
    """Counts in steps from ``low`` to ``high``, kept and flagged segments apart; the end bins take what is outside."""

    low: float
    high: float
    step: float
    kept: list[int] = field(init=False)
    flagged: list[int] = field(init=False)

    def __post_init__(self) -> None:
        bins = round((self.high - self.low) / self.step)
        self.kept, self.flagged = [0] * bins, [0] * bins

    def add(self, value: float, *, flagged: bool) -> None:
        """Count one value."""
        counts = self.flagged if flagged else self.kept
        # A hair is added so that a value on an edge falls above it whatever its binary rounding.
        counts[min(len(counts) - 1, max(0, int((value - self.low) / self.step + 1e-9)))] += 1

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.kept) + sum(self.flagged)

    def edges(self) -> list[float]:
        """Lower edges of the bins."""
        return [self.low + self.step * index for index in range(len(self.kept))]


@dataclass
class Measures:
    """The sums over all segments. ``speakers`` holds seconds by speaker; ``scores`` are DNSMOS P.835 OVRL."""

    segments: int = 0
    seconds: float = 0.0
    words: int = 0
    without_text: int = 0
    unscored: int = 0
    score_sum: float = 0.0
    durations: Histogram = field(default_factory=lambda: Histogram(0.0, 31.0, 1.0))
    scores: Histogram = field(default_factory=lambda: Histogram(1.0, 5.0, 0.1))
    speakers: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, segments: Iterable[Mapping[str, Any]]) -> Self:
        """The measures of ``segments``, read once."""
        measures = cls()
        for segment in segments:
            measures.add(segment)
        return measures

    def add(self, segment: Mapping[str, Any]) -> None:
        """Count one segment."""
        length, flagged = length_of(segment), bool(flags_of(segment))
        self.segments += 1
        self.seconds += length
        self.durations.add(length, flagged=flagged)
        speaker = str(segment.get("speaker") or "unknown")
        self.speakers[speaker] = self.speakers.get(speaker, 0.0) + length
        text = str(segment.get("text") or "").strip()
        self.words += len(text.split())
        self.without_text += not text
        score = number(segment.get("dnsmos"))
        if score is None:
            self.unscored += 1
        else:
            self.score_sum += score
            self.scores.add(score, flagged=flagged)

    def longest_speakers(self, most: int) -> list[tuple[str, float]]:
        """The ``most`` speakers with the most speech, each with its hours."""
        ranked = heapq.nsmallest(most, self.speakers.items(), key=lambda item: (-item[1], item[0]))
        return [(name, seconds / 3600) for name, seconds in ranked]

    @property
    def mean_score(self) -> float | None:
        """Mean DNSMOS of the scored segments, None when there are none."""
        scored = self.segments - self.unscored
        return self.score_sum / scored if scored else None


class Draw:
    """Draws a fair sample: the ``size`` segments with the smallest hash of their key, the same ones in every run.

    Nobody picks nice ones by hand, and no episode is favoured for being read first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, str, str]] = []

    def add(self, segment: Mapping[str, Any], audio_key: str) -> None:
        """Offer a segment whose audio is the object ``audio_key``."""
        rank = -int.from_bytes(hashlib.sha256(audio_key.encode("utf-8", "replace")).digest()[:8], "big")
        if len(self._heap) == self._size and rank <= self._heap[0][0]:
            return
        # Kept as text, so that entries always compare and the segment's own dictionary can go.
        entry = (rank, audio_key, json.dumps(dict(segment)))
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def drawn(self) -> list[tuple[dict[str, Any], str]]:
        """The segments drawn, each with the key of its audio, in the order of the keys."""
        return sorted(((json.loads(text), key) for _, key, text in self._heap), key=lambda item: item[1])
