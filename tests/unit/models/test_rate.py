"""Finding the step of a recording, and keeping a stream's budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models.mdct import Floats
from duplexforge.models.mdct_codec import PACKET, MdctCodec, VoiceEncoder
from duplexforge.models.model import load
from duplexforge.models.quantise import STEPS
from duplexforge.models.rate import Budget, demand, excerpts, likely_step, settle
from duplexforge.models.voice import BALANCED, FIDELITY, Shape
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


def spectra_of(number: int, seed: int = 0, tilt: float = 0.0, loudness: float = 1e5) -> list[Floats]:
    """Four frames of noise that falls by ``tilt`` dB a bin."""
    rng = np.random.default_rng((seed, number))
    fall = 10 ** (-tilt * np.arange(160) / 20)
    fall *= loudness / np.sqrt(np.mean(fall**2))
    return [rng.laplace(0, 0.5**0.5, 160) * fall for _ in range(4)]


def at(number: int, spectra: list[Floats], shape: Shape = FIDELITY) -> float:
    """What the formula says of the packet at one step."""
    return float(np.interp(number, np.arange(0, STEPS, 16), demand(spectra, shape)))


@pytest.mark.parametrize("shape", [FIDELITY, BALANCED], ids=["fidelity", "balanced"])
def test_the_formula_says_what_the_coder_spends(shape: Shape) -> None:
    wave = voice(2.0, 3)
    for number in (250, 290, 330):
        encoder = VoiceEncoder(MdctCodec("fidelity", shape, load(), step=number))
        spent = foretold = 0.0
        for start in range(0, len(wave) - PACKET + 1, PACKET):
            piece = wave[start : start + PACKET]
            foretold += at(number, VoiceEncoder(MdctCodec("fidelity", shape, load())).spectra(piece), shape)
            spent += 8 * len(encoder.packet(piece))
        # A made voice is no speech: within a factor of two is what it can tell.
        assert 0.5 < foretold / spent < 2


@given(st.floats(0, 1.5), st.floats(10, 1e6), st.sampled_from([FIDELITY, BALANCED]))
def test_wider_steps_cost_less(tilt: float, loudness: float, shape: Shape) -> None:
    bits = demand(spectra_of(0, tilt=tilt, loudness=loudness), shape)
    assert (np.diff(bits) <= 0).all()
    assert (bits >= 0).all()


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 1.2), st.floats(300, 1e5), st.sampled_from([8.0, 16.0, 24.0]))
def test_bright_or_dark_a_voice_gets_its_rate_within_seconds(tilt: float, loudness: float, kbps: float) -> None:
    budget = Budget(kbps, 0.04, FIDELITY)
    spent = []
    for number in range(125):
        spectra = spectra_of(number, tilt=tilt, loudness=loudness)
        # A coder that spends a fifth more than the formula says.
        spent.append(1.2 * at(budget.step(spectra), spectra))
        budget.spend(round(spent[-1]))
    # What the first second overspent is paid back slowly; what it left is spent.
    assert np.mean(spent[50:]) < 1.3 * 40 * kbps
    assert np.mean(spent[50:]) > 0.7 * 40 * kbps or budget.step(spectra) == 0


def test_a_budget_that_is_overspent_asks_for_a_wider_step() -> None:
    spectra = spectra_of(0)
    budget = Budget(16, 0.04, FIDELITY)
    steps = []
    for _ in range(50):
        steps.append(budget.step(spectra))
        budget.spend(1000)
    assert steps[-1] > steps[0]
    for _ in range(500):
        budget.step(spectra)
        budget.spend(0)
    saved = budget.step(spectra)
    assert saved < steps[0]


def test_the_rate_that_a_pause_saves_has_an_end() -> None:
    budget = Budget(16, 0.04, FIDELITY)
    loud, quiet = spectra_of(0), spectra_of(0, loudness=10.0)
    for _ in range(200):
        number = budget.step(loud)
        budget.spend(round(at(number, loud)))
    for _ in range(250):
        budget.step(quiet)
        budget.spend(10)
    first = budget.step(loud)
    for _ in range(1500):
        budget.step(quiet)
        budget.spend(10)
    # A minute more of silence must not make the next word cost what it saved.
    assert number - 90 < first < number
    assert abs(budget.step(loud) - first) < 5
