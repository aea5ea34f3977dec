"""Percentiles and what is said of each figure."""

from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duplexforge.errors import InputError
from duplexforge.latency.figures import MEASURES, Spread

SOME = some.lists(some.floats(0, 1e6), min_size=1, max_size=60)


def test_known_percentiles() -> None:
    spread = Spread.of([float(value) for value in range(101)])
    assert spread == Spread(101, 50.0, 95.0, 99.0, 100.0)
    assert spread.to_json() == {"n": 101, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_few_values_lie_between_neighbours() -> None:
    assert Spread.of([10.0, 20.0]).p95 == pytest.approx(19.5)
    assert Spread.of([7.0]) == Spread(1, 7.0, 7.0, 7.0, 7.0)


@given(SOME)
def test_order_and_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) <= spread.p50 <= spread.p95 + 1e-6
    assert spread.p95 <= spread.p99 + 1e-6
    assert spread.p99 <= spread.most + 1e-6
    assert spread.most == max(values)
    assert spread.p50 == pytest.approx(statistics.median(values), rel=1e-9, abs=1e-9)


@given(SOME, some.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(values: list[float], random: Random) -> None:
    mixed = random.sample(values, len(values))
    assert Spread.of(mixed) == Spread.of(values)


def test_nothing_measured_has_no_spread() -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        Spread.of([])


def test_every_figure_says_when_its_clock_starts() -> None:
    assert all(len(measure.start) > 20 for measure in MEASURES.values())
    assert MEASURES["first_text"].goal == 150
