"""A frame's numbers as symbols and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models import frames
from duplexforge.models.context import PER_BIN, SHARED
from duplexforge.models.mdct import HOP
from duplexforge.models.model import LARGEST, STATES, load
from duplexforge.models.quantise import choose, restore, step_units
from duplexforge.models.range_coder import RangeDecoder, RangeEncoder
from duplexforge.models.voice import BALANCED, FIDELITY, Past


@pytest.fixture(scope="module")
def rows() -> frames.Rows:
    """Tables as some loud past makes them."""
    rng = np.random.default_rng(4)
    each, shared = rng.integers(0, 40, (HOP, PER_BIN)).astype(float), rng.integers(0, 40, SHARED).astype(float)
    return load().tables_of(each, shared).tolist()


def tables_used(rows: frames.Rows, values: list[int]) -> list[int]:
    near, run, used = 0, 0, []
    for row, value in zip(rows, values, strict=True):
        used.append(row[near + frames.run_state(run)])
        near, run = frames.step(run, abs(value))
    return used


numbers = st.one_of(
    st.integers(-2, 2), st.integers(-40, 40), st.sampled_from([LARGEST, -LARGEST, LARGEST + 1, 2**23, -(2**20)])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=HOP, max_size=HOP))
def test_numbers_are_read_back_with_the_tables_they_were_written_with(rows: frames.Rows, values: list[int]) -> None:
    encoder = RangeEncoder()
    frames.write(encoder, load(), values, tables_used(rows, values))
    found, used = frames.read(RangeDecoder(encoder.finish()), load(), rows)
    assert found == values
    assert used == tables_used(rows, values)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_some_frame(rows: frames.Rows, data: bytes) -> None:
    found, used = frames.read(RangeDecoder(data), load(), rows)
    assert len(found) == len(used) == HOP
    assert max(map(abs, found)) < LARGEST + 2**24


def test_the_state_stays_in_its_bounds() -> None:
    run = 0
    for size in [10**7] * 50 + [0] * 50 + [1, 2, 3] * 20:
        near, run = frames.step(run, size)
        assert 0 <= near + frames.run_state(run) < STATES
    for _ in range(60):
        _, run = frames.step(run, 0)
    assert run == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 30.0))
def test_the_choice_is_next_to_the_value_and_dearer_bits_make_it_smaller(
    rows: frames.Rows, seed: int, spread: float
) -> None:
    ratios = np.random.default_rng(seed).laplace(0, spread, HOP)
    free, used = choose(load(), rows, ratios.tolist(), 0.0)
    assert np.abs(np.array(free) - ratios).max() <= 0.5 + 1e-9
    assert used == tables_used(rows, free)
    thrifty, _ = choose(load(), rows, ratios.tolist(), 0.3)
    kept = np.array(thrifty)
    assert (np.abs(kept) <= np.abs(np.array(free))).all()
    assert np.all((kept == 0) | (np.sign(kept) == np.sign(ratios)))
    assert np.all((kept == 0) | (np.abs(kept - ratios) <= 1.5))


def test_restored_values_are_whole_and_near_the_middle_of_their_cell(rows: frames.Rows) -> None:
    values = np.array([0, 1, -1, 2, -2, 7, -30, 1000] * 20)
    used = np.array(tables_used(rows, values.tolist()))
    step = step_units(100)
    steps = np.full(HOP, step)
    found = restore(load(), used, values, steps)
    assert found.dtype == np.int64
    assert np.array_equal(np.sign(found), np.sign(values))
    assert np.abs(found - values * step).max() <= 0.3 * step + 1
    assert np.array_equal(restore(load(), used, -values, steps), -found)


def test_steps_grow_by_a_32nd_of_an_octave() -> None:
    assert step_units(0) == 16
    assert step_units(32) == 32
    assert step_units(511) < 2**20
    assert step_units(-5) == 16
    assert step_units(10**6) == step_units(511)


def test_no_step_is_near_a_tie() -> None:
    # Another machine's powers may differ in the last place; they must round to the same whole number.
    steps = 16 * 2 ** (np.arange(512) / 32)
    climb = np.clip(np.arange(HOP) / 25 - 1, -1, 1) / 2
    for exact in (steps, 1024 * 10 ** (BALANCED.slope * climb / 20)):
        assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-9
    past = Past(load(), BALANCED)
    assert np.array_equal(past.steps(64), 64 * np.rint(1024 * 10 ** (BALANCED.slope * climb / 20)).astype(int) >> 10)
    assert set(Past(load(), FIDELITY).steps(64).tolist()) == {64}
