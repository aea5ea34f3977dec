"""What the base layer hears: levels, envelopes and breath, against waves whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.models import base_analysis as analysis
from duplexforge.models.base import hear_whole
from duplexforge.models.base_weights import level, parts
from tests.unit.models.vowels import vowel


def vectors(wave: np.ndarray) -> np.ndarray:
    return np.stack([frame.vector for frame in hear_whole(wave.astype(np.float32))])


def test_a_frame_has_its_numbers() -> None:
    frames = hear_whole(vowel(120, 0.2))
    assert len(frames) == 5
    assert {frame.vector.shape for frame in frames} == {(analysis.WIDTH,)}
    assert all(np.isfinite(frame.vector).all() for frame in frames)


@pytest.mark.parametrize("deviation", [0.2, 0.01, 0.0005])
def test_loudness_is_the_mean_square_in_decibels(deviation: float) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000) * deviation
    gains, _, _ = parts(vectors(noise))
    assert np.mean(gains[1:-1]) == pytest.approx(20 * np.log10(deviation), abs=1)


def test_silence_lies_on_the_floor() -> None:
    gains, breath, shape = parts(vectors(np.zeros(3200)))
    assert np.allclose(gains, analysis.FLOOR_DB)
    assert not breath.any()
    assert not shape.any()


def test_white_noise_is_flat_and_has_mean_one() -> None:
    _, _, shape = parts(vectors(np.random.default_rng(1).standard_normal(48_000) * 0.1))
    mean = shape[2:-2].mean(axis=(0, 1))
    assert np.abs(mean).max() < 2.5
    assert np.abs(level(shape[2:-2])).max() < 1.5


@pytest.mark.parametrize("pitch", [80, 140, 230])
def test_the_envelope_has_the_formants_and_no_harmonics(pitch: int) -> None:
    _, _, shape = parts(vectors(vowel(pitch, 0.5)))
    envelope = shape[3:-3].mean(axis=(0, 1))
    near = np.argmin(np.abs(analysis.CENTRES - 600))
    assert abs(int(np.argmax(envelope)) - int(near)) <= 1
    # Between the first two formants there is a valley, however the harmonics lie.
    valley = envelope[np.argmin(np.abs(analysis.CENTRES - 1000))]
    assert envelope[near] - valley > 4
    # From frame to frame a voice that stands still has the same envelope.
    assert shape[3:-3].std(axis=0).mean() < 0.6


def test_breath_tells_voice_from_noise() -> None:
    clean = vowel(130, 0.5).astype(np.float64)
    noise = np.random.default_rng(2).standard_normal(len(clean))
    high = np.fft.irfft(np.fft.rfft(noise) * (np.fft.rfftfreq(len(noise), 1 / 16_000) > 4000), len(noise))
    _, sharp, _ = parts(vectors(clean))
    _, hoarse, _ = parts(vectors(clean + 0.05 * high))
    assert sharp[3:-3].mean(axis=(0, 1)).min() > 0.9
    found = hoarse[3:-3].mean(axis=(0, 1))
    assert found[0] > 0.9
    assert found[-1] < 0.35
    _, none, _ = parts(vectors(0.1 * noise))
    assert none.mean() < 0.1


def test_a_burst_is_placed_to_ten_milliseconds() -> None:
    wave = np.zeros(6400)
    wave[3400:3450] = np.random.default_rng(3).standard_normal(50) * 0.3
    gains, _, _ = parts(vectors(wave))
    # Loudness is known at 160, 320, 480 … samples.
    assert (int(np.argmax(gains.reshape(-1))) + 1) * 160 in (3360, 3520)
