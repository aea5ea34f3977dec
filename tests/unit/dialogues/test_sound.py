"""The corpus' sound: rate, silence, level, noise; and the pitch that is measured on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.dialogues import sound
from duplexforge.dialogues.pitch import contour, median_pitch
from duplexforge.dialogues.sound import Wave


def spoken(pitch: float, seconds: float = 1.0, *, before: float = 0.3, behind: float = 0.4) -> Wave:
    """A voice-like sound of one pitch between silences: a few harmonics that fade upwards."""
    times = np.arange(round(seconds * sound.RATE)) / sound.RATE
    wave = sum(np.cos(2 * np.pi * pitch * k * times + k) / k for k in range(1, 15) if pitch * k < 7000)
    silence = [np.zeros(round(length * sound.RATE)) for length in (before, behind)]
    return np.concatenate([silence[0], 0.1 * np.asarray(wave), silence[1]]).astype(np.float32)


def rms_db(wave: Wave) -> float:
    return float(10 * np.log10((wave.astype(np.float64) ** 2).mean()))


@settings(deadline=None, max_examples=30)
@given(pitch=st.floats(70, 400))
def test_the_pitch_of_a_voice_is_found(pitch: float) -> None:
    assert median_pitch(spoken(pitch), sound.RATE) == pytest.approx(pitch, rel=0.01)


def test_silence_and_noise_have_no_pitch() -> None:
    assert np.isnan(median_pitch(np.zeros(16_000, np.float32), sound.RATE))
    noise = np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    assert np.isnan(contour(noise, sound.RATE)).mean() > 0.95
    assert len(contour(np.zeros(100, np.float32), sound.RATE)) == 0
    assert np.isnan(median_pitch(np.zeros(100, np.float32), sound.RATE))


def test_a_glide_is_followed() -> None:
    times = np.arange(32_000) / sound.RATE
    phase = 2 * np.pi * np.cumsum(100 + 50 * times) / sound.RATE
    found = contour(sum(np.cos(k * phase) / k for k in range(1, 10)).astype(np.float32), sound.RATE)
    assert found[2] == pytest.approx(103, rel=0.04)
    assert found[-2] == pytest.approx(198, rel=0.04)


def test_an_answer_is_cut_and_levelled() -> None:
    wave, cut = sound.answer(spoken(120), 1.0)
    assert cut == pytest.approx(0.25 * sound.RATE, abs=20)
    assert len(wave) == pytest.approx(1.13 * sound.RATE, abs=40)
    loud, _ = sound.answer(spoken(120), 1.4)
    assert rms_db(loud) - rms_db(wave) == pytest.approx(20 * np.log10(1.4), abs=0.01)
    assert rms_db(wave[800:16_800]) == pytest.approx(-21.9, abs=0.3)


def test_no_level_clips() -> None:
    wave = spoken(120)
    wave[6000] = 3.0
    assert np.abs(sound.answer(wave, 20.0)[0]).max() <= 0.981
    assert np.abs(sound.question(wave, 0.0, 0.0, "a")).max() <= 0.981


@settings(deadline=None, max_examples=20)
@given(level=st.floats(-34, -18), noise=st.floats(0, 30), name=st.text(min_size=1))
def test_noise_is_as_far_below_the_voice_as_asked(level: float, noise: float, name: str) -> None:
    clean = sound.question(spoken(120), level, None, name)
    noisy = sound.question(spoken(120), level, noise, name)
    assert len(clean) == len(noisy)
    assert rms_db(noisy - clean) == pytest.approx(level - noise, abs=0.3)
    assert np.array_equal(noisy, sound.question(spoken(120), level, noise, name))


def test_silence_before_a_question_varies_with_its_name() -> None:
    lengths = {len(sound.question(spoken(120), -20, None, f"q{number}")) for number in range(8)}
    assert len(lengths) > 4
    for number in range(8):
        wave = sound.question(spoken(120), -20, None, f"q{number}")
        first, end = sound.spoken_part(wave)
        assert first <= 0.25 * sound.RATE + 1
        assert len(wave) - end >= 0.1 * sound.RATE


def test_the_rate_is_16_khz() -> None:
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(22_050) / 22_050)).astype(np.int16)
    wave = sound.resampled(tone)
    assert len(wave) == 16_000
    assert wave.dtype == np.float32
    assert np.argmax(np.abs(np.fft.rfft(wave))) == 1000
