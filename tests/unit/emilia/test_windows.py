"""Windows: every sample that must be separated is, once, with fades that sum to one, in as few windows as possible."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.errors import BadConfig
from Emilia.models.windows import Grid, Window, faded, overlapping, published
from tests.unit.emilia.conftest import Samples

GRID = Grid(half=20, span=140, usable=100)
TRUE = Grid.of(load_config(None).mdx)
RATE = 44100


def weights(windows: list[Window], total: int, fade: int) -> Samples:
    """How much of the answers reaches each sample."""
    found = np.zeros(total, np.float32)
    for window in windows:
        kept = np.ones(window.stop - window.start, np.float32)
        found[window.start : window.stop] += faded(window, kept, total, fade)
    return found


def test_the_published_sizes() -> None:
    assert Grid(half=3072, span=261120, usable=254976) == TRUE


@pytest.mark.parametrize("change", [{"overlap": 200000}, {"dim_t": 5}, {"dim_f": 3074}, {"hop": 6144}])
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match="mdx"):
        Grid.of(load_config(None, overrides={f"mdx.{name}": value for name, value in change.items()}).mdx)


@given(st.integers(1, 3000), st.integers(0, 50))
def test_a_whole_recording_is_covered_evenly(total: int, fade: int) -> None:
    windows = overlapping([(0, total)], total, GRID, fade)
    assert np.abs(weights(windows, total, fade) - 1).max() <= 1e-6
    assert len(windows) == 1 + max(0, -(-(total - GRID.usable) // (GRID.usable - fade)))
    assert [w.at for w in windows] == sorted(w.at for w in windows)


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True), st.integers(0, 50), st.integers(1, 3000))
@example([0, 151, 251, 252], 50, 202)  # the second span lies in a window that reaches the end already
def test_spans_are_covered_and_what_is_far_is_left_alone(edges: list[int], fade: int, total: int) -> None:
    ordered = sorted(edges)
    spans = list(zip(ordered[::2], ordered[1::2], strict=False))
    windows = overlapping(spans, total, GRID, fade)
    found = weights(windows, total, fade)
    assert found.max(initial=0) <= 1 + 1e-6
    near = np.zeros(total, bool)
    for begin, end in spans:
        assert (found[begin:end] >= 1 - 1e-6).all()
        near[max(0, begin - fade) : end + GRID.usable] = True
    assert not found[~near].any()
    if windows:
        assert len(windows) <= len(overlapping([(0, total)], total, GRID, fade)) + len(spans)
    assert all(one.at < two.at for one, two in pairwise(windows))


@pytest.mark.parametrize("seconds", [0.1, 5.0, 60.0, 1200.0, 3600.0, 12 * 3600.0])
def test_windows_are_within_two_percent_of_the_necessary(seconds: float) -> None:
    total = round(seconds * RATE)
    computed = len(overlapping([(0, total)], total, TRUE, load_config(None).mdx.overlap))
    assert computed <= 1.02 * -(-total // TRUE.usable)


@given(st.integers(1, 12 * 3600 * RATE))
def test_at_no_length_more_than_two_percent_and_a_rounding(total: int) -> None:
    computed = len(overlapping([(0, total)], total, TRUE, load_config(None).mdx.overlap))
    assert computed <= 1.02 * -(-total // TRUE.usable) + 1


@given(st.integers(1, 3000), st.integers(1, 700), st.integers(0, 200))
def test_the_published_grid_keeps_every_sample_once(total: int, chunk: int, margin: int) -> None:
    windows = published(total, chunk, margin, GRID)
    kept = np.zeros(total, int)
    for window in windows:
        assert window.at <= window.start < window.stop <= window.at + GRID.usable
        assert window.low <= window.start
        assert window.stop <= window.high
        kept[window.start : window.stop] += 1
    assert (kept == 1).all()
    assert [window.start for window in windows] == sorted(window.start for window in windows)
