"""Segment: the stage over turns and real samples; where it cuts, what it flags, what it records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.recording import Recording, Segment, Span, Turn, Waveform
from Emilia.stages.segment import Segmentation, quietest_in
from tests.unit.emilia.conftest import Samples, hush

RATE = 16000
OPTIONS = load_config(None).segment
MOST = OPTIONS.max_seconds


class Detector:
    """Hears the spans it is given, and counts how often it is asked."""

    models: dict[str, str]

    def __init__(self, spans: list[Span]) -> None:
        self.models = {"detector": "1"}
        self.spans = spans
        self.asked = 0

    def load(self, device: str) -> None:
        """Nothing to load."""

    def speech(self, wave: Waveform, progress: Callable[[float], None]) -> list[Span]:
        self.asked += 1
        return self.spans

    def close(self) -> None:
        """Nothing to close."""


def staged(
    wave: Waveform, turns: list[Turn], voiced: list[Span] | None, *, heard: Detector | None = None, **facts: object
) -> list[Segment]:
    """The segments of a recording; ``compat`` and ``separated`` in ``facts`` are not facts."""
    compat, separated = facts.pop("compat", False), facts.pop("separated", None)
    stage = Segmentation(load_config(None, overrides={"pipeline.compat": compat}))
    if heard:
        stage._detector = heard
    recording = Recording(wave.path, "ep", wave.path, wave.path, narrow=wave, turns=turns, voiced=voiced)
    recording.duration, recording.facts, recording.separated = wave.seconds, facts, separated  # type: ignore[assignment]
    stage.run(recording, hush)
    return recording.pieces()


def hiss(rng: np.random.Generator, milliseconds: int, level: float) -> Samples:
    return (level * rng.standard_normal(milliseconds * RATE // 1000)).astype(np.float32)


def sentence(rng: np.random.Generator, seconds: float, shortest: int) -> tuple[Samples, list[Span]]:
    """Words with pauses between: the samples and where the pauses are.

    Every third word has a stop in it, up to 80 ms without a sound, quieter than the room is in the pauses. Pauses are
    ``shortest`` ms and up; up to fifteen words may follow each other without one.
    """
    parts, pauses, at = [], [], 0
    while at < seconds * 1000:
        for word in range(int(rng.integers(1, 16))):
            first, stop, rest = (int(n) for n in rng.integers((60, 30, 60), (300, 81, 300)))
            silent = hiss(rng, stop if word % 3 == 0 else 0, 0.0)
            parts += [hiss(rng, first, rng.uniform(0.03, 0.3)), silent, hiss(rng, rest, rng.uniform(0.03, 0.3))]
            at += first + len(silent) * 1000 // RATE + rest
        pause = int(rng.integers(shortest, 400))
        parts.append(hiss(rng, pause, 1e-3))
        pauses.append(Span(at / 1000, (at + pause) / 1000))
        at += pause
    return np.concatenate(parts), pauses


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Samples], Waveform]]:
    path = tmp_path_factory.mktemp("segment") / "narrow.f32"

    def make(samples: Samples) -> Waveform:
        samples.astype("<f4").tofile(path)
        return Waveform(path, RATE, len(samples))

    return make


def where_cuts_may_fall(edges: list[float], end: float) -> Iterator[tuple[float, Span]]:
    """Each cut and the stretch it was chosen from."""
    for start, cut in pairwise(edges):
        quarter = (end - start) / 4
        yield cut, Span(start + min(quarter, MOST / 2), start + min(3 * quarter, MOST))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.floats(31.0, 100.0))
def test_no_cut_inside_a_word_when_a_pause_is_near(
    waves: Callable[[Samples], Waveform], seed: int, seconds: float
) -> None:
    rng = np.random.default_rng(seed)
    samples, pauses = sentence(rng, seconds, 100)
    wave = waves(samples)
    # As if the voice detector had heard none of the pauses, in music for one.
    end = round(wave.seconds, 3)
    done = staged(wave, [Turn(0.0, end, "S00")], [Span(0.0, end)])
    assert [segment.end for segment in done][:-1] == [segment.start for segment in done][1:]
    assert (done[0].start, done[-1].end) == (0.0, end)
    assert all(segment.end - segment.start <= MOST for segment in done)
    edges = [segment.start for segment in done]
    for cut, allowed in where_cuts_may_fall(edges, end):
        assert allowed.start - 0.001 <= cut <= allowed.end + 0.001
        if any(allowed.start <= pause.start and pause.end <= allowed.end for pause in pauses):
            assert any(pause.start <= cut <= pause.end for pause in pauses), (cut, allowed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.floats(21.0, 60.0))
def test_what_the_detector_hears_as_a_pause_is_where_rows_part(
    waves: Callable[[Samples], Waveform], seed: int, seconds: float
) -> None:
    samples, pauses = sentence(np.random.default_rng(seed), seconds, 100)
    wave = waves(samples)
    gaps = [pause for pause in pauses if pause.end < wave.seconds - 0.1]
    edges = [0.0, *(edge for gap in gaps for edge in gap), round(wave.seconds, 3)]
    islands = [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    done = staged(wave, [Turn(0.0, edges[-1], "S00")], islands)
    # Islands are words up to nine seconds; none may be touched, padding reaches into the pauses only.
    for island in islands:
        assert any(segment.start <= island.start and island.end <= segment.end for segment in done)
    assert all(left.end <= right.start for left, right in pairwise(done))


def test_the_quietest_pause_wins_over_a_shorter_silence(waves: Callable[[Samples], Waveform]) -> None:
    rng = np.random.default_rng(0)
    samples = hiss(rng, 3000, 0.1)
    samples[RATE : RATE + RATE * 80 // 1000] = 0.0
    samples[2 * RATE : 2 * RATE + RATE * 120 // 1000] *= 0.02
    quietest = quietest_in(waves(samples), 0.1)
    assert 2.04 < quietest(0.0, 3.0) < 2.08
    assert quietest(1.0, 1.05) == pytest.approx(1.025)
    # Nothing but the short one is in reach: then it is that, in its middle.
    assert quietest(0.5, 1.5) == pytest.approx(1.04, abs=0.02)


@pytest.fixture
def room(waves: Callable[[Samples], Waveform]) -> Waveform:
    return waves(hiss(np.random.default_rng(0), 60_000, 0.01))


def test_nested_and_overlapping_speech_is_kept_and_flagged(room: Waveform) -> None:
    turns = [Turn(0.0, 10.0, "S00"), Turn(2.0, 4.5, "S01"), Turn(9.0, 14.0, "S01"), Turn(20.0, 25.0, "S02")]
    voiced = [Span(0.0, 14.0), Span(20.0, 25.0)]
    done = staged(room, turns, voiced, overlap="marked")
    assert [segment.speaker for segment in done] == ["ep/S00", "ep/S01", "ep/S01", "ep/S02"]
    assert [segment.overlap for segment in done] == pytest.approx([0.35, 1.0, 1 / 5.1, 0.0])
    assert [segment.flags for segment in done] == [["overlap"], ["overlap", "too_short"], ["overlap"], []]
    assert [segment.segment_id for segment in done] == [f"ep_{n:06d}" for n in range(4)]
    # Without a diarizer that can tell, nothing is claimed; compat leaves out what lies inside another row.
    assert {segment.overlap for segment in staged(room, turns, voiced)} == {None}
    published = staged(room, turns, voiced, compat=True, overlap="marked")
    assert [(segment.start, segment.end) for segment in published] == [(0.0, 10.0), (9.0, 14.0), (20.0, 25.0)]


def test_the_separated_share_is_recorded(room: Waveform) -> None:
    turns, voiced = [Turn(0.0, 10.0, "S00"), Turn(20.0, 30.0, "S01")], [Span(0.0, 10.0), Span(20.0, 30.0)]
    done = staged(room, turns, voiced, separated=[Span(5.0, 8.0), Span(7.0, 22.0)])
    # Padded: 0 to 10.1, of which five seconds and the pad are separated, and 19.9 to 30.1.
    assert [segment.extra["separated"] for segment in done] == pytest.approx([5.1 / 10.1, 2.1 / 10.2])
    assert [segment.extra for segment in staged(room, turns, voiced, separated=[])] == [{"separated": 0.0}] * 2
    assert [segment.extra for segment in staged(room, turns, voiced)] == [{}, {}]


def test_what_does_not_fit_is_kept_with_a_flag(room: Waveform) -> None:
    turns = [Turn(0.0, 2.5, "S00"), Turn(5.0, 50.0, "S01")]
    voiced = [Span(0.0, 2.5), Span(5.0, 50.0)]
    short, *_ = staged(room, turns, voiced)
    assert short.flags == ["too_short"]
    published = staged(room, turns, voiced, compat=True)
    assert [(segment.start, segment.end) for segment in published] == [(0.0, 2.5), (5.0, 35.0), (35.0, 50.0)]
    assert [segment.flags for segment in published] == [["too_short"], [], []]


def test_the_detector_is_asked_once_and_only_when_nobody_knows(room: Waveform) -> None:
    turns = [Turn(0.0, 15.0, "S00")]
    detector = Detector([Span(0.0, 5.0), Span(8.0, 15.0)])
    done = staged(room, turns, None, heard=detector)
    assert detector.asked == 1
    # Also in rows under twenty seconds a long silence is given up.
    assert [(segment.start, segment.end) for segment in done] == [(0.0, 5.1), (7.9, 15.1)]
    assert len(staged(room, turns, [Span(0.0, 15.0)], heard=detector)) == 1
    assert detector.asked == 1


def test_no_turns_no_segments(room: Waveform, tmp_path: Path) -> None:
    assert staged(room, [], []) == []
