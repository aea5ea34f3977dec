"""The echo says what it heard, the samples as they were, and no more than it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.errors import UsageError
from duplexforge.serving.backends import Given, Manner
from duplexforge.serving.backends.echo import FRAME, RATE, Echo
from duplexforge.serving.packets import AudioInput, Outcome, pcm16, samples_of

SECONDS = FRAME / RATE


@pytest.fixture
def echo() -> Echo:
    found = Echo()
    found.load(2)
    for slot in (0, 1):
        found.open(slot, Manner())
    return found


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (frames, FRAME)).astype(np.float32)


def hear(echo: Echo, wave: np.ndarray, slot: int = 0, start: int = 0) -> None:
    for number, samples in enumerate(wave, start):
        heard = AudioInput(samples, None, (number + 1) * SECONDS)
        assert echo.step({slot: Given(heard)}) == {}


def say(echo: Echo, slot: int = 0) -> bytes:
    """All that it says until its answer ends."""
    said = []
    while True:
        (outcome,) = echo.step({slot: Given(None, True)})[slot]
        said.append(outcome.audio.audio_bytes if outcome.audio else b"")
        if outcome.ended:
            return b"".join(said)


def test_an_answer_is_the_turn_itself(echo: Echo) -> None:
    first, second = noise(5), noise(3, 1)
    hear(echo, first)
    hear(echo, second, slot=1)
    echo.begin(0)
    echo.begin(1)
    assert say(echo) == pcm16(first.reshape(-1))
    assert say(echo, 1) == pcm16(second.reshape(-1))
    # The next answer is the next turn, whatever was said before.
    hear(echo, second)
    echo.begin(0)
    assert say(echo) == pcm16(second.reshape(-1))


def test_a_turn_begins_where_the_user_did(echo: Echo) -> None:
    wave = noise(6)
    hear(echo, wave)
    echo.attend(0, since=2 * SECONDS)
    echo.begin(0)
    assert say(echo) == pcm16(wave[2:].reshape(-1))


def test_what_is_heard_during_an_answer_belongs_to_the_next_turn(echo: Echo) -> None:
    wave = noise(4)
    hear(echo, wave[:2])
    echo.begin(0)
    made = echo.step({0: Given(AudioInput(wave[2]), True)})[0]
    assert made[0].audio is not None
    assert made[0].audio.audio_bytes == pcm16(wave[0])
    echo.cancel(0)
    assert echo.step({0: Given(AudioInput(wave[3]), True)}) == {}
    echo.begin(0)
    assert say(echo) == pcm16(wave[2:].reshape(-1))


def test_to_nothing_there_is_an_empty_answer_that_ends(echo: Echo) -> None:
    echo.begin(0)
    assert echo.step({0: Given(None, True)}) == {0: [Outcome(ended=True)]}
    assert echo.step({0: Given(None, True)}) == {}


def test_a_long_turn_is_said_from_where_it_is_kept(echo: Echo) -> None:
    wave = noise(130)
    hear(echo, wave)
    echo.begin(0)
    assert say(echo) == pcm16(wave[-125:].reshape(-1))


def test_who_comes_after_hears_nothing_of_who_was_there_before(echo: Echo) -> None:
    hear(echo, noise(2))
    echo.close(0)
    echo.open(0, Manner())
    echo.begin(0)
    assert say(echo) == b""


def test_no_number_is_silence_and_too_loud_is_loud(echo: Echo) -> None:
    hear(echo, np.array([[np.nan, np.inf, -np.inf, 2.0] * (FRAME // 4)], np.float32))
    echo.begin(0)
    # Full scale is 32767 of 32768.
    assert samples_of(say(echo))[:4] == pytest.approx([0, 1, -1, 1], abs=1e-4)


def test_a_manner_that_makes_no_sense_is_refused(echo: Echo) -> None:
    with pytest.raises(UsageError, match="pitch"):
        echo.manner(0, Manner(pitch=9))
