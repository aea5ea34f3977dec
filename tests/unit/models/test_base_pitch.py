"""The pitch tracker and the book of pitches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duplexforge.models.base_pitch import BLOCK, LOWEST, PITCHES, Tracker, likeness, pitch_code, pitches_of
from tests.unit.models.vowels import vowel

HIGHEST = 480.0
FRAME, KNOT = 640, 320


def tracked(wave: np.ndarray) -> np.ndarray:
    """The pitch of every knot that lies whole in ``wave``."""
    tracker = Tracker()
    starts = range(0, len(wave) - BLOCK - KNOT, FRAME)
    return np.concatenate(
        [tracker.push(np.stack([wave[at : at + BLOCK], wave[at + KNOT : at + KNOT + BLOCK]])) for at in starts]
    )


@pytest.mark.parametrize("pitch", [65, 90, 133, 201, 287, 420])
def test_a_steady_voice_is_found_to_one_percent(pitch: int) -> None:
    found = tracked(vowel(pitch, 0.5))[2:-2]
    assert np.abs(found / pitch - 1).max() < 0.01


def test_a_glide_is_followed() -> None:
    time = np.arange(16_000) / 16_000
    pitch = 110 * 2**time
    wave = sum(np.sin(number * 2 * np.pi * np.cumsum(pitch) / 16_000) / number for number in range(1, 12)) * 0.1
    found = tracked(wave)
    expected = pitch[BLOCK // 2 + KNOT * np.arange(len(found))]
    assert np.abs(found / expected - 1)[2:-2].max() < 0.02


def test_a_weak_first_harmonic_is_no_octave() -> None:
    time = np.arange(8_000) / 16_000
    wave = sum(np.sin(2 * np.pi * 150 * number * time) for number in (2, 3, 4, 5)) * 0.05
    assert np.abs(tracked(wave)[2:-2] / 150 - 1).max() < 0.01


def test_noise_and_silence_have_none() -> None:
    noise = np.random.default_rng(1).standard_normal(16_000) * 0.1
    assert np.mean(tracked(noise) > 0) < 0.1
    assert not tracked(np.zeros(8_000)).any()
    assert (likeness(np.zeros(BLOCK)) == -1).all()


def test_likeness_is_a_correlation() -> None:
    random = np.random.default_rng(2)
    for wave in (vowel(200, 0.2), random.standard_normal(4000)):
        found = likeness(wave[1000 : 1000 + BLOCK].astype(np.float64))
        assert np.abs(found).max() <= 1.01


@example(first=368.0, move=0.2421875, voiced=(1, 1))
@given(
    first=st.floats(LOWEST * 1.2, HIGHEST / 1.2),
    move=st.floats(-0.25, 0.25),
    voiced=st.sampled_from([(1, 1), (1, 0), (0, 1), (0, 0)]),
)
def test_the_book_has_an_entry_near_everything(first: float, move: float, voiced: tuple[int, int]) -> None:
    pitches = np.array([first, first * 2**move]) * voiced
    found = pitches_of(pitch_code(pitches))
    assert ((found > 0) == (pitches > 0)).all()
    both = pitches > 0
    # Half a step of height (3 octaves in 80), and half of the widest step of slope (0.18 to 0.3), of which each knot has half.
    assert np.abs(np.log2(found[both] / pitches[both])).max(initial=0) <= 3 / 80 / 2 + 0.12 / 2 / 2 + 1e-9


def test_the_book_fits_its_codes() -> None:
    assert len(PITCHES) <= 1024
    assert not PITCHES[0].any()
    assert PITCHES.max() <= HIGHEST
    assert PITCHES[PITCHES > 0].min() >= LOWEST
    codes = [pitch_code(row) for row in PITCHES[::17]]
    assert np.allclose(PITCHES[codes], PITCHES[::17])
    # Codes that no encoder writes are the silent one.
    for code in (-1, len(PITCHES), 1023):
        assert not pitches_of(code).any()
