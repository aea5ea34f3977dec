"""``duplexforge voices`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from duplexforge.dialogues.report import measured
from duplexforge.errors import InputError
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import learn
from duplexforge.voices import EMOTIONS, VOICES, slerp
from tests.unit.command import Run, runner


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", "")
    return runner(monkeypatch, capsys, "voices")


def vectors(folder: Path, rows: int = 4) -> np.ndarray:
    """Weights of a model that has nothing but its voices' vectors, in ``folder``/m.safetensors."""
    table = np.random.default_rng(3).standard_normal((rows, 16)).astype(np.float16).astype(np.float32)
    arrays = {"decoder.speakers.weight": table, "other": np.ones(2, np.float32)}
    files.write(folder / "m.safetensors", files.Weights(Shape(), learn(["abc"], 64), arrays, {}))
    return table


def test_the_list_has_every_voice_emotion_and_accent(run: Run) -> None:
    told = json.loads(run("list", "--json").stdout)
    assert [voice["name"] for voice in told["voices"]] == [voice.name for voice in VOICES]
    assert told["emotions"] == list(EMOTIONS)
    assert told["accents"] == ["mild", "moderate", "heavy"]
    for voice in told["voices"]:
        assert voice["measured"]["neutral"] == pytest.approx(voice["pitch"], rel=0.05)
        assert voice["measured"].keys() == set(EMOTIONS)
    text = run("list").stdout
    assert all(voice.name in text and voice.key in text for voice in VOICES)


def test_the_list_shows_the_pitch_of_a_corpus(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dialogues.json").write_text(json.dumps({"pitch": {"male_young": {"happy": 131.5}}}))
    told = json.loads(run("list", "--corpus", ".", "--json").stdout)
    assert [voice["measured"] for voice in told["voices"]] == [{"happy": 131.5}, {}, {}, {}]
    assert "– 132 –" in run("list", "--corpus", ".").stdout
    refused = run("list", "--corpus", "none")
    assert refused.returncode == 65
    assert "duplexforge data dialogues makes such a folder" in refused.stderr


@pytest.mark.parametrize("text", ["[]", "{}", '{"pitch": [1]}', '{"pitch": {"a": {"b": "c"}}}', "{"])
def test_a_summary_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dialogues.json").write_text(text)
    with pytest.raises(InputError, match="is no summary of dialogues"):
        measured(tmp_path)


def test_a_blend_is_the_slerp_of_the_models_vectors(run: Run, tmp_path: Path) -> None:
    table = vectors(tmp_path)
    done = run("blend", "arjun", "female_young", "--weight", 0.25, "--weights", "m.safetensors", "--out", "b.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("75% Arjun (cosine ")
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["vector"] == pytest.approx(slerp(table[0], table[2], 0.25), abs=1e-6)
    assert told["voices"] == {"Arjun": 0.75, "Priya": 0.25}
    assert told["likeness"]["Arjun"] > told["likeness"]["Priya"]
    assert told["model"] == "m.safetensors"
    printed = run("blend", 0, 2, "--weight", 0.25, "--weights", "m.safetensors", "--json")
    assert json.loads(printed.stdout) == told


def test_the_ends_of_a_blend_are_the_voices(run: Run, tmp_path: Path) -> None:
    table = vectors(tmp_path)
    for weight, row in ((0, 1), (1, 3)):
        done = run("blend", "ravi", "lakshmi", "--weight", weight, "--weights", "m.safetensors", "--json")
        assert json.loads(done.stdout)["vector"] == pytest.approx(table[row], abs=1e-5)


def test_what_cannot_be_blended_is_said(run: Run, tmp_path: Path) -> None:
    vectors(tmp_path, rows=2)
    done = run("blend", "arjun", "ravi", "--weights", "m.safetensors")
    assert done.returncode == 69
    assert "m.safetensors has no vectors of the 4 voices" in done.stderr
    done = run("blend", "arjun", "ravi", "--weights", "none.safetensors")
    assert (done.returncode, "there is no file none.safetensors" in done.stderr) == (69, True)
    done = run("blend", "arjun", "bob", "--weights", "m.safetensors")
    assert (done.returncode, "there is no voice bob" in done.stderr) == (2, True)
    assert run("blend", "arjun", "ravi", "--weight", 1.5).returncode == 2
    vectors(tmp_path)
    done = run("blend", "arjun", "ravi", "--weights", "m.safetensors", "--out", "no/where.json")
    assert (done.returncode, "cannot write no/where.json" in done.stderr) == (65, True)
