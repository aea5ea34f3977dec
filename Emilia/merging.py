"""The rules that turn rows of speech into segments, as pure functions on times.

``pieces`` is the Emilia rule set with the published one's defects mended: silences are given up inside every row, what
is too long is cut where it is quietest, short pieces join either neighbour, and somebody who speaks during another's
turn keeps a row of their own. ``pieces_published`` is the published rule. Rows and pieces are turns in time order; all
times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from Emilia.options import SegmentOptions
from Emilia.recording import Span, Turn, ms
from Emilia.spans import clip, union

__all__ = ["Quietest", "merge", "padded", "pieces", "pieces_published", "split", "united"]

Quietest = Callable[[float, float], float]
"""Gives the moment of lowest energy between two times."""


def united(turns: Sequence[Turn]) -> list[Turn]:
    """Turns in time order, those of one speaker that overlap made one; different speakers may overlap."""
    rows: list[Turn] = []
    last: dict[str, int] = {}
    for turn in sorted(turns):
        if turn.end <= turn.start:
            continue
        at = last.get(turn.speaker)
        if at is not None and turn.start < rows[at].end:
            rows[at] = rows[at]._replace(end=max(rows[at].end, turn.end))
        else:
            last[turn.speaker] = len(rows)
            rows.append(turn)
    return rows


def pieces(turns: Sequence[Turn], voiced: Sequence[Span], quietest: Quietest, options: SegmentOptions) -> list[Turn]:
    """Turns split, cut and merged by the rules of this package; every moment that is in a turn and voiced stays
    covered by a piece of that turn's speaker.
    """
    rows = [piece for turn in united(turns) for piece in split(turn, voiced, options)]
    cut = [piece for row in rows for piece in _cut(row, quietest, options.max_seconds)]
    return merge(cut, options)


def split(turn: Turn, voiced: Sequence[Span], options: SegmentOptions) -> list[Turn]:
    """A turn without its silences of ``merge_gap`` or more, and if it is over ``split_over`` split further at its
    longest silences until all parts are shorter.

    Where nothing is voiced the turn stays whole, for the diarizer heard somebody. A turn that is not too long keeps its
    shorter silences, also at its ends; silence at the cuts and at the ends of a longer one is given up.
    """
    islands = clip(voiced, turn.start, turn.end)
    if not islands:
        return [turn]
    most = options.split_over
    if turn.end - turn.start <= most:
        most = math.inf
        if islands[0].start - turn.start < options.merge_gap:
            islands[0] = Span(turn.start, islands[0].end)
        if turn.end - islands[-1].end < options.merge_gap:
            islands[-1] = Span(islands[-1].start, turn.end)
    breaks = [at for at in range(1, len(islands)) if islands[at].start - islands[at - 1].end >= options.merge_gap]
    groups = [islands[first:end] for first, end in pairwise([0, *breaks, len(islands)])]
    return [part for group in groups for part in _parts(group, turn.speaker, most)]


def _parts(islands: Sequence[Span], speaker: str, most: float) -> list[Turn]:
    """Stretches from the first to the last island of each group; the longest silence splits first, until every group
    is shorter than ``most`` or a single island.
    """
    groups, parts = [(0, len(islands))] if islands else [], []
    while groups:
        first, end = groups.pop()
        start, stop = islands[first].start, islands[end - 1].end
        if end - first == 1 or stop - start < most:
            parts.append(Turn(start, stop, speaker))
        else:
            silences = [after.start - before.end for before, after in pairwise(islands[first:end])]
            at = first + silences.index(max(silences)) + 1
            groups += [(at, end), (first, at)]
    return parts


def _cut(piece: Turn, quietest: Quietest, most: float) -> list[Turn]:
    """``piece`` in parts of at most ``most`` seconds, each cut inside the middle half of what is left."""
    start, parts = piece.start, []
    while piece.end - start >= most:
        quarter = (piece.end - start) / 4
        # Neither side is a crumb, the left one is done, and no more than a few seconds of sound are looked at.
        at = ms(quietest(start + min(quarter, most / 2), start + min(3 * quarter, most)))
        parts.append(Turn(start, at, piece.speaker))
        start = at
    return [*parts, Turn(start, piece.end, piece.speaker)]


def merge(rows: Sequence[Turn], options: SegmentOptions) -> list[Turn]:
    """Rows in which each one under ``min_seconds`` has joined the nearer neighbour of its speaker, where the rules
    allow it and nobody speaks in between.
    """
    taken = union(Span(row.start, row.end) for row in rows)
    speakers: dict[str, list[Turn]] = {}
    for row in rows:
        speakers.setdefault(row.speaker, []).append(row)
    merged: list[Turn] = []
    for own in speakers.values():
        merged += _merged(own, taken, options)
    return sorted(merged)


def _merged(rows: Sequence[Turn], taken: Sequence[Span], options: SegmentOptions) -> list[Turn]:
    merged = [rows[0]]
    for index, row in enumerate(rows[1:], 1):
        left = merged[-1]
        following = rows[index + 1] if index + 1 < len(rows) else None
        if _joins(left, row, taken, options) and not _waits(left, row, following, taken, options):
            merged[-1] = left._replace(end=row.end)
        else:
            merged.append(row)
    return merged


def _joins(left: Turn, right: Turn, taken: Sequence[Span], options: SegmentOptions) -> bool:
    short = min(left.end - left.start, right.end - right.start) < options.min_seconds
    near = right.start - left.end < options.merge_gap
    fits = right.end - left.start < options.max_seconds
    return short and near and fits and not clip(taken, left.end, right.start)


def _waits(left: Turn, row: Turn, following: Turn | None, taken: Sequence[Span], options: SegmentOptions) -> bool:
    """True when ``row`` does better to join what follows: it is nearer, and ``left`` can do without."""
    if following is None or left.end - left.start < options.min_seconds:
        return False
    return following.start - row.end < row.start - left.end and _joins(row, following, taken, options)


def padded(rows: Sequence[Turn], duration: float, options: SegmentOptions) -> list[Turn]:
    """Rows widened by up to ``pad`` on both sides where nobody speaks: at most half way to the neighbour, never over
    ``max_seconds`` or the ends.
    """
    blocks = union(Span(row.start, row.end) for row in rows)
    # An edge inside somebody else's row is no edge of a block and has no room; of two rows with the same edge one gets
    # the room. The two ends of the recording are not shared with a neighbour.
    before = {after.start: (after.start - one.end) / 2 for one, after in pairwise(blocks)}
    behind = {one.end: (after.start - one.end) / 2 for one, after in pairwise(blocks)}
    if blocks:
        before[blocks[0].start], behind[blocks[-1].end] = blocks[0].start, math.inf
    wide: list[Turn] = []
    for row in rows:
        room = max(0.0, options.max_seconds - (row.end - row.start)) / 2
        start = row.start - _floor(max(0.0, min(options.pad, room, before.pop(row.start, 0.0))))
        end = row.end + _floor(max(0.0, min(options.pad, room, behind.pop(row.end, 0.0))))
        wide.append(Turn(ms(max(0.0, start)), ms(max(row.end, min(duration, end))), row.speaker))
    return sorted(wide)


def _floor(seconds: float) -> float:
    return math.floor(seconds * 1000) / 1000


def pieces_published(turns: Sequence[Turn], voiced: Sequence[Span], options: SegmentOptions) -> list[Turn]:
    """The published rule: rows inside an earlier one are skipped, rows up to ``split_over`` are untouched, longer ones
    are split at their longest silences (without any voice they are no speech), what is still too long is cut at exactly
    ``max_seconds``, and only a short piece extends the one before it.

    The published rule then drops what is short; here it stays, for the caller to flag. Only a rest of no length, left
    where a row is a whole number of greatest lengths, is not a piece.
    """
    least, most, longest = options.min_seconds, options.max_seconds, options.split_over
    done: list[Turn] = []
    reach = -math.inf
    for turn in sorted(turns):
        start, end, speaker = turn
        if end <= start or end <= reach:
            continue
        reach = end
        whole = end - start <= longest
        for piece in [turn] if whole else _parts(clip(voiced, start, end), speaker, longest):
            length = piece.end - piece.start
            if length >= most:
                done += _chopped(piece, most)
            elif length < least and done and _extends(done[-1], piece, options):
                done[-1] = Turn(done[-1].start, piece.end, speaker)
            else:
                done.append(piece)
    return [piece for piece in done if piece.end > piece.start]


def _chopped(piece: Turn, most: float) -> list[Turn]:
    start, parts = piece.start, []
    while piece.end - start >= most:
        parts.append(Turn(start, start + most, piece.speaker))
        start += most
    return [*parts, Turn(start, piece.end, piece.speaker)]


def _extends(last: Turn, short: Turn, options: SegmentOptions) -> bool:
    near = short.start - last.end < options.merge_gap and short.end - last.start < options.max_seconds
    return near and last.speaker == short.speaker
