"""The judges of `benchmarks/s2s_answers.py`: words, nearest recording and voice, on sounds made on the spot."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import answers_heard as heard
from answers_heard import Grammar, Recording, Shelf, Voices

RATE = 16_000

Wave = npt.NDArray[np.float32]


@cache
def word(number: int, pitch: float = 120.0, pace: float = 1.0, tract: float = 1.0) -> Wave:
    """Six vowels that ``number`` draws, sung at ``pitch`` Hz; ``pace`` 2 is half as long, ``tract`` 2 an octave brighter."""
    random = np.random.default_rng(number)
    count = round(0.12 * RATE / pace)
    formants = tract * random.uniform((300, 900), (900, 2600), (6, 2))
    numbers = np.arange(1, int(5000 / pitch))
    far = (numbers[:, None, None] * pitch - formants) / (150, 250)
    heights = np.exp(-far * far).sum(axis=2) + 0.01
    time = np.arange(6 * count) / RATE
    waves = np.sin(2 * np.pi * pitch * numbers[:, None] * time + numbers[:, None] ** 2)
    wave = (waves * np.repeat(heights, count, axis=1)).sum(axis=0)
    return (0.05 * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


# -- time warping ------------------------------------------------------------------------------------------------------


def by_hand(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """The same distance, cell by cell."""
    costs = np.linalg.norm(one[:, None] - other[None], axis=2)
    best = np.full(costs.shape, np.inf)
    for i, j in np.ndindex(costs.shape):
        ways = [2 * costs[i, j]] if i == j == 0 else []
        if i:
            ways.append(best[i - 1, j] + costs[i, j])
        if j:
            ways.append(best[i, j - 1] + costs[i, j])
        if i and j:
            ways.append(best[i - 1, j - 1] + 2 * costs[i, j])
        best[i, j] = min(ways)
    return float(best[-1, -1] / sum(costs.shape))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_warping_finds_the_best_path(seed: int, frames: int, others: list[int]) -> None:
    random = np.random.default_rng(seed)
    one = random.standard_normal((frames, 3))
    rest = [random.standard_normal((length, 3)) for length in others]
    assert heard.distances(one, rest) == pytest.approx([by_hand(one, other) for other in rest])


def test_a_slower_copy_is_no_further() -> None:
    one = np.random.default_rng(0).standard_normal((20, 4))
    slow, other = np.repeat(one, 3, axis=0), np.random.default_rng(1).standard_normal((20, 4))
    same, stretched, strange = heard.distances(one, [one, slow, other])
    assert same == pytest.approx(0, abs=1e-6)
    assert stretched == pytest.approx(0, abs=1e-6)
    assert strange > 0.5


def test_sounds_know_neither_level_nor_silence_round_them() -> None:
    wave = word(1)
    plain = heard.sounds(wave)
    assert plain.shape[1] == 16
    assert np.abs(plain.mean(axis=0)).max() < 1e-9
    quiet = heard.sounds(wave * np.float32(0.25))
    assert np.abs(plain - quiet).max() < 1e-3
    padded = heard.sounds(np.pad(wave, 3200))
    assert abs(len(padded) - len(plain)) <= 2
    assert heard.distances(plain, [padded])[0] < heard.distances(plain, [heard.sounds(word(2))])[0] / 3


@pytest.mark.parametrize("samples", [0, 1, 159, 320, 640])
def test_next_to_nothing_has_sounds_and_traits_too(samples: int) -> None:
    for wave in (np.zeros(samples, np.float32), word(0)[:samples]):
        found = heard.sounds(wave)
        assert len(found) >= 1
        assert np.isfinite(found).all()
        assert np.isfinite(heard.traits(wave)).all()


# -- the nearest recording ---------------------------------------------------------------------------------------------


def recordings() -> list[Recording]:
    """Six answers, neutral and livelier."""
    return [
        Recording(f"{number}-{emotion}", f"answer {number}", emotion, heard.sounds(word(number, pitch, pace)))
        for number in range(6)
        for emotion, pitch, pace in ((0, 120.0, 1.0), (1, 140.0, 1.2), (3, 150.0, 1.3))
    ]


def test_an_answer_is_known_by_another_recording_of_it() -> None:
    shelf = Shelf(recordings(), 2)
    for number in range(6):
        said = heard.sounds(word(number, 125.0, 0.9))
        assert shelf.nearest(said, 0, f"{number}-0") == f"answer {number}"


def test_the_recording_that_was_wanted_is_not_asked() -> None:
    only = [one for one in recordings() if one.emotion == 0]
    shelf = Shelf(only, 2)
    said = heard.sounds(word(3))
    assert shelf.nearest(said, 0, "") == "answer 3"
    assert shelf.nearest(said, 0, "3-0") != "answer 3"


def test_the_same_emotion_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    places = {one.sounds.tobytes(): one.emotion for one in recordings()}

    def told(_: object, others: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        tried[:] = [places[other.tobytes()] for other in others]
        return np.arange(len(others), dtype=np.float64)

    monkeypatch.setattr(heard, "distances", told)
    Shelf(recordings(), 2).nearest(np.zeros((1, 16)), 3, "")
    assert tried == [3, 0] * 6
    Shelf(recordings(), 1).nearest(np.zeros((1, 16)), 3, "0-3")
    assert tried == [0] + [3] * 5


# -- the voice ---------------------------------------------------------------------------------------------------------


def test_voices_are_told_by_what_they_never_said_before() -> None:
    voices = ((100.0, 0.9), (140.0, 1.0), (210.0, 1.2))

    def said(number: int, voice: int) -> npt.NDArray[np.float64]:
        pitch, tract = voices[voice]
        return heard.traits(word(number, pitch * (1 + 0.02 * np.cos(number)), tract=tract))

    told = [(number, voice) for number in range(8) for voice in range(3)]
    probe = Voices.learnt(np.stack([said(*one) for one in told]), [voice for _, voice in told], ridge=3)
    new = [(number, voice) for number in range(8, 12) for voice in range(3)]
    assert sum(probe.heard(said(*one)) == one[1] for one in new) >= len(new) - 1


def test_level_is_no_trait() -> None:
    wave = word(5)
    assert np.abs(heard.traits(wave) - heard.traits(wave * np.float32(0.25))).max() < 1e-3


# -- words -------------------------------------------------------------------------------------------------------------

ANSWERS = ["Our doors close at eight.", "Mostly numbers and music.", "Godavari express is on platform one."]


def test_a_grammar_has_every_answer_and_may_laugh() -> None:
    text = heard.grammar(["our doors close", "one more"])
    assert text == "#JSGF V1.0; grammar answers; public <answer> = [ha ha ha] ( our doors close | one more );"


def test_words_without_a_sound_are_told_and_left_out() -> None:
    grammar = Grammar([*ANSWERS, "Ask for Xyzzyx today."])
    assert grammar.unknown == {"xyzzyx"}
    assert not grammar.knows("Ask for Xyzzyx today.")
    # A name that the dictionary has not, but we have.
    assert all(grammar.knows(answer) for answer in ANSWERS)


def test_what_is_heard_is_an_answer_or_nothing() -> None:
    grammar = Grammar(ANSWERS)
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    for wave in (np.zeros(0, np.float32), noise, word(0)):
        assert grammar.heard(wave) in {"", *ANSWERS}


@pytest.mark.system
def test_answers_are_heard_with_and_without_a_laugh() -> None:
    import codec_words
    import soxr

    from duplexforge.dialogues.espeak import Manner, Sentence, library

    assert codec_words.RATE == RATE
    grammar = Grammar(ANSWERS)
    for prefix in ("", "ha ha ha,"):
        for answer in ANSWERS:
            said = library().say(Sentence(tuple(answer.split()), prefix=prefix), Manner("en-us+f2", 50, speed=160))
            wave = soxr.resample(said.samples.astype(np.float32) / 32768, 22_050, RATE)
            assert grammar.heard(wave) == answer
