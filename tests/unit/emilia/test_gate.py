"""The gate: clean speech keeps the mix, music behind it does not pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from Emilia.config import load_config
from Emilia.models.gate import unclean
from Emilia.recording import Recording, Span, Waveform
from Emilia.stages.standardize import Standardize
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

Make = Callable[..., Waveform]
DEMO = Path(__file__).parents[3] / "examples" / "demo"
GATE = load_config(None, preset="emilia").separate.gate
RATE = 16000
SEED = 11


def talk(seconds: float, room: float = -70.0) -> Samples:
    """Sentences of 2.5 s with pauses of 0.7 s in a room with noise at ``room`` dB below the speech."""
    parts: list[Samples] = []
    while sum(map(len, parts)) < seconds * RATE:
        parts += [synth.speech(2.5, seed=len(parts)), np.zeros(round(0.7 * RATE), np.float32)]
    samples = np.concatenate(parts)[: round(seconds * RATE)]
    return samples + level(samples) * 10 ** (room / 20) * noise(len(samples))


def level(samples: Samples) -> np.float32:
    """Root mean square of the speech, without its pauses."""
    return np.sqrt(np.square(samples[np.abs(samples) > 1e-3]).mean())


def noise(frames: int) -> Samples:
    return np.random.default_rng(SEED).standard_normal(frames).astype(np.float32)


def chords(frames: int, rate: int = RATE) -> Samples:
    """Struck chords twice a second that die away, root mean square 1."""
    rng, music = np.random.default_rng(SEED), np.zeros(frames)
    for first in range(0, frames, rate // 2):
        time = np.arange(min(rate, frames - first)) / rate
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        music[first : first + rate] += sum(
            np.sin(2 * np.pi * pitch * partial * time) / partial for partial in (1, 2, 3)
        ) * np.exp(-2 * time)
    return (music / np.sqrt(np.square(music).mean())).astype(np.float32)


def share(spans: list[Span], wave: Waveform) -> float:
    return sum(span.length for span in spans) / wave.seconds


def test_clean_speech_is_left_alone(wave: Make) -> None:
    assert unclean(wave(talk(60)), GATE, hush) == []


@pytest.mark.parametrize("below", [5.0, 20.0, 28.0])
def test_what_plays_behind_all_of_it_is_found_everywhere(wave: Make, below: float) -> None:
    speech = talk(60)
    for other in (chords(len(speech)), noise(len(speech))):
        made = wave(speech + level(speech) * 10 ** (-below / 20) * other)
        assert share(unclean(made, GATE, hush), made) > 0.99


def test_music_between_is_found_with_its_ends(wave: Make) -> None:
    speech = talk(90)
    first, last = 30 * RATE, 50 * RATE
    fade = np.minimum(1, np.minimum(np.arange(last - first), np.arange(last - first)[::-1]) / (2 * RATE))
    speech[first:last] += (level(speech) * 0.1 * fade * chords(last - first)).astype(np.float32)
    spans = unclean(wave(speech), GATE, hush)
    assert len(spans) == 1
    assert 20.0 < spans[0].start <= 30.5
    assert 49.5 <= spans[0].end < 60.0


def test_music_alone_is_found_and_silence_is_not(wave: Make) -> None:
    speech, rest = talk(30), round(20 * RATE)
    room = 1e-5 * noise(rest)
    assert unclean(wave(np.concatenate([speech, room])), GATE, hush) == []
    made = wave(np.concatenate([speech, level(speech) * 0.1 * chords(rest)]))
    (span,) = unclean(made, GATE, hush)
    assert 25.0 < span.start <= 30.0
    assert span.end == made.seconds


@pytest.mark.parametrize("frames", [0, 1, 100, 1000])
def test_short_and_silent_recordings(wave: Make, frames: int) -> None:
    assert unclean(wave(np.zeros(frames, np.float32)), GATE, hush) == []
    loud = wave(np.ones(frames, np.float32))
    assert unclean(loud, GATE, hush) == ([Span(0.0, round(loud.seconds, 3))] if loud.seconds >= 0.001 else [])


def test_the_default_skips_the_demo_and_hears_music_in_it(tmp_path: Path) -> None:
    """The measurement that set the default, on the shortest recording with two people."""
    truth = json.loads((DEMO / "truth.json").read_text())["files"]["interview.webm"]
    clean = standardised(DEMO / "interview.webm", tmp_path)
    assert clean.seconds == pytest.approx(truth["duration"], abs=0.1)
    assert share(unclean(clean, GATE, hush), clean) < 0.5
    speech = clean.read(0, clean.frames)
    for below in (20.0, 30.0):
        sf.write(tmp_path / "a.wav", speech + level(speech) * 10 ** (-below / 20) * chords(len(speech), 24000), 24000)
        music = standardised(tmp_path / "a.wav", tmp_path)
        assert share(unclean(music, GATE, hush), music) > 0.99


def standardised(path: Path, folder: Path) -> Waveform:
    recording = Recording(path, "ep", folder, folder)
    stage = Standardize(load_config(None))
    stage.load("cpu")
    stage.run(recording, hush)
    return recording.full_rate()
