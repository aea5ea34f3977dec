"""What a voice will do next: periods are found, silence promises nothing, and torch says the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.models.periods import HISTORY, LEVELS, LONGEST, SHORTEST, continued
from tests.unit.training.made import voice


@given(lag=st.integers(SHORTEST, LONGEST), seed=st.integers(0, 1000))
def test_what_repeats_is_continued(lag: int, seed: int) -> None:
    period = np.random.default_rng(seed).standard_normal(lag).astype(np.float32)
    wave = np.tile(period, 30)
    ahead, row = continued(wave[:HISTORY], 160)
    # A lag and its multiples say the same of what repeats exactly.
    assert np.abs(ahead - wave[HISTORY : HISTORY + 160]).max() < 1e-3
    assert row >= LEVELS - 2


def test_silence_and_noise_promise_little() -> None:
    ahead, row = continued(np.zeros(HISTORY, np.float32), 160)
    assert row == 0
    assert not ahead.any()
    random = np.random.default_rng(0)
    rows = [continued(random.standard_normal(HISTORY).astype(np.float32), 160)[1] for _ in range(50)]
    assert np.mean(rows) < 2


def test_nothing_grows() -> None:
    wave = np.exp(np.linspace(-8, 0, HISTORY)).astype(np.float32)
    ahead, _ = continued(wave, 160)
    assert np.abs(ahead).max() <= np.abs(wave).max()


@pytest.mark.heavy
def test_torch_says_the_same() -> None:
    import torch

    from duplexforge.models import token_model

    wave = voice(2.0, 140, seed=3)
    histories = np.lib.stride_tricks.sliding_window_view(wave, HISTORY)[::331]
    made, rows = token_model.continued(torch.from_numpy(histories.copy()), 160)
    alone = [continued(history, 160) for history in histories]
    same = [np.abs(one - other).max() < 1e-3 for (one, _), other in zip(alone, made.numpy(), strict=True)]
    # Two lags may be as good as each other; which one wins is then a matter of rounding.
    assert np.mean(same) > 0.95
    assert np.mean([row == int(other) for (_, row), other in zip(alone, rows, strict=True)]) > 0.95
