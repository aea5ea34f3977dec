"""One user's sound, cut for the model and for voice activity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import UsageError
from duplexforge.serving.listening import Ear, Heard


def _ramp(count: int) -> np.ndarray:
    return (np.arange(count) / 2**15).astype(np.float32)


def _joined(heard: list[Heard]) -> tuple[np.ndarray, np.ndarray]:
    empty = np.zeros(0, np.float32)
    frames = np.concatenate([empty, *(frame.samples for one in heard for frame in one.frames)])
    return frames, np.concatenate([empty, *(one.windows.reshape(-1) for one in heard)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4_000), max_size=7))
def test_nothing_is_lost_and_nothing_is_twice(sizes: list[int]):
    sound, ear, start = _ramp(sum(sizes)), Ear(16_000, 1_280), 0
    heard = []
    for size in sizes:
        heard.append(ear.hear(sound[start : start + size], 16_000))
        start += size
    frames, windows = _joined(heard)
    assert np.array_equal(frames, sound[: len(sound) // 1_280 * 1_280])
    assert np.array_equal(windows, sound[: len(sound) // 512 * 512])
    assert ear.at == pytest.approx(len(sound) / 16_000)
    assert ear.waiting == pytest.approx(len(sound) % 1_280 / 16_000)


def test_frames_and_windows_tell_when_they_end():
    heard = Ear(16_000, 1_280).hear(_ramp(2_600), 16_000)
    assert [frame.timestamp for frame in heard.frames] == pytest.approx([0.08, 0.16])
    assert heard.ends == pytest.approx([0.032, 0.064, 0.096, 0.128, 0.16])


def test_a_model_that_hears_another_rate_gets_it_and_voice_activity_gets_its_own():
    ear, heard = Ear(24_000, 1_920), []
    for _ in range(50):
        heard.append(ear.hear(np.zeros(960, np.float32), 48_000))
    frames, windows = _joined(heard)
    assert 0.9 < len(frames) / 24_000 <= 1.0
    assert 0.85 < len(windows) / 16_000 <= 1.0
    assert all(len(frame.samples) == 1_920 for one in heard for frame in one.frames)


def test_the_rate_may_change_in_the_middle():
    ear = Ear(16_000, 1_280)
    ear.hear(np.zeros(8_000, np.float32), 16_000)
    ear.hear(np.zeros(24_000, np.float32), 48_000)
    assert 0.9 < ear.at <= 1.0


def test_a_turn_is_filled_up_so_that_all_of_it_is_heard():
    ear = Ear(16_000, 1_280)
    assert ear.hear(_ramp(700), 16_000).frames == []
    (frame,) = ear.flush().frames
    assert np.array_equal(frame.samples[:700], _ramp(700))
    assert not frame.samples[700:].any()
    assert ear.flush().frames == []


def test_what_a_resampler_holds_back_comes_out_too():
    ear, tone = Ear(16_000, 1_280), np.sin(np.arange(4_800) / 10).astype(np.float32)
    heard = [ear.hear(tone, 48_000), ear.flush()]
    frames, _ = _joined(heard)
    assert len(frames) >= 1_600
    assert len(frames) % 1_280 == 0
    assert np.abs(frames[1_500:1_590]).max() > 0.5


def test_a_frame_does_not_keep_the_message_it_came_with():
    (frame, *_) = Ear(16_000, 1_280).hear(np.zeros(16_000, np.float32), 16_000).frames
    assert frame.samples.base is None


def test_no_numbers_are_silence():
    heard = Ear(16_000, 1_280).hear(np.full(1_280, np.nan, np.float32), 16_000)
    assert not heard.frames[0].samples.any()


def test_a_rate_that_nobody_speaks_at_changes_nothing():
    ear = Ear(16_000, 1_280)
    with pytest.raises(UsageError):
        ear.hear(np.zeros(100, np.float32), 4_000)
    ear.hear(_ramp(100), 16_000)
    assert ear.at == pytest.approx(100 / 16_000)
