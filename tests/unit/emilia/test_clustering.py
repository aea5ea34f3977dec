"""Voices, the Viterbi path and the clustering diarizer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation
from pyannote.core import Segment as Stretch
from pyannote.metrics.diarization import DiarizationErrorRate
from scipy.stats import multivariate_normal

from Emilia.config import load_config
from Emilia.models.clustering import ClusterDiarizer, link
from Emilia.models.voices import Voice, best_path, distance
from Emilia.recording import Recording, Turn, Waveform
from Emilia.stages.diarize import named
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

Wave = Callable[[Samples], Waveform]
MAN, WOMAN = synth.MAN, synth.WOMAN
CHILD = synth.Throat(290.0, 1.32)


def drawn(seed: int, shift: float = 0.0, count: int = 800) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 5)) @ np.diag([1, 2, 1, 0.5, 1]) + shift


def test_voice_is_a_gaussian() -> None:
    frames = drawn(0)
    voice = Voice.of(frames)
    assert np.allclose(voice.mean, frames.mean(axis=0))
    assert np.allclose(voice.covariance, np.cov(frames.T, bias=True) + 0.01 * np.eye(5))
    ours = voice.log_likelihood(frames[:7])
    scipy = multivariate_normal(voice.mean, voice.covariance).logpdf(frames[:7])
    assert np.allclose(ours - scipy, (ours - scipy)[0])


def test_joined_statistics_are_those_of_all_frames() -> None:
    one, other = drawn(1), drawn(2, 3.0)
    joined, whole = Voice.of(one) + Voice.of(other), Voice.of(np.concatenate([one, other]))
    assert joined.count == whole.count
    assert np.allclose(joined.covariance, whole.covariance)


def test_distance_is_mahalanobis() -> None:
    one, other = drawn(3), drawn(4, 1.0)
    pooled = (np.cov(one.T, bias=True) + np.cov(other.T, bias=True)) / 2 + 0.01 * np.eye(5)
    apart = one.mean(axis=0) - other.mean(axis=0)
    assert distance(Voice.of(one), Voice.of(other)) == pytest.approx(float(apart @ np.linalg.inv(pooled) @ apart))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3))
def test_path_is_the_best_of_all(seed: int, steps: int, states: int) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.normal(size=(steps, states)), rng.uniform(0, 2, steps)

    def worth(path: tuple[int, ...]) -> float:
        changes = sum(costs[t] for t in range(1, steps) if path[t] != path[t - 1])
        return sum(scores[t, s] for t, s in enumerate(path)) - changes

    found = tuple(best_path(scores, costs).tolist())
    assert worth(found) == pytest.approx(max(map(worth, itertools.product(range(states), repeat=steps))))


def test_linking_joins_the_same_voice_across_blocks() -> None:
    options = load_config(None).diarize
    first = [Voice.of(drawn(1)), Voice.of(drawn(2, 6.0))]
    second = [Voice.of(drawn(3, 6.0)), Voice.of(drawn(4)), Voice.of(drawn(5, 20.0))]
    (a, b), (c, d, e) = link([first, second], options)
    assert (a, b) == (d, c)
    assert len({a, b, e}) == 3


def turns_of(recording: Recording, **overrides: object) -> list[Turn]:
    config = load_config(None, overrides={f"diarize.{k}": v for k, v in overrides.items()})
    diarizer = ClusterDiarizer(config)
    diarizer.load("cpu")
    return named(diarizer.turns(recording, hush))


def of(recording: Callable[..., Recording], waveform: Waveform) -> Recording:
    made = recording(waveform.path)
    made.narrow = made.wave = waveform
    made.duration = waveform.seconds
    return made


def error_rate(script: list[tuple[synth.Throat, float]], turns: list[Turn], pause: float) -> float:
    truth, found = Annotation(), Annotation()
    at = pause
    for throat, seconds in script:
        truth[Stretch(at, at + seconds)] = str(throat)
        at += seconds + pause
    for turn in turns:
        found[Stretch(turn.start, turn.end), turn.start] = turn.speaker
    return float(DiarizationErrorRate(collar=0.25)(truth, found, uem=Stretch(0, at)))


SCRIPTS = {
    "two": [(MAN, 4.0), (WOMAN, 5.0), (MAN, 3.0), (WOMAN, 6.0), (MAN, 2.0)],
    "three": [(MAN, 5.0), (CHILD, 6.0), (WOMAN, 5.0), (MAN, 4.0), (WOMAN, 4.0), (CHILD, 4.0)],
    "one": [(WOMAN, 4.0), (WOMAN, 6.0), (WOMAN, 3.0), (WOMAN, 5.0)],
}


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_dialogues_are_told_apart(recording: Callable[..., Recording], wave: Wave, name: str) -> None:
    script = SCRIPTS[name]
    turns = turns_of(of(recording, wave(synth.dialogue(script, 0.6))))
    assert len({turn.speaker for turn in turns}) == len({throat for throat, _ in script})
    assert error_rate(script, turns, 0.6) < 0.05


@pytest.mark.filterwarnings("ignore:.*uem.*:UserWarning")
def test_blocks_are_linked(recording: Callable[..., Recording], wave: Wave) -> None:
    script = [(MAN, 6.0), (WOMAN, 7.0)] * 4
    turns = turns_of(of(recording, wave(synth.dialogue(script, 0.6))), block=27.0)
    assert {turn.speaker for turn in turns} == {"S00", "S01"}
    assert error_rate(script, turns, 0.6) < 0.05


def test_change_without_a_pause_is_found(recording: Callable[..., Recording], wave: Wave) -> None:
    samples = np.concatenate([synth.silence(0.5), synth.speech(6.0, MAN), synth.speech(6.0, WOMAN), synth.silence(0.5)])
    made = of(recording, wave(samples))
    turns = turns_of(made)
    assert made.voiced is not None
    assert len(made.voiced) == 1
    assert [turn.speaker for turn in turns] == ["S00", "S01"]
    assert turns[0].end == pytest.approx(6.5, abs=0.25)


def test_turns_cover_exactly_what_is_voiced(recording: Callable[..., Recording], wave: Wave) -> None:
    made = of(recording, wave(synth.dialogue(SCRIPTS["two"], 0.7)))
    turns = turns_of(made, bridge=0.0)
    assert made.voiced is not None
    assert sum(t.end - t.start for t in turns) == pytest.approx(sum(s.length for s in made.voiced), abs=1e-6)
    assert {span.start for span in made.voiced} <= {turn.start for turn in turns}


def test_a_word_is_one_speaker(recording: Callable[..., Recording], wave: Wave) -> None:
    turns = turns_of(of(recording, wave(np.concatenate([synth.silence(0.4), synth.speech(0.5), synth.silence(0.4)]))))
    assert [turn.speaker for turn in turns] == ["S00"]


def test_names_follow_first_appearance() -> None:
    turns = [Turn(5.0, 6.0, "b"), Turn(0.0, 1.0004, "z"), Turn(2.0, 3.0, "b")]
    assert named(turns) == [Turn(0.0, 1.0, "S00"), Turn(2.0, 3.0, "S01"), Turn(5.0, 6.0, "S01")]
