"""Histograms, speaker hours, the draw of samples, and how numbers are written."""

from __future__ import annotations

import random

import pytest
from conftest import segment
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.status.measures import Draw, Histogram, Measures, flags_of, length_of, number
from duplexforge.status.wording import clock, label, pace, plain, plural, share, size


def test_measures() -> None:
    measures = Measures.of(
        [
            segment("a", 0),
            segment("a", 1, speaker="a/S01", flags=["low_mos"], dnsmos=2.05, text=" "),
            segment("b", 0, dnsmos=None, end=40.0, text="two words"),
        ]
    )
    assert (measures.segments, measures.seconds, measures.words, measures.without_text) == (3, 48.0, 8, 1)
    assert measures.speakers == {"a/S00": 4.0, "a/S01": 4.0, "b/S00": 40.0}
    assert measures.longest_speakers(2) == [("b/S00", 40 / 3600), ("a/S00", 4 / 3600)]
    assert (measures.unscored, measures.scores.total) == (1, 2)
    assert measures.mean_score == pytest.approx((3.25 + 2.05) / 2)
    assert (measures.durations.kept[4], measures.durations.flagged[4], measures.durations.kept[30]) == (1, 1, 1)
    assert measures.scores.flagged[10] == 1


def test_nothing_measured() -> None:
    measures = Measures.of([])
    assert measures.mean_score is None
    assert measures.longest_speakers(3) == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"start": "0", "end": None, "speaker": None, "flags": "low_mos", "dnsmos": "3", "text": 5},
        {"start": 5.0, "end": 1.0, "flags": None, "dnsmos": float("nan")},
        {"start": True, "end": float("inf"), "dnsmos": True, "text": None, "speaker": ["x"]},
    ],
)
def test_odd_fields_count_as_not_measured(odd: dict[str, object]) -> None:
    measures = Measures.of([odd])
    assert (measures.segments, measures.seconds, measures.unscored) == (1, 0.0, 1)
    assert flags_of(odd) == []
    assert length_of(odd) == 0.0


def test_numbers() -> None:
    assert [number(value) for value in (1, 2.5, True, "1", None, float("nan"), float("-inf"))] == [
        1.0, 2.5, None, None, None, None, None,
    ]  # fmt: skip


@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans())))
def test_a_histogram_loses_nothing(values: list[tuple[float, bool]]) -> None:
    histogram = Histogram(1.0, 5.0, 0.1)
    for value, flagged in values:
        histogram.add(value, flagged=flagged)
    assert histogram.total == len(values)
    assert sum(histogram.flagged) == sum(flagged for _, flagged in values)
    assert len(histogram.edges()) == 40


@given(st.integers(0, 40))
def test_a_value_on_an_edge_falls_above_it(index: int) -> None:
    histogram = Histogram(1.0, 5.0, 0.1)
    histogram.add(round(1.0 + index / 10, 1), flagged=False)
    assert histogram.kept[min(index, 39)] == 1


def test_the_draw_does_not_depend_on_the_order() -> None:
    offered = [(segment("a", index), f"a_{index:03d}.mp3") for index in range(200)]
    draws = []
    for seed in range(3):
        random.Random(seed).shuffle(offered)
        draw = Draw(10)
        for one, key in offered:
            draw.add(one, key)
        draws.append(draw.drawn())
    assert draws[0] == draws[1] == draws[2]
    keys = [key for _, key in draws[0]]
    assert len(set(keys)) == 10
    assert keys == sorted(keys)
    assert len({key[2] for key in keys}) > 1  # not all from the beginning


def test_a_draw_from_few_is_all_of_them() -> None:
    draw = Draw(10)
    for index in range(3):
        draw.add(segment("a", index), f"{index}.mp3")
    assert [key for _, key in draw.drawn()] == ["0.mp3", "1.mp3", "2.mp3"]


def test_clock() -> None:
    assert [clock(hours) for hours in (0.0, 1.5, 0.0001, 1234.0002778, -0.25, -1e-9)] == [
        "0:00:00", "1:30:00", "0:00:00", "1,234:00:01", "-0:15:00", "0:00:00",
    ]  # fmt: skip


def test_size() -> None:
    assert [size(count) for count in (0, 999, 1000, 99_940, 999_600, 2_500_000, 10**9, 5 * 10**15)] == [
        "0 B", "999 B", "1.0 kB", "99.9 kB", "1.0 MB", "2.5 MB", "1.0 GB", "5,000.0 TB",
    ]  # fmt: skip


def test_words() -> None:
    assert (plural(1, "shard"), plural(2000, "shard")) == ("1 shard", "2,000 shards")
    assert (share(1, 4), share(1, 0)) == ("25.0%", "")
    assert (label("ok"), label("failed_download"), label("odd_one\n")) == ("ok", "failed: download", "odd one")
    assert pace(0.05) == "0.05 (20 times faster than real time)"
    assert pace(2.0) == "2 (2 times slower than real time)"
    assert pace(0.0) == "0"


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    line = plain(text, 20)
    assert line.isprintable()
    assert len(line) <= 20
