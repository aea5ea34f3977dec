"""Where windows lie: every chunk of a side is in one, neighbours share what they should, the last may be shorter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from duplexforge.duplex.windows import Windows
from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat


@given(chunks=st.integers(1, 400), length=st.integers(1, 60), shared=st.integers(0, 59))
def test_windows_cover_the_side_and_share_what_they_should(chunks: int, length: int, shared: int) -> None:
    assume(shared < length)
    windows = Windows.of(length * 0.32, shared * 0.32, DuplexFormat())
    whole, *rest = windows.chunks(chunks)
    assert whole == (0, chunks)
    if chunks <= length:
        assert not rest
        return
    assert rest[0] == (0, length)
    assert rest[-1][1] == chunks
    assert {end - start for start, end in rest[:-1]} == {length}
    assert 1 <= rest[-1][1] - rest[-1][0] <= length
    for before, after in pairwise(rest):
        assert before[1] - after[0] == shared
        assert after[1] > before[1]
    rows = list(windows.rows("a--b", chunks))
    assert [row["seq_id"] for row in rows] == list(range(len(rest) + 1))
    assert [(row["start_sample"], row["end_sample"]) for row in rows[1:]] == [(a * 5120, b * 5120) for a, b in rest]


def test_windows_are_taken_to_the_nearest_chunk() -> None:
    windows = Windows.of(4.0, 1.0, DuplexFormat())
    assert (windows.length, windows.length - windows.step) == (12, 3)
    assert list(Windows.of(None, 0.0, DuplexFormat()).chunks(9)) == [(0, 9)]


@pytest.mark.parametrize(
    ("window", "overlap", "told"),
    [
        (None, 1.0, "--overlap wants --window"),
        (0.0, 0.0, "more than 0 seconds"),
        (-1.0, 0.0, "more than 0 seconds"),
        (float("nan"), 0.0, "more than 0 seconds"),
        (float("inf"), 0.0, "more than 0 seconds"),
        (4.0, -1.0, "0 or more"),
        (0.1, 0.0, "at least one chunk of 0.32 s"),
        (4.0, 4.0, "less than --window"),
        (4.0, 3.9, "less than --window"),
    ],
)
def test_windows_that_cannot_be(window: float | None, overlap: float, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Windows.of(window, overlap, DuplexFormat())
