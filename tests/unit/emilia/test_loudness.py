"""The streaming loudness meter against pyloudnorm on the whole file."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest

from Emilia.models.loudness import LoudnessMeter
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples


def fed(samples: Samples, block: int, rate: int = 24000) -> LoudnessMeter:
    meter = LoudnessMeter(rate)
    for start in range(0, len(samples), block):
        meter.add(samples[start : start + block])
    return meter


@pytest.mark.parametrize("block", [1, 997, 24000, 10**6])
@pytest.mark.parametrize("seconds", [1.0, 5.43])
def test_equals_pyloudnorm_whatever_the_blocks(block: int, seconds: float) -> None:
    samples = synth.speech(seconds, rate=24000)
    # A quiet half makes the relative gate matter.
    samples[: len(samples) // 2] *= 0.05
    if block == 1:
        samples = samples[: 24000 // 2]
    expected = pyloudnorm.Meter(24000).integrated_loudness(samples)
    assert fed(samples, block).loudness() == pytest.approx(expected, abs=0.02)


def test_under_a_block_the_rest_counts() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(4800) / 24000).astype(np.float32)
    assert fed(tone, 1000).loudness() == pytest.approx(-3.0, abs=0.4)


def test_silence_has_no_loudness() -> None:
    assert fed(np.zeros(48000, np.float32), 5000).loudness() == float("-inf")
    assert LoudnessMeter(24000).loudness() == float("-inf")


def test_peak_ignores_a_click_and_keeps_a_shout() -> None:
    samples = synth.speech(4.0, rate=24000)
    speech = fed(samples, 7000).peak(0.999)
    samples[30000] = 5.0
    assert fed(samples, 7000).peak(0.999) == pytest.approx(speech, rel=0.1)
    samples[40000:46000] = 2.0
    assert fed(samples, 7000).peak(0.999) == 2.0


def test_mean_and_noise() -> None:
    rng = np.random.default_rng(0)
    samples = (0.25 + 0.01 * rng.standard_normal(48000)).astype(np.float32)
    meter = fed(samples, 1234)
    assert meter.mean == pytest.approx(0.25, abs=1e-3)
    assert meter.noise() == pytest.approx(-40.0, abs=0.5)
    assert LoudnessMeter(24000).noise() == float("-inf")
