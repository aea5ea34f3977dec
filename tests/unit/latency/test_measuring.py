"""What is asked for, what is drawn, and what is told when it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.errors import ConfigError, DuplexforgeError, InputError, ModelError, UsageError
from duplexforge.latency import measuring
from duplexforge.latency.figures import Spread
from duplexforge.latency.measuring import Asked, limited, measure, shape_of, tone
from duplexforge.latency.report import parameters
from duplexforge.models.s2s import weights
from duplexforge.models.s2s.features import RATE
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.shape import Shape
from tests.unit.latency.made import CODEC, SPOKEN, Ticking

QUICK = Asked(random=SPOKEN, repeat=1)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "q.wav"
    sf.write(path, tone(0.2), RATE)
    return path


def test_a_drawn_model_is_measured_and_says_so(question: Path) -> None:
    found = measure(replace(QUICK, question=question, repeat=2))
    assert found.model.random
    assert (found.question, len(found.turns)) == ("q.wav", 2)
    spreads = found.spreads()
    assert {"hear", "say", "speak", "answer", "base_encode_20ms", "token_decode_40ms"} <= set(spreads)
    assert all(spread.most > 0 for spread in spreads.values())
    assert spreads["hear"].n == 2 * 3
    # The same clock reads on: an answer cannot be over before it was first heard.
    assert spreads["answer"].most >= spreads["first_audio"].most
    assert found.machine.share > 0


def test_the_same_model_says_the_same_whoever_measures(question: Path) -> None:
    first, second = (measure(replace(QUICK, question=question, repeat=2)) for _ in range(2))
    said = [[(turn.text, turn.seconds, turn.ended) for turn in found.turns] for found in (first, second)]
    assert said[0] == said[1]
    assert {name: spread.n for name, spread in first.spreads().items()} == {
        name: spread.n for name, spread in second.spreads().items()
    }


def test_a_question_at_another_rate_is_brought_to_the_models(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    sf.write(path, np.stack([np.repeat(tone(0.2), 3)] * 2, axis=1), 3 * RATE)
    found = measure(replace(QUICK, question=path))
    assert found.question_seconds == pytest.approx(0.2)


def test_silence_is_a_question_and_nothing_is_not(tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    sf.write(path, np.zeros(RATE // 10, np.float32), RATE)
    assert measure(replace(QUICK, question=path)).turns
    sf.write(path, np.zeros(0, np.float32), RATE)
    with pytest.raises(InputError, match="holds no sound"):
        measure(replace(QUICK, question=path))


def test_weights_of_a_file_are_named_by_it(tmp_path: Path, question: Path) -> None:
    path = tmp_path / "mine.safetensors"
    weights.write(path, drawn(SPOKEN))
    found = measure(Asked(path, question=question, repeat=1))
    assert (found.model.name, found.model.random) == ("mine.safetensors", False)
    assert str(tmp_path) not in found.to_text()


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"weights": Path("a")}, UsageError, "one of the two"),
        ({"engine": "onnx"}, UsageError, "random weights are none"),
        ({"repeat": 0}, UsageError, "at least one answer"),
        ({"threads": 0}, UsageError, "one thread"),
        ({"random": None, "engine": "onnx", "threads": 2}, UsageError, "leave out --threads"),
        ({"clock": "sun"}, UsageError, "there is no clock sun; there are wall, cpu"),
        ({"clock": "cpu", "threads": 2}, UsageError, "on one thread of the CPU alone"),
        ({"clock": "cpu", "device": "cuda"}, UsageError, "take the clock wall"),
        ({"device": "cuda"}, UsageError, "take the engine torch for cuda"),
        ({"engine": "steam"}, UsageError, "there is no engine steam"),
        ({"question": Path("nowhere.wav")}, InputError, "cannot read nowhere.wav"),
        ({"random": None, "weights": Path("nowhere.safetensors")}, ModelError, "no weights"),
        ({"random": replace(SPOKEN, books=3)}, ModelError, "another codec"),
    ],
)
def test_what_cannot_be_measured(options: dict[str, object], kind: type[DuplexforgeError], told: str) -> None:
    with pytest.raises(kind, match=told):
        measure(replace(QUICK, **options))


def test_the_shape_of_a_drawn_model() -> None:
    wanted = Shape(vocabulary=1000, books=CODEC.books, entries=CODEC.entries)
    assert shape_of(256, 4) == wanted
    large = shape_of(768, 12)
    assert (large.heads, large.encoder_inner, large.decoder_inner) == (12, 3072, 2112)
    assert 200e6 < parameters(large) < 400e6
    with pytest.raises(ConfigError, match="cannot be shared"):
        shape_of(200, 1)


def test_the_tone_is_always_the_same() -> None:
    wave = tone()
    assert len(wave) == 2 * RATE
    assert wave.dtype == np.float32
    assert 0.25 < np.abs(wave).max() < 0.31
    assert (wave == tone()).all()


def test_threads_are_limited_or_told_not_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from threadpoolctl import threadpool_info

    with limited(1) as threads:
        assert threads == 1
        assert all(one["num_threads"] == 1 for one in threadpool_info())
    monkeypatch.setattr(measuring, "find_spec", lambda name: None)
    with limited(1) as threads:
        assert threads is None


def test_the_clock_that_is_asked_for_is_read(question: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measuring.CLOCKS, "cpu", Ticking())
    found = measure(replace(QUICK, question=question, clock="cpu"))
    assert found.clock == "cpu"
    assert found.turns[0].times["hear"] == [1000.0] * 3
    assert found.spreads()["token_encode_20ms"] == Spread(10, *[1000.0] * 4)
