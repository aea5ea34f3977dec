"""Finding the step of a recording, and keeping a stream's budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.models.quantise import STEPS
from duplexforge.models.rate import Budget, excerpts, likely_step, settle
from tests.unit.models.voices import RATE, voice


@given(st.floats(2, 128), st.integers(-50, 600), st.floats(10, 200), st.floats(20, 200))
def test_the_step_is_the_least_that_keeps_the_rate(kbps: float, first: int, half: float, most: float) -> None:
    calls = []

    def cost(number: int) -> float:
        calls.append(number)
        return float(most * 2 ** (-number / half))

    found = settle(cost, kbps, first)
    assert 0 <= found < STEPS
    assert cost(found) <= kbps or found == STEPS - 1
    assert found == 0 or cost(found - 1) > kbps
    assert len(calls) <= 18


def test_the_usual_search_is_short() -> None:
    calls = []

    def cost(number: int) -> float:
        calls.append(number)
        return float(16 * 2 ** ((300 - number) / 70))

    assert settle(cost, 16.0, 280) == 300
    assert len(calls) <= 8


def test_a_louder_wave_wants_a_wider_step() -> None:
    wave = voice(1.0).astype(np.float64)
    steps = [likely_step(wave * gain, 16) for gain in (0.01, 0.1, 1.0)]
    assert steps == sorted(steps)
    assert abs(steps[2] - steps[1] - 32 * np.log2(10)) <= 1
    assert likely_step(wave, 24) < likely_step(wave, 16)
    assert likely_step(0 * wave, 16) == 0


def test_excerpts_of_a_short_wave_are_the_wave() -> None:
    wave = np.arange(30 * RATE, dtype=np.float64)
    assert excerpts(wave) is wave
    some = excerpts(np.tile(wave, 10), seconds=30, pieces=3)
    assert len(some) == 30 * RATE
    assert some[0] == 0
    assert some[-1] == wave[-1]


def test_a_budget_that_is_overspent_asks_for_a_wider_step() -> None:
    spectra = [np.full(160, 1e5)] * 4
    budget = Budget(16, 0.04)
    steps = []
    for _ in range(50):
        steps.append(budget.step(spectra))
        budget.spend(1000)
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
    for _ in range(500):
        budget.spend(0)
    saved = budget.step(spectra)
    assert saved < steps[0]
    for _ in range(5000):
        budget.spend(0)
    # Saving has an end: a pause of a minute must not make the next word cost what it saved.
    assert steps[0] - 60 < budget.step(spectra) <= saved


def test_a_budget_does_not_take_pauses_for_the_voice() -> None:
    budget = Budget(16, 0.04)
    loud, quiet = [np.full(160, 1e5)] * 4, [np.full(160, 10.0)] * 4
    first = budget.step(loud)
    for _ in range(100):
        assert budget.step(quiet) == first
