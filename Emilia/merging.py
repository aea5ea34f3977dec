"""The rules that turn rows of speech into segments, as pure functions on times.

``pieces`` is the published Emilia rule set with its defects mended (split at the longest silences, merge in both
directions, cut at the lowest energy); ``pieces_published`` reproduces the published one, except that nothing is
dropped. Rows and pieces are turns in time order; all times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from Emilia.options import SegmentOptions
from Emilia.recording import Span, Turn, ms
from Emilia.spans import clip

__all__ = ["Quietest", "merge", "padded", "pieces", "pieces_published", "split", "unnested"]

Quietest = Callable[[float, float], float]
"""Gives the moment of lowest energy between two times."""


def unnested(turns: Sequence[Turn]) -> list[Turn]:
    """Turns in time order without those that end before an earlier one does."""
    kept: list[Turn] = []
    for turn in sorted(turns):
        if turn.end > turn.start and (not kept or turn.end > kept[-1].end):
            kept.append(turn)
    return kept


def pieces(turns: Sequence[Turn], voiced: Sequence[Span], quietest: Quietest, options: SegmentOptions) -> list[Turn]:
    """Turns split, cut and merged by the rules of this package; every moment that is in a turn and voiced stays
    covered.
    """
    rows = [piece for turn in unnested(turns) for piece in split(turn, voiced, options)]
    cut = [piece for row in rows for piece in _cut(row, quietest, options.max_seconds)]
    return merge(cut, options)


def pieces_published(turns: Sequence[Turn], voiced: Sequence[Span], options: SegmentOptions) -> list[Turn]:
    """The published rule: cut at exactly ``max_seconds``, and only a short piece extends the one before it."""
    done: list[Turn] = []
    for turn in unnested(turns):
        for piece in split(turn, voiced, options):
            if piece.end - piece.start >= options.max_seconds:
                done += _chopped(piece, options.max_seconds)
            elif done and _extends(done[-1], piece, options):
                done[-1] = done[-1]._replace(end=piece.end)
            else:
                done.append(piece)
    return done


def _chopped(piece: Turn, most: float) -> list[Turn]:
    start, parts = piece.start, []
    while piece.end - start >= most:
        parts.append(Turn(start, start + most, piece.speaker))
        start += most
    return [*parts, Turn(start, piece.end, piece.speaker)]


def _extends(last: Turn, piece: Turn, options: SegmentOptions) -> bool:
    short = piece.end - piece.start < options.min_seconds
    near = piece.start - last.end < options.merge_gap and piece.end - last.start < options.max_seconds
    return short and near and last.speaker == piece.speaker


def split(turn: Turn, voiced: Sequence[Span], options: SegmentOptions) -> list[Turn]:
    """A turn up to ``split_over`` seconds untouched, a longer one at its longest silences until all parts are shorter.

    What has no silence inside stays whole; silence at the cuts and at the ends of a split turn is given up.
    """
    if turn.end - turn.start <= options.split_over:
        return [turn]
    islands = clip(voiced, turn.start, turn.end)
    if not islands:
        return [turn]
    groups, parts = [islands], []
    while groups:
        group = groups.pop()
        if len(group) == 1 or group[-1].end - group[0].start < options.split_over:
            parts.append(Turn(group[0].start, group[-1].end, turn.speaker))
            continue
        gaps = [after.start - before.end for before, after in pairwise(group)]
        at = gaps.index(max(gaps)) + 1
        groups += [group[at:], group[:at]]
    return parts


def _cut(piece: Turn, quietest: Quietest, most: float) -> list[Turn]:
    length = piece.end - piece.start
    if length < most:
        return [piece]
    # The middle half: both sides become shorter by a quarter at least, so this ends, and neither side is a crumb.
    at = ms(quietest(piece.start + length / 4, piece.end - length / 4))
    left, right = Turn(piece.start, at, piece.speaker), Turn(at, piece.end, piece.speaker)
    return [*_cut(left, quietest, most), *_cut(right, quietest, most)]


def merge(rows: Sequence[Turn], options: SegmentOptions) -> list[Turn]:
    """Rows in which each one under ``min_seconds`` has joined the nearer neighbour of its speaker, where the rules
    allow it.
    """
    merged: list[Turn] = []
    for index, row in enumerate(rows):
        following = rows[index + 1] if index + 1 < len(rows) else None
        if merged and _joins(merged[-1], row, options) and not _waits(merged[-1], row, following, options):
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, row.end))
        else:
            merged.append(row)
    return merged


def _joins(left: Turn, right: Turn, options: SegmentOptions) -> bool:
    short = min(left.end - left.start, right.end - right.start) < options.min_seconds
    near = right.start - left.end < options.merge_gap
    fits = max(left.end, right.end) - left.start < options.max_seconds
    return left.speaker == right.speaker and short and near and fits


def _waits(left: Turn, row: Turn, following: Turn | None, options: SegmentOptions) -> bool:
    """True when ``row`` does better to join what follows: it is nearer, and ``left`` can do without."""
    if following is None or left.end - left.start < options.min_seconds:
        return False
    return _joins(row, following, options) and following.start - row.end < row.start - left.end


def padded(rows: Sequence[Turn], duration: float, options: SegmentOptions) -> list[Turn]:
    """Rows widened by up to ``pad`` on both sides: at most half way to the neighbour, never over ``max_seconds`` or
    the ends.
    """
    wide: list[Turn] = []
    reach = 0.0
    for index, row in enumerate(rows):
        after = rows[index + 1].start if index + 1 < len(rows) else math.inf
        room = max(0.0, options.max_seconds - (row.end - row.start)) / 2
        # The first and the last row may take the whole gap: there is no neighbour to share it with.
        left = (row.start - reach) / (2 if index else 1)
        right = (after - row.end) / 2
        start = row.start - _floor(max(0.0, min(options.pad, room, left)))
        end = row.end + _floor(max(0.0, min(options.pad, room, right)))
        wide.append(Turn(ms(max(0.0, start)), ms(max(row.end, min(duration, end))), row.speaker))
        reach = max(reach, row.end)
    return wide


def _floor(seconds: float) -> float:
    return math.floor(seconds * 1000) / 1000
