"""Sound from one rate to another, in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from duplexforge.errors import UsageError
from duplexforge.serving.packets import pcm16, samples_of
from duplexforge.serving.resampling import Resampler, clean, pcm16_at

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]


def _tone(rate: int, hertz: float = 440.0, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def _snr(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((wanted**2).sum() / (((wanted - found) ** 2).sum() + 1e-20)))


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [16_000, 24_000])
def test_a_tone_stays_the_tone_at_its_time(source: int, target: int):
    found = Resampler(source, target).push(_tone(source), last=True)
    wanted = _tone(target)
    assert abs(len(found) - len(wanted)) <= 1
    middle = slice(target // 10, -target // 10)
    assert _snr(wanted[: len(found)][middle], found[: len(wanted)][middle]) > 60


def test_what_cannot_be_heard_at_the_new_rate_is_taken_out():
    found = Resampler(48_000, 16_000).push(_tone(48_000, 9_500.0), last=True)
    assert np.abs(found[1_000:-1_000]).max() < 1e-4


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=12), st.sampled_from(RATES))
def test_pieces_make_no_difference(sizes: list[int], source: int):
    sound = _tone(source, 300.0)[: sum(sizes)]
    whole = Resampler(source, 16_000).push(sound, last=True)
    resampler, found, start = Resampler(source, 16_000), [], 0
    for size in sizes:
        found.append(resampler.push(sound[start : start + size]))
        start += size
    found.append(resampler.push(np.zeros(0, np.float32), last=True))
    together = np.concatenate(found)
    assert len(together) == len(whole)
    assert np.allclose(together, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "most"), [(16_000, 0.0), (24_000, 0.045), (44_100, 0.045), (48_000, 0.045), (8_000, 0.12)]
)
def test_what_is_held_back_is_little(source: int, most: float):
    resampler, out = Resampler(source, 16_000), 0
    for piece in range(100):
        out += len(resampler.push(np.zeros(source // 50, np.float32)))
        assert (piece + 1) * 0.02 - out / 16_000 <= most + 1e-9


def test_the_same_rate_goes_through_as_it_is():
    sound = _tone(16_000)
    assert Resampler(16_000, 16_000).push(sound) is sound


def test_after_the_last_piece_the_stream_begins_anew():
    resampler = Resampler(24_000, 16_000)
    first = resampler.push(_tone(24_000), last=True)
    assert np.array_equal(resampler.push(_tone(24_000), last=True), first)


def test_a_view_with_steps_is_read_as_it_is():
    stereo = np.stack([_tone(24_000), np.zeros(24_000, np.float32)], axis=1)
    found = Resampler(24_000, 16_000).push(stereo[:, 0], last=True)
    assert np.array_equal(found, Resampler(24_000, 16_000).push(_tone(24_000), last=True))


@pytest.mark.parametrize("rate", [0, -1, 7_999, 48_001, 10**9])
def test_a_rate_that_nobody_speaks_at_is_refused(rate: int):
    with pytest.raises(UsageError, match="8000 to 48000"):
        Resampler(rate, 16_000)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
)
def test_nothing_that_is_sent_is_worse_than_noise(sound: np.ndarray):
    found = clean(sound)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.abs(found).max(initial=0.0) <= 1.0
    assert np.isfinite(Resampler(48_000, 16_000).push(found, last=True)).all()


def test_full_scale_noise_stays_finite():
    noise = np.random.default_rng(5).choice(np.array([-1.0, 1.0], np.float32), 48_000)
    assert np.isfinite(Resampler(48_000, 16_000).push(clean(noise), last=True)).all()


def test_an_answer_for_another_rate():
    data = pcm16(_tone(16_000))
    found = samples_of(pcm16_at(data, 16_000, 24_000))
    assert len(found) == 24_000
    assert _snr(_tone(24_000)[2_400:-2_400], found[2_400:-2_400]) > 50
    assert pcm16_at(data, 16_000, 16_000) is data
    assert pcm16_at(b"", 16_000, 24_000) == b""
