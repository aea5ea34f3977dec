"""Harmonics and noise: levels, pitch, continuity, and nothing above half the rate."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.models import base_synthesis as synthesis
from duplexforge.models.base_analysis import BANDS, CENTRES, FLOOR_DB, GAINS, HOP
from duplexforge.models.base_synthesis import SILENT, Knots, Voice, audible


def sung(pitches: list[tuple[float, float]], harmonics: float, breath: float) -> np.ndarray:
    """Frames of one level each, flat over the band."""
    voice, wave = Voice(), []
    for pair in pitches:
        levels = np.full((GAINS, BANDS), harmonics), np.full((GAINS, BANDS), breath)
        wave.append(voice.sing(Knots(*levels, np.array(pair))))
    return np.concatenate(wave)


@pytest.mark.parametrize("pitch", [60, 111, 240, 480])
def test_harmonics_have_the_power_that_is_asked_for(pitch: float) -> None:
    wave = sung([(pitch, pitch)] * 20, -20.0, SILENT)[HOP:]
    assert 10 * np.log10(np.mean(wave**2)) == pytest.approx(-20, abs=0.5)
    power = np.abs(np.fft.rfft(wave[:8000] * np.hanning(8000))) ** 2
    # Bins are 2 Hz: all of it lies within 4 Hz of a multiple of the pitch.
    frequency = np.fft.rfftfreq(8000, 1 / 16_000)
    off = np.abs(frequency - pitch * np.maximum(np.rint(frequency / pitch), 1))
    assert power[off > 4].sum() < 1e-3 * power.sum()


def test_noise_has_the_power_that_is_asked_for() -> None:
    wave = sung([(0.0, 0.0)] * 40, SILENT, -30.0)[HOP:]
    assert 10 * np.log10(np.mean(wave**2)) == pytest.approx(-30, abs=0.3)
    power = np.abs(np.fft.rfft(wave.reshape(-1, HOP))) ** 2
    assert np.abs(10 * np.log10(power.mean(axis=0)[2:-2].reshape(-1, 1)) - 10 * np.log10(power.mean())).max() < 6


def test_the_same_noise_on_every_machine() -> None:
    white = synthesis.noise()
    assert np.mean(white) == pytest.approx(0, abs=0.01)
    assert np.var(white) == pytest.approx(1, abs=0.01)
    assert np.abs(white).max() <= np.sqrt(3)
    assert np.allclose(white[:3], [1.32782759, -0.23719398, -1.64048154], atol=1e-8)
    assert np.abs(np.correlate(white[:4000], white[1:4101])).max() < 400


def test_frames_join_without_a_seam() -> None:
    wave = sung([(100.0, 110.0), (120.0, 130.0), (0.0, 0.0), (0.0, 150.0), (150.0, 140.0)], -20.0, SILENT)
    inner = np.abs(np.diff(wave))
    seams = inner[HOP - 1 :: HOP]
    assert seams.max() <= np.quantile(inner, 0.999)


def test_a_voice_fades_in_from_silence() -> None:
    wave = sung([(0.0, 0.0), (0.0, 200.0), (200.0, 200.0)], -20.0, SILENT)
    assert np.abs(wave[:10]).max() < 0.05


def test_nothing_lies_above_half_the_rate() -> None:
    # At 480 Hz gliding down, every harmonic that were above 8 kHz would come back as one that glides up.
    wave = sung([(470.0, 450.0), (430.0, 410.0), (390.0, 370.0)], -20.0, SILENT)[HOP:]
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / 16_000)
    assert power[frequency < 250].sum() < 1e-3 * power.sum()


def test_pitch_is_held_where_one_end_has_none() -> None:
    voice = Voice()
    line = voice.pitch_line(np.array([0.0, 200.0]))
    assert not line[:320].any()
    assert (line[320:] == 200).all()
    voice.pitch = 100.0
    line = voice.pitch_line(np.array([200.0, 0.0]))
    assert line[159] == pytest.approx(100 * 2**0.5)
    assert (line[320:] == 200).all()


def test_phases_are_those_of_least_delay() -> None:
    """Against the definition: a one-pole filter, whose envelope and phase are known."""
    pole = 0.7
    response = 1 / (1 - pole * np.exp(-2j * np.pi * CENTRES / 16_000))
    envelope = 20 * np.log10(np.abs(response))
    found = envelope @ synthesis.phases()
    frequency = np.linspace(0, 8000, found.shape[-1])
    expected = np.angle(1 / (1 - pole * np.exp(-2j * np.pi * frequency / 16_000)))
    inner = (frequency > 300) & (frequency < 6500)
    assert np.abs(found - expected)[inner].max() < 0.15


def test_the_floor_is_silence() -> None:
    found = audible(np.array([FLOOR_DB, FLOOR_DB + 2, FLOOR_DB + 20, 0.0]))
    assert found[0] < -150
    assert found[1] < -150
    assert found[2:].tolist() == [0.0, 0.0]
