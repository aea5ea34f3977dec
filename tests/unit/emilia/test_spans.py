"""Span arithmetic and the hours of an episode, against a millisecond raster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia.recording import Segment, Span
from Emilia.spans import clip, hours, union
from tests.unit.emilia.intersection import intersect

SPANS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000)), max_size=12).map(
    lambda pairs: [Span(a / 1000, (a + b) / 1000) for a, b in pairs]
)


def raster(spans: list[Span]) -> np.ndarray:
    marks = np.zeros(9000, bool)
    for span in spans:
        marks[round(span.start * 1000) : round(span.end * 1000)] = True
    return marks


@given(SPANS, SPANS)
def test_union_and_intersection(one: list[Span], other: list[Span]) -> None:
    assert (raster(union(one)) == raster(one)).all()
    assert (raster(intersect(union(one), union(other))) == (raster(one) & raster(other))).all()
    assert union(one) == sorted(union(one))


@given(SPANS, st.integers(0, 8000), st.integers(-500, 4000))
def test_clip_is_what_lies_between_two_times(spans: list[Span], start: int, length: int) -> None:
    at, end = start / 1000, (start + length) / 1000
    there = union(spans)
    found = clip(there, at, end)
    assert found == (intersect(there, [Span(at, end)]) if length > 0 else [])
    assert all(span.length > 0 for span in found)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000), st.booleans()), max_size=12), st.integers(0, 9000)
)
@settings(max_examples=200)
def test_hours_sum_exactly_to_the_source(rows: list[tuple[int, int, bool]], tail: int) -> None:
    segments = [Segment(a / 1000, (a + b) / 1000, "S", flags=["x"] if flagged else []) for a, b, flagged in rows]
    duration = max([a + b for a, b, _ in rows], default=0) / 1000 + tail / 1000
    found = hours(duration, segments)
    assert found["published"] + found["flagged"] + found["no_speech"] == found["source"]
    everything = raster([Span(s.start, s.end) for s in segments])
    kept = raster([Span(s.start, s.end) for s in segments if not s.flags])
    millisecond = 1 / 3_600_000
    assert found["source"] == pytest.approx(duration / 3600, abs=millisecond)
    assert found["published"] == pytest.approx(kept.sum() / 3_600_000, abs=millisecond)
    assert found["flagged"] == pytest.approx((everything & ~kept).sum() / 3_600_000, abs=2 * millisecond)
    assert min(found.values()) >= 0


def test_a_segment_that_reaches_over_the_end_counts_to_the_end() -> None:
    found = hours(10.0, [Segment(0.0, 10.001, "S")])
    assert found["no_speech"] == 0.0
    assert found["source"] == found["published"]
