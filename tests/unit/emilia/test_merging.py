"""Cutting and merging: examples of each rule, and properties over arbitrary tracks."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.merging import merge, padded, pieces, pieces_published, split, unnested
from Emilia.recording import Span, Turn
from Emilia.spans import clip, intersect, union

OPTIONS = load_config(None).segment
LIMIT = OPTIONS.max_seconds


def middle(start: float, end: float) -> float:
    return (start + end) / 2


def track(steps: list[tuple[int, int, int]]) -> list[Turn]:
    """Turns without overlap from (pause ms, length ms, speaker)."""
    turns, at = [], 0
    for pause, length, speaker in steps:
        turns.append(Turn((at + pause) / 1000, (at + pause + length) / 1000, f"S{speaker:02d}"))
        at += pause + length
    return turns


TRACKS = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(50, 70_000), st.integers(0, 2)), min_size=1, max_size=25
).map(track)


def voiced_in(turns: list[Turn], seed: int) -> list[Span]:
    """Islands of speech in the turns, with pauses inside."""
    rng = random.Random(seed)
    spans = []
    for turn in turns:
        at = turn.start
        while at < turn.end:
            end = min(turn.end, round(at + rng.uniform(0.3, 9.0), 3))
            spans.append(Span(at, end))
            at = round(end + rng.uniform(0.1, 1.5), 3)
    return spans


def total(spans: list[Span]) -> float:
    return sum(span.length for span in union(spans))


@settings(max_examples=150, deadline=None)
@given(TRACKS, st.integers(0, 9))
def test_properties_of_any_track(turns: list[Turn], seed: int) -> None:
    voiced = voiced_in(turns, seed)
    duration = turns[-1].end + 0.05
    done = padded(pieces(turns, voiced, middle, OPTIONS), duration, OPTIONS)
    covered = [Span(row.start, row.end) for row in done]
    # No speech is lost, and none changes its speaker.
    assert total(intersect(union(covered), union(voiced))) == pytest.approx(total(voiced), abs=1e-6)
    for speaker in {turn.speaker for turn in turns}:
        mine = union(Span(t.start, t.end) for t in turns if t.speaker == speaker)
        given_ = union(Span(r.start, r.end) for r in done if r.speaker == speaker)
        said = intersect(union(voiced), mine)
        assert total(intersect(said, given_)) == pytest.approx(total(said), abs=1e-6)
    # No overlap is created, bounds and the greatest length hold.
    assert all(left.end <= right.start + 1e-9 for left, right in pairwise(done))
    assert all(0 <= row.start < row.end <= duration + 1e-9 for row in done)
    assert all(row.end - row.start <= LIMIT + 1e-3 for row in done)


@settings(max_examples=100, deadline=None)
@given(TRACKS)
def test_merging_leaves_nothing_that_could_be_merged_and_joins_only_one_speaker(turns: list[Turn]) -> None:
    short = [turn for turn in turns if turn.end - turn.start < LIMIT]
    assume(short)
    done = merge(short, OPTIONS)
    for row in done:
        inside = {t.speaker for t in short if row.start <= t.start and t.end <= row.end}
        assert inside == {row.speaker}
    assert sum(row.end - row.start for row in done) >= sum(t.end - t.start for t in short) - 1e-6


def published_in_plain_words(rows: list[Turn]) -> list[tuple[float, float, str]]:
    """The published merge rule, restated with dictionaries as it was written."""
    out: list[dict[str, float | str]] = []
    for row in rows:
        vad: dict[str, float | str] = {"start": row.start, "end": row.end, "speaker": row.speaker}
        length = row.end - row.start
        if length >= 30:
            start = row.start
            while row.end - start >= 30:
                out.append({"start": start, "end": start + 30, "speaker": row.speaker})
                start += 30
            out.append({"start": start, "end": row.end, "speaker": row.speaker})
            continue
        last = out[-1] if out else None
        other = last is None or last["speaker"] != row.speaker or length >= 3
        if last is None or other or row.start - float(last["end"]) >= 2 or row.end - float(last["start"]) >= 30:
            out.append(vad)
        else:
            last["end"] = row.end
    return [(float(v["start"]), float(v["end"]), str(v["speaker"])) for v in out]


@settings(max_examples=150, deadline=None)
@given(TRACKS)
def test_compat_equals_the_published_rule(turns: list[Turn]) -> None:
    # Without silences inside, rows are not split and only the merge rule is at work.
    voiced = [Span(turn.start, turn.end) for turn in turns]
    assert pieces_published(turns, voiced, OPTIONS) == published_in_plain_words(turns)


def test_rows_up_to_twenty_seconds_are_untouched() -> None:
    row = Turn(0.0, 20.0, "A")
    assert split(row, [Span(0.0, 5.0), Span(15.0, 20.0)], OPTIONS) == [row]


def test_longer_rows_split_at_the_longest_silence_first() -> None:
    voiced = [Span(0.5, 9.0), Span(9.5, 14.0), Span(16.0, 25.0), Span(25.2, 29.0)]
    assert split(Turn(0.0, 30.0, "A"), voiced, OPTIONS) == [Turn(0.5, 14.0, "A"), Turn(16.0, 29.0, "A")]


def test_a_row_without_silence_is_cut_where_it_is_quietest() -> None:
    asked: list[tuple[float, float]] = []

    def quietest(start: float, end: float) -> float:
        asked.append((start, end))
        return 17.0

    done = pieces([Turn(0.0, 40.0, "A")], [Span(0.0, 40.0)], quietest, OPTIONS)
    assert done == [Turn(0.0, 17.0, "A"), Turn(17.0, 40.0, "A")]
    assert asked == [(10.0, 30.0)]


def test_short_pieces_merge_in_both_directions() -> None:
    long, short = Turn(2.5, 8.0, "A"), Turn(0.0, 1.0, "A")
    assert merge([short, long], OPTIONS) == [Turn(0.0, 8.0, "A")]
    assert pieces_published([short, long], [], OPTIONS) == [short, long]
    assert merge([Turn(0.0, 5.0, "A"), Turn(6.0, 7.0, "A")], OPTIONS) == [Turn(0.0, 7.0, "A")]


def test_a_short_piece_joins_the_nearer_neighbour() -> None:
    rows = [Turn(0.0, 5.0, "A"), Turn(6.5, 7.0, "A"), Turn(7.2, 12.0, "A")]
    assert merge(rows, OPTIONS) == [Turn(0.0, 5.0, "A"), Turn(6.5, 12.0, "A")]


@pytest.mark.parametrize(
    "rows",
    [
        [Turn(0.0, 1.0, "A"), Turn(1.1, 2.0, "B")],
        [Turn(0.0, 1.0, "A"), Turn(3.0, 8.0, "A")],
        [Turn(0.0, 28.5, "A"), Turn(29.0, 30.5, "A")],
        [Turn(0.0, 4.0, "A"), Turn(4.2, 9.0, "A")],
    ],
    ids=["other speaker", "far", "too long", "neither is short"],
)
def test_what_does_not_merge(rows: list[Turn]) -> None:
    assert merge(rows, OPTIONS) == rows


def test_padding_shares_the_gap_and_keeps_the_limit() -> None:
    rows = [Turn(0.05, 5.0, "A"), Turn(5.101, 10.0, "B"), Turn(12.0, 41.9, "A")]
    done = padded(rows, 42.0, OPTIONS)
    assert done[0] == Turn(0.0, 5.05, "A")
    assert done[1] == Turn(5.051, 10.1, "B")
    assert done[2] == Turn(11.95, 41.95, "A")


def test_nested_rows_are_left_to_the_outer_one() -> None:
    rows = [Turn(0.0, 10.0, "A"), Turn(2.0, 3.0, "B"), Turn(9.0, 12.0, "B"), Turn(5.0, 5.0, "C")]
    assert unnested(rows) == [rows[0], rows[2]]


def test_clip_keeps_what_is_inside() -> None:
    assert clip([Span(0, 2), Span(3, 6)], 1, 4) == [Span(1, 2), Span(3, 4)]
