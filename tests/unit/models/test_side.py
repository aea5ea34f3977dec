"""The side information of the mode balanced: loudness and noise levels there and back."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models.mdct import HOP
from duplexforge.models.model import load
from duplexforge.models.range_coder import RangeDecoder, RangeEncoder
from duplexforge.models.side import BANDS, EDGES, LOUDNESSES, NOTHING, Side, loudness_of
from duplexforge.models.voice import BALANCED, Past


def test_the_bands_cover_every_bin() -> None:
    assert EDGES[0] == 0
    assert EDGES[-1] == HOP
    assert list(EDGES) == sorted(set(EDGES))


@given(st.lists(st.integers(-8, LOUDNESSES - 9), max_size=30))
def test_loudness_is_read_back(loudnesses: list[int]) -> None:
    encoder, side = RangeEncoder(), Side(load())
    for loudness in loudnesses:
        side.write_loudness(encoder, loudness)
    decoder, other = RangeDecoder(encoder.finish()), Side(load())
    assert [other.read_loudness(decoder) for _ in loudnesses] == loudnesses


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_levels_are_read_back_and_bands_without_zeros_are_left_out(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(3):
        values = rng.integers(1, 5, HOP) * (rng.random(HOP) > share)
        values[EDGES[3] : EDGES[4]] = 1
        frames.append((values, rng.integers(1, NOTHING + 1, BANDS).tolist()))
    encoder, side = RangeEncoder(), Side(load())
    for values, levels in frames:
        side.write_fill(encoder, levels, values)
    decoder, other = RangeDecoder(encoder.finish()), Side(load())
    for values, levels in frames:
        full = [bool(values[low:high].all()) for low, high in itertools.pairwise(EDGES)]
        expected = [NOTHING if whole else level for whole, level in zip(full, levels, strict=True)]
        assert other.read_fill(decoder, values) == expected
        assert full[3]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_are_some_levels(data: bytes) -> None:
    decoder, side = RangeDecoder(data), Side(load())
    assert -8 <= side.read_loudness(decoder) < LOUDNESSES - 8
    assert all(1 <= level <= NOTHING for level in side.read_fill(decoder, np.zeros(HOP, np.int64)))


def test_what_was_said_before_is_cheaper_to_say_again() -> None:
    values, levels = np.zeros(HOP, np.int64), [3, 3, 4, 4, 4, 5, 5, 6, 6, 7]
    side, sizes = Side(load()), []
    for _ in range(3):
        encoder = RangeEncoder()
        for _ in range(8):
            side.write_fill(encoder, levels, values)
        sizes.append(len(encoder.finish()))
    assert sizes[2] <= sizes[0]


def test_loudness_follows_the_frame() -> None:
    spectrum = np.full(HOP, 1000.0)
    assert loudness_of(spectrum, 1000, 0.5) == 0
    assert loudness_of(4 * spectrum, 1000, 0.5) == 2
    assert loudness_of(spectrum / 4, 1000, 0.5) == -2
    assert loudness_of(0 * spectrum, 1000, 1.0) == -7
    assert loudness_of(1e9 * spectrum, 1000, 1.0) == LOUDNESSES - 9


def test_levels_measure_what_became_zero_and_the_noise_has_that_size() -> None:
    ratios = np.random.default_rng(2).choice([-0.25, 0.25], HOP)
    values = np.zeros(HOP, np.int64)
    values[3], ratios[3] = 9, 9.0
    levels = Side(load()).levels(ratios, values)
    assert set(levels) <= {2}
    assert Side(load()).levels(0 * ratios, values * 0) == [NOTHING] * BANDS
    past, step = Past(load(), BALANCED), np.full(HOP, 10_000)
    spectrum = np.zeros(HOP)
    spectrum[3] = 90_000
    found = past.fill(spectrum, step, levels)
    assert found[3] == 90_000
    others = np.delete(found, 3)
    assert np.allclose(np.abs(others), BALANCED.fill * 10_000 / 4, rtol=0.01)
    assert 40 < (others > 0).sum() < 120
    assert np.array_equal(past.fill(spectrum, step, [NOTHING] * BANDS), spectrum)


def test_a_level_that_hardly_moved_is_said_again() -> None:
    values, side, said = np.zeros(HOP, np.int64), Side(load()), []
    for power in (3.0, 3.6, 3.7, 3.4):
        levels = side.levels(np.full(HOP, 2.0**-power), values)
        side.write_fill(RangeEncoder(), levels, values)
        said.append(set(levels))
    assert said == [{3}, {3}, {4}, {4}]
