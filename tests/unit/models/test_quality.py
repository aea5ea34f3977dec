"""The scores: nothing lost is perfect, more lost is worse, and each hears what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.models import quality
from duplexforge.models.measure import snr
from tests.unit.models.voices import RATE, voice


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return voice(3.0, 1)


def noisy(wave: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(wave)) * level
    return (wave + noise).astype(np.float32)


def test_equal_waves_are_perfect(wave: np.ndarray) -> None:
    assert quality.mel_distance(wave, wave, RATE) == 0
    assert quality.log_spectral_distance(wave, wave) == 0
    assert quality.f0_correlation(wave, wave, RATE) == pytest.approx(1)
    assert snr(wave, wave) == float("inf")


def test_more_noise_is_worse(wave: np.ndarray) -> None:
    waves = [noisy(wave, level) for level in (0.001, 0.01, 0.1)]
    for score in (lambda x: quality.mel_distance(wave, x, RATE), lambda x: quality.log_spectral_distance(wave, x)):
        found = [score(one) for one in waves]
        assert 0 < found[0] < found[1] < found[2]
    ratios = [snr(wave, one) for one in waves]
    assert ratios == pytest.approx([40, 20, 0], abs=0.3)


def test_the_ratio_fits_no_scale_and_no_shift(wave: np.ndarray) -> None:
    assert snr(wave, 0.9 * wave) == pytest.approx(20, abs=1e-3)
    assert snr(wave, np.roll(wave, 3)) < 20
    assert snr(0 * wave, wave) == float("-inf")


def test_the_pitch_is_found() -> None:
    time = np.arange(RATE) / RATE
    for pitch in (90, 150, 300):
        sound = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 6))
        found = quality.f0_track(sound.astype(np.float32), RATE)
        assert np.median(found) == pytest.approx(pitch, rel=0.01)
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert (quality.f0_track(noise, RATE) == 0).mean() > 0.9


def test_another_pitch_does_not_correlate(wave: np.ndarray) -> None:
    assert quality.f0_correlation(wave, noisy(wave, 0.003), RATE) > 0.95
    assert quality.f0_correlation(wave, voice(3.0, 9), RATE) < 0.9
    assert np.isnan(quality.f0_correlation(wave, 0 * wave, RATE))


def test_a_full_scale_sine_has_power_one() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    assert quality.spectrogram(sine, 512, 128).max() == pytest.approx(1, rel=0.05)
    assert quality.spectrogram(sine[:10], 512, 128).shape == (1, 257)


@pytest.mark.heavy
def test_all_scores_have_a_name_and_fall_with_noise(wave: np.ndarray) -> None:
    clean, bad = quality.scores(wave, noisy(wave, 1e-4), RATE), quality.scores(wave, noisy(wave, 0.05), RATE)
    assert set(clean) == {"pesq_wb", "stoi", "estoi", "mel", "lsd_db", "f0_corr"}
    for name in ("pesq_wb", "stoi", "estoi"):
        assert clean[name] > bad[name]
    assert np.isnan(quality.pesq_wide(0 * wave, 0 * wave, RATE))
