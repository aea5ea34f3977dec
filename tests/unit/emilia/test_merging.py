"""Cutting and merging: examples of each rule, and properties over arbitrary tracks."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.merging import merge, padded, pieces, pieces_published, split, united
from Emilia.recording import Span, Turn
from Emilia.spans import clip, union
from tests.unit.emilia.intersection import intersect

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


def of(rows: list[Turn], speaker: str) -> list[Span]:
    return union(Span(row.start, row.end) for row in rows if row.speaker == speaker)


@settings(max_examples=150, deadline=None)
@given(TRACKS, st.integers(0, 9))
def test_properties_of_any_track(turns: list[Turn], seed: int) -> None:
    voiced = voiced_in(turns, seed)
    duration = turns[-1].end + 0.05
    done = padded(pieces(turns, voiced, middle, OPTIONS), duration, OPTIONS)
    nothing_is_lost_and_bounds_are_kept(turns, voiced, done, duration)
    # No overlap is created.
    assert all(left.end <= right.start + 1e-9 for left, right in pairwise(done))


OVERLAPPING = st.lists(
    st.tuples(st.integers(0, 120_000), st.integers(1, 50_000), st.integers(0, 3)), min_size=1, max_size=15
).map(lambda rows: sorted(Turn(a / 1000, (a + b) / 1000, f"S{s:02d}") for a, b, s in rows))


@settings(max_examples=200, deadline=None)
@given(OVERLAPPING, st.integers(0, 9))
def test_properties_of_tracks_that_overlap(turns: list[Turn], seed: int) -> None:
    voiced = union(voiced_in(turns, seed))
    duration = max(turn.end for turn in turns) + 0.05
    done = padded(pieces(turns, voiced, middle, OPTIONS), duration, OPTIONS)
    nothing_is_lost_and_bounds_are_kept(turns, voiced, done, duration)
    speakers = sorted({turn.speaker for turn in turns})
    for one, other in combinations(speakers, 2):
        # Two speakers overlap where their turns do and nowhere else.
        before = intersect(of(turns, one), of(turns, other))
        after = intersect(of(done, one), of(done, other))
        assert total(intersect(before, after)) == pytest.approx(total(after), abs=1e-6)


def nothing_is_lost_and_bounds_are_kept(
    turns: list[Turn], voiced: list[Span], done: list[Turn], duration: float
) -> None:
    assert done == sorted(done)
    for speaker in {turn.speaker for turn in turns}:
        said = intersect(union(voiced), of(turns, speaker))
        assert total(intersect(said, of(done, speaker))) == pytest.approx(total(said), abs=1e-6)
        own = [row for row in done if row.speaker == speaker]
        assert all(left.end <= right.start + 1e-9 for left, right in pairwise(own))
    assert all(0 <= row.start < row.end <= duration + 1e-9 for row in done)
    assert all(row.end - row.start <= LIMIT + 1e-3 for row in done)


@settings(max_examples=150, deadline=None)
@given(TRACKS, st.integers(0, 9))
def test_only_an_island_of_the_greatest_length_is_cut_inside(turns: list[Turn], seed: int) -> None:
    voiced = voiced_in(turns, seed)
    edges = {edge for turn in turns for edge in (turn.start, turn.end)}
    for row in pieces(turns, voiced, middle, OPTIONS):
        for edge in {row.start, row.end} - edges:
            assert not [span for span in voiced if span.start < edge < span.end and span.length < LIMIT]


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


def published_in_plain_words(rows: list[Turn], voiced: list[Span]) -> list[tuple[float, float, str]]:
    """The published rules, restated with dictionaries and a recursion, up to where they drop what is short."""
    vads: list[dict[str, Any]] = []
    last_end = 0.0
    for row in rows:
        if row.end <= last_end:
            continue
        last_end = row.end
        if row.end - row.start <= 20:
            vads.append({"start": row.start, "end": row.end, "speaker": row.speaker})
            continue
        stamps = []
        for span in voiced:
            if span.end > row.start and span.start < row.end:
                stamps.append((max(span.start, row.start), min(span.end, row.end)))
        if stamps:
            halve(stamps, 0, len(stamps) - 1, row.speaker, vads)
    return [(v["start"], v["end"], v["speaker"]) for v in joined(vads) if v["end"] > v["start"]]


def halve(stamps: list[tuple[float, float]], first: int, last: int, speaker: str, out: list[dict[str, Any]]) -> None:
    if first == last or stamps[last][1] - stamps[first][0] < 20:
        out.append({"start": stamps[first][0], "end": stamps[last][1], "speaker": speaker})
        return
    widest = first
    for index in range(first, last):
        if stamps[index + 1][0] - stamps[index][1] > stamps[widest + 1][0] - stamps[widest][1]:
            widest = index
    halve(stamps, first, widest, speaker, out)
    halve(stamps, widest + 1, last, speaker, out)


def joined(vads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for vad in vads:
        length = vad["end"] - vad["start"]
        if length >= 30:
            start = vad["start"]
            while vad["end"] - start >= 30:
                out.append({"start": start, "end": start + 30, "speaker": vad["speaker"]})
                start += 30
            out.append({"start": start, "end": vad["end"], "speaker": vad["speaker"]})
            continue
        other = not out or out[-1]["speaker"] != vad["speaker"] or length >= 3
        if other or vad["start"] - out[-1]["end"] >= 2 or vad["end"] - out[-1]["start"] >= 30:
            out.append(vad)
        else:
            out[-1]["end"] = vad["end"]
    return out


def random_track(rng: np.random.Generator) -> tuple[list[Turn], list[Span]]:
    """Rows that follow each other, overlap or lie inside each other, many at exactly the limits of the rules, and
    islands of speech that heed none of them.
    """
    count = int(rng.integers(1, 16))
    gaps = rng.choice([0.0, 0.2, 1.999, 2.0, 2.001, 7.0, -0.5, -4.0, -15.0], count)
    lengths = np.where(
        rng.random(count) < 0.3,
        rng.choice([0.999, 2.999, 3.0, 20.0, 20.001, 29.999, 30.0, 60.0, 90.0], count),
        np.exp(rng.uniform(np.log(0.2), np.log(80.0), count)).round(3),
    )
    turns, at = [], 1.0
    for gap, length, speaker in zip(gaps.tolist(), lengths.tolist(), rng.integers(0, 3, count).tolist(), strict=True):
        start = round(max(0.0, at + gap), 3)
        turns.append(Turn(start, round(start + length, 3), f"S{speaker:02d}"))
        at = turns[-1].end
    steps = np.cumsum(np.exp(rng.uniform(np.log(0.1), np.log(rng.choice([2.0, 40.0])), 200))).round(3).tolist()
    return sorted(turns), [Span(a, b) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def test_compat_equals_the_published_rule_on_ten_thousand_tracks() -> None:
    rng = np.random.default_rng(20240703)
    cut = merged = skipped = 0
    for _ in range(10_000):
        turns, voiced = random_track(rng)
        rows = pieces_published(turns, voiced, OPTIONS)
        assert rows == published_in_plain_words(turns, voiced)
        cut += len(rows) > len(turns)
        merged += any(row.end - row.start > 3 and row not in turns for row in rows)
        skipped += len(rows) < len(turns)
    # The tracks do exercise every part of the rule.
    assert min(cut, merged, skipped) > 1000


def test_compat_needs_no_order() -> None:
    turns, voiced = random_track(np.random.default_rng(5))
    assert pieces_published(turns[::-1], voiced, OPTIONS) == pieces_published(turns, voiced, OPTIONS)


def test_rows_up_to_twenty_seconds_keep_their_short_silences() -> None:
    row = Turn(0.0, 20.0, "A")
    assert split(row, [Span(1.9, 5.0), Span(6.9, 18.1)], OPTIONS) == [row]


def test_every_row_gives_up_its_long_silences() -> None:
    short = Turn(0.0, 15.0, "A")
    assert split(short, [Span(0.5, 5.0), Span(7.0, 11.0)], OPTIONS) == [Turn(0.0, 5.0, "A"), Turn(7.0, 11.0, "A")]
    long = Turn(0.0, 40.0, "A")
    spans = [Span(2.0, 12.0), Span(14.0, 15.0), Span(17.0, 18.0), Span(18.5, 40.0)]
    parts = [Turn(2.0, 12.0, "A"), Turn(14.0, 15.0, "A"), Turn(17.0, 18.0, "A"), Turn(18.5, 40.0, "A")]
    assert split(long, spans, OPTIONS) == parts
    assert pieces_published([short], [Span(0.5, 5.0), Span(7.0, 11.0)], OPTIONS) == [short]


def test_a_row_without_any_voice_stays_and_compat_gives_up_a_long_one() -> None:
    row = Turn(0.0, 25.0, "A")
    assert split(row, [Span(30.0, 31.0)], OPTIONS) == [row]
    assert pieces_published([row], [Span(30.0, 31.0)], OPTIONS) == []


def test_longer_rows_split_at_the_longest_silence_first() -> None:
    voiced = [Span(0.5, 9.0), Span(9.5, 14.0), Span(15.9, 25.0), Span(25.2, 29.0)]
    assert split(Turn(0.0, 30.0, "A"), voiced, OPTIONS) == [Turn(0.5, 14.0, "A"), Turn(15.9, 29.0, "A")]


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


def test_padding_never_reaches_into_somebody_else() -> None:
    rows = [Turn(1.0, 10.0, "A"), Turn(2.0, 3.0, "B"), Turn(9.0, 12.0, "B"), Turn(12.5, 13.0, "A")]
    done = padded(rows, 20.0, OPTIONS)
    assert done == [Turn(0.9, 10.0, "A"), Turn(2.0, 3.0, "B"), Turn(9.0, 12.1, "B"), Turn(12.4, 13.1, "A")]
    together = [Turn(1.0, 2.0, "A"), Turn(1.0, 2.0, "B")]
    assert padded(together, 20.0, OPTIONS) == [Turn(0.9, 2.1, "A"), Turn(1.0, 2.0, "B")]


def test_somebody_who_speaks_inside_a_turn_keeps_a_row() -> None:
    rows = [Turn(0.0, 10.0, "A"), Turn(2.0, 3.0, "B"), Turn(4.0, 5.0, "A"), Turn(5.0, 5.0, "C"), Turn(9.0, 12.0, "B")]
    assert united(rows) == [rows[0], rows[1], rows[4]]
    assert pieces(rows, [Span(0.0, 12.0)], middle, OPTIONS) == [rows[0], rows[1], rows[4]]
    assert pieces_published(rows, [Span(0.0, 12.0)], OPTIONS) == [rows[0], rows[4]]


def test_overlapping_turns_of_one_speaker_are_one() -> None:
    assert united([Turn(0.0, 5.0, "A"), Turn(4.0, 9.0, "A"), Turn(9.0, 10.0, "A")]) == [
        Turn(0.0, 9.0, "A"),
        Turn(9.0, 10.0, "A"),
    ]


def test_a_short_piece_joins_past_a_row_inside_the_other_but_not_past_one_between() -> None:
    inside = [Turn(0.0, 8.0, "A"), Turn(2.0, 3.0, "B"), Turn(8.5, 9.5, "A")]
    assert merge(inside, OPTIONS) == [Turn(0.0, 9.5, "A"), Turn(2.0, 3.0, "B")]
    between = [Turn(0.0, 8.0, "A"), Turn(7.5, 8.2, "B"), Turn(8.5, 9.5, "A")]
    assert merge(between, OPTIONS) == between


def test_cutting_looks_no_further_than_the_greatest_length() -> None:
    asked: list[tuple[float, float]] = []

    def quietest(start: float, end: float) -> float:
        asked.append((start, end))
        return end

    done = pieces([Turn(0.0, 100.0, "A")], [Span(0.0, 100.0)], quietest, OPTIONS)
    assert asked == [(15.0, 30.0), (45.0, 60.0), (70.0, 90.0)]
    assert done == [Turn(0.0, 30.0, "A"), Turn(30.0, 60.0, "A"), Turn(60.0, 90.0, "A"), Turn(90.0, 100.0, "A")]


def test_clip_keeps_what_is_inside() -> None:
    assert clip([Span(0, 2), Span(3, 6)], 1, 4) == [Span(1, 2), Span(3, 4)]
