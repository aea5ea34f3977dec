"""The rate of an answer: frames keep their order, their number follows the rate at every moment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import UsageError
from duplexforge.models.s2s.pace import Pace


@given(st.floats(0.5, 2), st.integers(0, 300))
def test_the_number_of_frames_follows_the_rate(rate: float, frames: int) -> None:
    pace, heard = Pace(rate), 0
    for number in range(frames):
        found = [int(frame[0]) for frame in pace.push(np.array([number]))]
        assert found == [number] * len(found)
        heard += len(found)
        assert heard - 1 < (number + 1) / rate + 1e-6 <= heard + 1e-3
    assert abs(heard - frames / rate) < 1.001


def test_an_even_rate_changes_nothing_and_others_go_round() -> None:
    def heard(rate: float) -> list[int]:
        pace = Pace(rate)
        return [int(frame[0]) for number in range(6) for frame in pace.push(np.array([number]))]

    assert heard(1.0) == [0, 1, 2, 3, 4, 5]
    assert heard(0.5) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert heard(2.0) == [0, 2, 4]


@pytest.mark.parametrize("rate", [0.49, 2.01, float("nan")])
def test_rates_out_of_range(rate: float) -> None:
    with pytest.raises(UsageError, match="rate must lie between"):
        Pace(rate)
