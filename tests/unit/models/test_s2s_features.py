"""What the speech-to-speech model hears: a stream of frames that equals the whole, looks at nothing to come, and knows levels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.models.s2s.features import (
    BANDS,
    FRAME,
    HOP,
    SILENCE,
    STACK,
    WIDTH,
    Hearing,
    frames_of,
    log_mel,
    scaled,
)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1500), min_size=1, max_size=8), st.integers(1, 3))
def test_a_stream_equals_the_whole(cuts: list[int], slots: int) -> None:
    wave = np.stack([noise(sum(cuts), seed) for seed in range(slots)])
    hearing, at = Hearing(slots), 0
    found = []
    for cut in cuts:
        found.append(hearing.push(wave[:, at : at + cut]))
        at += cut
    stream = np.concatenate(found, axis=1)
    assert stream.shape == (slots, wave.shape[1] // FRAME, WIDTH)
    for slot in range(slots):
        whole = frames_of(log_mel(wave[slot])[: stream.shape[1] * STACK])
        np.testing.assert_allclose(stream[slot], whole, atol=1e-5)


def test_nothing_looks_ahead() -> None:
    wave = noise(8000)
    later = wave.copy()
    later[10 * HOP :] = 0
    one, other = log_mel(wave), log_mel(later)
    np.testing.assert_array_equal(one[:10], other[:10])
    assert (one[10] != other[10]).any()


def test_a_frame_is_whole_with_its_last_sample() -> None:
    hearing = Hearing()
    assert hearing.push(np.zeros((1, FRAME - 1), np.float32)).shape == (1, 0, WIDTH)
    assert hearing.push(np.zeros((1, 1), np.float32)).shape == (1, 1, WIDTH)


def test_tones_are_where_they_belong_and_twice_the_wave_is_four_times_the_power() -> None:
    time = np.arange(8000) / 16_000
    peaks = []
    for hertz in (200, 1000, 3000, 7000):
        wave = (0.25 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
        logs = log_mel(wave)[10]
        peaks.append(int(logs.argmax()))
        np.testing.assert_allclose(log_mel(2 * wave)[10].max() - logs.max(), np.log(4), atol=1e-3)
    assert peaks == sorted(peaks)
    assert peaks[0] < 12
    assert peaks[-1] > 70


def test_silence_is_the_floor_and_fills_the_last_frame() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(1600, np.float32)), SILENCE, rtol=1e-6)
    frames = frames_of(log_mel(noise(FRAME + HOP)), multiple=2)
    assert frames.shape == (2, WIDTH)
    np.testing.assert_allclose(frames[1, BANDS:], scaled(np.float32(SILENCE)), rtol=1e-6)


def test_reset_by_slot() -> None:
    hearing, wave = Hearing(2), np.stack([noise(1000), noise(1000, 1)])
    first = hearing.push(np.zeros((2, FRAME), np.float32))
    hearing.push(wave[:, :FRAME])
    hearing.reset(np.array([True, False]))
    after = hearing.push(np.zeros((2, FRAME), np.float32))
    np.testing.assert_array_equal(after[0], first[0])
    assert (after[1] != first[1]).any()
