"""Arithmetic on stretches of time: union, what lies between two times, and the hours of an episode.

Lists of spans are in time order. Hours are counted in whole milliseconds, so that their parts sum to the whole.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

from Emilia.recording import Segment, Span

__all__ = ["clip", "hours", "union"]

# Parts of 2**-22 hour (0.86 ms) are exact in binary floating point: sums over any number of episodes stay exact too.
_PARTS = 2**22
_START, _END = itemgetter(0), itemgetter(1)


def union(spans: Iterable[Span], gap: float = 0.0) -> list[Span]:
    """The stretches covered by at least one span, joined where ``gap`` seconds or less lie between them."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end + gap:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        elif span.end > span.start:
            merged.append(Span(span.start, span.end))
    return merged


def clip(spans: Sequence[Span], start: float, end: float) -> list[Span]:
    """The parts of ``spans``, which are free of overlaps, between ``start`` and ``end``."""
    if end <= start:
        return []
    first = bisect_right(spans, start, key=_END)
    inside = list(spans[first : bisect_left(spans, end, first, key=_START)])
    # Only the outermost two can reach outside.
    if inside and inside[0].start < start:
        inside[0] = Span(start, inside[0].end)
    if inside and inside[-1].end > end:
        inside[-1] = Span(inside[-1].start, end)
    return inside


def hours(duration: float, segments: Sequence[Segment]) -> dict[str, float]:
    """``source`` = ``published`` + ``flagged`` + ``no_speech``, in hours and exactly.

    ``published`` is the union of the unflagged segments, ``flagged`` what all segments cover beyond that.
    """
    everything = [Span(s.start, min(s.end, duration)) for s in segments]
    published = _parts(span for span, s in zip(everything, segments, strict=True) if not s.flags)
    covered = max(_parts(everything), published)
    source = max(_in_parts(duration), covered)
    counts = {
        "source": source,
        "published": published,
        "flagged": covered - published,
        "no_speech": source - covered,
    }
    return {name: count / _PARTS for name, count in counts.items()}


def _parts(spans: Iterable[Span]) -> int:
    return _in_parts(sum(round(span.length * 1000) for span in union(spans)) / 1000)


def _in_parts(seconds: float) -> int:
    return round(seconds / 3600 * _PARTS)
