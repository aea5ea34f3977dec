"""The door to the speech-to-speech model: engines, what they say, and what is said when something is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duplexforge.errors import DuplexforgeError, ModelError, UsageError
from duplexforge.models.base import open_mode
from duplexforge.models.s2s import opening, weights
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.opening import ENGINES, open_s2s
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.sampling import GREEDY
from duplexforge.models.s2s.talk import Answer, Manner, Talk, generate
from tests.unit.models.s2s_made import SMALL

FITTING = replace(SMALL, books=6, entries=1024)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / weights.NAME
    weights.write(path, drawn(FITTING))
    return path


def answer(talk: Talk) -> Answer:
    turn = np.random.default_rng(0).standard_normal((6, WIDTH)).astype(np.float32)
    return generate(talk, [turn] * len(talk.speaking), [Manner(audio=GREEDY)] * len(talk.speaking))[0]


def test_what_is_opened_talks_and_is_heard(kept: Path) -> None:
    found = open_s2s(2, weights=kept)
    said = answer(Talk(found.steps))
    assert len(found.vocabulary) == FITTING.vocabulary
    assert all(found.vocabulary.read([piece]) for piece in said.text)
    wave = found.base.decoder(1).push_tokens(said.audio[None])
    assert wave.shape == (1, len(said.audio) * found.base.hop)
    assert np.isfinite(wave).all()


def test_the_model_that_comes_with_the_project_is_the_default(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "shipped", lambda: kept)
    assert answer(Talk(open_s2s().steps)).text == answer(Talk(open_s2s(weights=kept).steps)).text


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"engine": "steam"}, UsageError, "there is no engine steam; there are plain, torch, onnx"),
        ({"device": "cuda"}, UsageError, "plain runs on the CPU alone: take the engine torch"),
        ({"slots": 0}, UsageError, "at least one slot"),
        ({"weights": Path("nowhere.safetensors")}, ModelError, r"no weights of .* at nowhere\.safetensors: name a"),
        ({"engine": "torch", "weights": Path("nowhere.safetensors")}, ModelError, "no weights"),
        ({"engine": "onnx"}, ModelError, "wants a folder of graphs"),
        ({"engine": "onnx", "weights": Path("nowhere")}, ModelError, "duplexforge train export-onnx"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(options: dict[str, object], kind: type, told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        open_s2s(**options)  # type: ignore[arg-type]
    assert isinstance(caught.value, DuplexforgeError)
    assert caught.value.exit_code == (69 if kind is ModelError else 2)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_come_with_the_project_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "shipped", lambda: tmp_path / "s2s.safetensors")
    with pytest.raises(ModelError, match="duplexforge train s2s makes some"):
        open_s2s()


def test_a_model_of_another_codec_and_a_missing_torch_are_told_so(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.write(tmp_path / "small.safetensors", drawn(SMALL))
    with pytest.raises(ModelError, match=r"says 2 books of 8, and the codec has 6 of 1024"):
        open_s2s(weights=tmp_path / "small.safetensors")
    told = open_mode("base").weights
    for digest in (told, told ^ 1):
        found = drawn(FITTING)
        path = tmp_path / f"{digest:08x}.safetensors"
        weights.write(path, replace(found, facts={**found.facts, weights.CODEC_WEIGHTS: f"{digest:08x}"}))
    assert open_s2s(weights=tmp_path / f"{told:08x}.safetensors").base.weights == told
    with pytest.raises(ModelError, match="other weights of the codec"):
        open_s2s(weights=tmp_path / f"{told ^ 1:08x}.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"text")
    with pytest.raises(ModelError, match="safetensors"):
        open_s2s(weights=tmp_path / "text.safetensors")
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="wants torch: pip install torch"):
        open_s2s(engine="torch", weights=kept)


@pytest.mark.heavy
def test_every_engine_says_the_same(kept: Path, tmp_path: Path) -> None:
    from duplexforge.models.s2s import onnx_export

    graphs = onnx_export.export(weights.read(kept), tmp_path / "graphs").folder
    said = {
        engine: answer(Talk(open_s2s(engine=engine, weights=graphs if engine == "onnx" else kept).steps))
        for engine in ENGINES
    }
    for found in said.values():
        assert found.text == said["plain"].text
        np.testing.assert_array_equal(found.audio, said["plain"].audio)


@pytest.mark.heavy
def test_a_device_that_is_not_there_is_told_so(kept: Path) -> None:
    with pytest.raises(ModelError, match="torch cannot run the model on nonsense"):
        open_s2s(engine="torch", weights=kept, device="nonsense")
