"""What is known before a frame: small whole numbers of the past alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models.context import PER_BIN, PLANES, SHARED, History, features, level
from duplexforge.models.mdct import HOP, PEAK


def even(step: int) -> np.ndarray:
    """The same step for every bin."""
    return np.full(HOP, step, np.int64)


def filled(seed: int, frames: int = 6) -> History:
    history, rng = History(), np.random.default_rng(seed)
    for _ in range(frames):
        history.push((rng.exponential(3000, HOP)).astype(np.int64))
    return history


def test_a_new_history_is_silent() -> None:
    each, shared = features(History().planes(even(1000)))
    assert each.shape == (HOP, PER_BIN)
    assert shared.shape == (SHARED,)
    assert not each.any()
    assert not shared.any()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(16, 1 << 20))
def test_features_are_whole_numbers_in_their_range(seed: int, step: int) -> None:
    each, shared = features(filled(seed).planes(even(step)))
    for found in (each, shared):
        assert np.array_equal(found, np.floor(found))
        assert found.min() >= 0
        assert found.max() <= 60


def test_features_of_many_frames_are_those_of_each() -> None:
    planes = np.stack([filled(seed).planes(even(500)) for seed in range(4)])
    assert planes.shape == (4, PLANES, HOP + 6)
    each, shared = features(planes)
    for place, plane in enumerate(planes):
        alone = features(plane)
        assert np.array_equal(each[place], alone[0])
        assert np.array_equal(shared[place], alone[1])


def test_a_louder_past_is_a_higher_level_and_a_wider_step_a_lower_one() -> None:
    amplitudes = np.array([0, 10, 100, 1000, 10_000, PEAK])
    levels = level(amplitudes, np.array(100))
    assert (np.diff(levels) > 0).sum() >= 3
    assert (np.diff(levels) >= 0).all()
    assert (level(amplitudes, np.array(400)) <= levels).all()


def test_the_columns_are_the_neighbours_they_should_be() -> None:
    history = History()
    one = np.zeros(HOP, np.int64)
    one[50] = 1600
    history.push(one)
    each, _ = features(history.planes(even(100)))
    # Seven columns of the last frame: bins 47 to 53 see the sound in the column of their distance.
    assert [int(np.flatnonzero(each[k, :7])[0]) for k in range(47, 54)] == [6, 5, 4, 3, 2, 1, 0]
    assert not each[:47, :7].any()
    assert not each[54:, :7].any()
    assert not each[:, 7:12].any()
    # A step twice as wide in one bin lowers that bin's level alone.
    other, _ = features(history.planes(np.where(np.arange(HOP) == 50, 200, 100)))
    assert other[50, 3] < each[50, 3]
    assert np.array_equal(np.delete(other[:, 3], 50), np.delete(each[:, 3], 50))
    history.push(np.zeros(HOP, np.int64))
    each, _ = features(history.planes(even(100)))
    assert not each[:, :7].any()
    assert each[50, 9] > 0


def test_the_loudest_past_does_not_overflow() -> None:
    history = History()
    for _ in range(200):
        history.push(np.full(HOP, PEAK, np.int64))
    assert features(history.planes(even(16)))[0].max() == 60


def test_no_table_of_levels_is_near_a_tie() -> None:
    # Another machine's logarithm may differ in the last place; it must round to the same whole number.
    exact = 6 * np.log2(1 + np.arange(4096) / 4)
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6
