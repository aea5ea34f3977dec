"""Error rates of telling voices apart: known cases, and rules that hold for any scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.training.speaker_scores import Trials, detection_cost, equal_error_rate, pairs


def trials(same: Sequence[float], strange: Sequence[float]) -> Trials:
    return Trials(np.array([*same, *strange], float), np.arange(len(same) + len(strange)) < len(same))


# Whole numbers, so that many are as alike as others.
SCORES = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("same", "strange", "rate"),
    [
        ([0.9, 0.8], [0.1, 0.2, 0.3], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.5], [0.5], 0.5),
        ([0.9, 0.4], [0.5, 0.1], 0.5),
        # One of four is missed where one of four passes.
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.1, 0.05, 0.0], 0.25),
        # Between no false alarm with half of them missed and one of three with none missed: on the line between both.
        ([3.0, 1.0], [1.0, 0.0, -1.0], 0.2),
    ],
)
def test_known_error_rates(same: list[float], strange: list[float], rate: float) -> None:
    assert equal_error_rate(trials(same, strange)) == pytest.approx(rate)


def test_known_costs() -> None:
    assert detection_cost(trials([2.0, 3.0], [0.0, 1.0])) == 0
    # All the same: to say always no is cheapest.
    assert detection_cost(trials([0.0], [0.0])) == 1
    # Half of them found without a false alarm.
    assert detection_cost(trials([5.0, 0.0], [1.0, 1.0])) == pytest.approx(0.5)
    # Where a false alarm costs 19 times as much, one of twenty is as dear as all that are missed.
    assert detection_cost(trials([5.0], [6.0, *[0.0] * 19]), prior=0.05) == pytest.approx(0.95)


@settings(deadline=None)
@given(same=SCORES, strange=SCORES)
def test_the_rate_lies_where_both_errors_cross(same: list[float], strange: list[float]) -> None:
    rate = equal_error_rate(trials(same, strange))
    errors = []
    for threshold in (*same, *strange, 100.0):
        false = sum(one >= threshold for one in strange) / len(strange)
        missed = sum(one < threshold for one in same) / len(same)
        errors.append((false, missed))
    assert max(min(pair) for pair in errors) - 1e-9 <= rate <= min(max(pair) for pair in errors) + 1e-9


@settings(deadline=None)
@given(same=SCORES, strange=SCORES)
def test_only_the_order_of_scores_counts(same: list[float], strange: list[float]) -> None:
    other = trials(np.exp(np.array(same) / 3).tolist(), np.exp(np.array(strange) / 3).tolist())
    assert equal_error_rate(other) == equal_error_rate(trials(same, strange))
    assert detection_cost(other) == detection_cost(trials(same, strange))


@settings(deadline=None)
@given(same=SCORES, strange=SCORES)
def test_both_kinds_of_error_are_treated_alike(same: list[float], strange: list[float]) -> None:
    turned = trials([-one for one in strange], [-one for one in same])
    assert equal_error_rate(turned) == pytest.approx(equal_error_rate(trials(same, strange)))


@settings(deadline=None)
@given(same=SCORES, strange=SCORES, prior=st.floats(0.01, 0.99))
def test_a_cost_is_never_above_that_of_one_answer_for_all(
    same: list[float], strange: list[float], prior: float
) -> None:
    assert 0 <= detection_cost(trials(same, strange), prior) <= 1 + 1e-9


def test_pairs_are_of_two_files() -> None:
    vectors = np.eye(4)[[0, 0, 1, 2]]
    found = pairs(vectors, ["a", "a", "a", "b"], ["f", "f", "g", "h"])
    assert sorted(zip(found.scores.tolist(), found.same.tolist(), strict=True)) == [
        (0.0, False), (0.0, False), (0.0, False), (0.0, True), (0.0, True),
    ]  # fmt: skip
    alike = pairs(np.eye(4)[[0, 0, 1]], ["a", "a", "b"], ["f", "g", "h"])
    assert alike.scores[alike.same].tolist() == [1.0]


def test_pairs_of_some_speakers_alone() -> None:
    names = ["new", "new", "old", "other"]
    found = pairs(np.eye(4), names, list("fghi"), ["new"])
    # Of the six, the one of both who are known is left out.
    assert (len(found.same), int(found.same.sum())) == (5, 1)


@pytest.mark.parametrize(("same", "strange"), [([], [1.0]), ([1.0], [])])
def test_both_kinds_are_wanted(same: list[float], strange: list[float]) -> None:
    with pytest.raises(InputError, match="both are wanted"):
        equal_error_rate(trials(same, strange))
