"""What two lists of spans share: plain enough to judge the package's own arithmetic by."""

from __future__ import annotations

from collections.abc import Sequence

from Emilia.recording import Span


def intersect(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """What both lists cover; each must be free of overlaps within itself."""
    found: list[Span] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, end = max(left[i].start, right[j].start), min(left[i].end, right[j].end)
        if end > start:
            found.append(Span(start, end))
        if left[i].end < right[j].end:
            i += 1
        else:
            j += 1
    return found
