"""Stretches of speech out of probabilities."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.serving.voicing import Voicing

WINDOW = 0.032


def _heard(probabilities: list[float], threshold: float = 0.5, start: float = 0.0) -> Voicing:
    found = Voicing(at=start)
    for number, probability in enumerate(probabilities, 1):
        found.hear(probability, start + number * WINDOW, threshold)
    return found


def test_a_stretch_begins_with_its_first_window_and_ends_with_its_last():
    found = _heard([0.1, 0.9, 0.2, 0.9, 0.1])
    assert found.since == pytest.approx(WINDOW)
    assert found.last == pytest.approx(4 * WINDOW)
    assert found.seconds == pytest.approx(2 * WINDOW)
    assert found.silence == pytest.approx(WINDOW)
    assert not found.voiced


def test_what_is_voice_goes_on_a_little_below_the_threshold():
    assert _heard([0.6, 0.4]).voiced
    assert not _heard([0.4]).voiced
    assert not _heard([0.6, 0.3]).voiced


def test_with_a_low_threshold_silence_is_still_silence():
    assert not _heard([0.2, 0.04], threshold=0.1).voiced
    assert not _heard([0.2, 0.0], threshold=0.02).voiced


def test_without_a_stretch_there_is_no_silence_to_wait_for():
    found = _heard([0.0] * 50)
    assert not found.silent(0.01)
    assert not found.spoken(0.0)


def test_five_windows_are_160_ms_however_the_sums_round():
    found = _heard([0.9] + [0.0] * 5)
    assert found.silent(0.16)
    assert _heard([0.9] * 5, start=12.8).spoken(0.16)


def test_a_dropped_stretch_begins_anew_with_the_next_voice():
    found = _heard([0.9] * 4)
    found.drop()
    assert not found.spoken(WINDOW)
    found.hear(0.9, 5 * WINDOW, 0.5)
    assert found.since == pytest.approx(4 * WINDOW)


def test_time_in_which_nobody_listened_is_no_voice():
    found = _heard([0.1])
    found.hear(0.9, 60.0, 0.5)
    assert found.seconds < 0.2
    assert found.since > 59.8


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0.01, 0.99))
def test_a_stretch_never_has_more_voice_than_time(probabilities: list[float], threshold: float):
    found = _heard(probabilities, threshold)
    if found.since is not None:
        assert 0 < found.seconds <= found.last - found.since + 1e-9
        assert found.silence == pytest.approx(found.at - found.last)
    else:
        assert max(probabilities, default=0.0) < threshold
