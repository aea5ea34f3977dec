"""Choosing by logits: what is left out is never chosen, what is kept comes as often as its odds say, seeds repeat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import UsageError
from duplexforge.models.s2s.sampling import GREEDY, Sampling, choose

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


def counts(how: Sampling, draws: int = 4000) -> np.ndarray:
    rows = np.repeat(LOGITS[None], draws, axis=0)
    return np.bincount(choose(rows, how, np.random.default_rng(1)), minlength=4) / draws


def test_odds_are_kept() -> None:
    np.testing.assert_allclose(counts(Sampling(1.0, 0)), np.exp(LOGITS), atol=0.03)
    sharper = np.exp(LOGITS / 0.5)
    np.testing.assert_allclose(counts(Sampling(0.5, 0)), sharper / sharper.sum(), atol=0.03)


def test_top_k_and_top_p_leave_out_the_tail() -> None:
    assert (counts(Sampling(1.0, 2)) > 0).tolist() == [True, True, False, False]
    # The entry that crosses the share is in.
    assert (counts(Sampling(1.0, 0, 0.7)) > 0).tolist() == [True, True, False, False]
    assert (counts(Sampling(1.0, 0, 0.8)) > 0).tolist() == [True, True, True, False]


@given(st.integers(0, 1000))
def test_greedy_takes_the_likeliest_and_an_impossible_one_is_never_taken(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(choose(logits, GREEDY, random), logits.argmax(axis=1))
    logits[:, 3] = -np.inf
    assert (choose(logits, Sampling(2.0, 0), random) != 3).all()


def test_one_number_a_row_is_drawn_whatever_the_settings() -> None:
    ends = []
    for how in (GREEDY, Sampling(), Sampling(1.0, 0, 0.5)):
        random = np.random.default_rng(5)
        choose(np.zeros((3, 4), np.float32), how, random)
        ends.append(random.random())
    assert len(set(ends)) == 1


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}])
def test_settings_that_mean_nothing(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Sampling(**wrong)  # type: ignore[arg-type]
