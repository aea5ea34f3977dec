"""Voice activity: against faster-whisper's own whole-file rule, and independent of slabs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from faster_whisper.vad import VadOptions as PeerOptions
from faster_whisper.vad import get_speech_timestamps

from Emilia.config import Config
from Emilia.models.silero import WINDOW, SileroVad
from Emilia.recording import Waveform
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

Wave = Callable[[Samples], Waveform]


@pytest.fixture(scope="module")
def detector() -> SileroVad:
    from Emilia.config import load_config

    detector = SileroVad(load_config(None).vad)
    detector.load("cpu")
    return detector


def talk(seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    turns = [(synth.MAN if i % 2 else synth.WOMAN, float(rng.uniform(0.2, 3.0))) for i in range(5)]
    noise = 0.003 * rng.standard_normal(200)
    samples = synth.dialogue(turns, pause=float(rng.uniform(0.05, 0.4)))
    return (samples + np.resize(noise, len(samples))).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_packaged_rule_on_a_whole_file(detector: SileroVad, wave: Wave, seed: int) -> None:
    samples = talk(seed)
    # Room after the last window: the package blanks the end of its last context.
    samples = np.concatenate([samples, synth.silence(0.3)])
    peer = PeerOptions(0.5, 0.35, min_speech_duration_ms=250, min_silence_duration_ms=100, speech_pad_ms=30)
    expected = [(s["start"] / 16000, s["end"] / 16000) for s in get_speech_timestamps(samples, peer)]
    found = detector.speech(wave(samples), hush)
    assert expected
    assert np.allclose(found, expected, atol=0.0011)


@pytest.mark.parametrize("windows", [1, 7, 50])
def test_slabs_change_nothing(detector: SileroVad, wave: Wave, windows: int) -> None:
    made = wave(talk(3))
    assert detector.speech(made, hush, slab=windows * WINDOW) == detector.speech(made, hush)


def test_speech_that_runs_to_the_end(detector: SileroVad, wave: Wave) -> None:
    made = wave(synth.speech(2.0))
    assert detector.speech(made, hush)[-1].end == 2.0


@pytest.mark.parametrize("frames", [0, 1, 511, 512, 16000])
def test_silence_has_no_speech(detector: SileroVad, wave: Wave, frames: int) -> None:
    assert detector.speech(wave(np.zeros(frames, np.float32)), hush) == []


def test_progress_is_told(detector: SileroVad, wave: Wave, config: Config) -> None:
    told: list[float] = []
    detector.speech(wave(synth.speech(1.0)), told.append, slab=8 * WINDOW)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 4
