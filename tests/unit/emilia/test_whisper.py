"""The Whisper engine on a model of random weights: language, figures, determinism. What it says is nonsense, how is
not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Emilia.config import load_config
from Emilia.errors import ModelMissing
from Emilia.models.whisper import Whisper, locate
from Emilia.stages.transcribe import Transcribe
from tests.unit.emilia import synth, tiny_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("whisper") / "tiny")


def loaded(folder: Path, **options: object) -> Whisper:
    values = {"whisper_model": str(folder), **options}
    whisper = Whisper(load_config(None, overrides={f"transcribe.{k}": v for k, v in values.items()}))
    whisper.load("cpu")
    return whisper


def test_a_clip_is_read_alone_and_alike_in_a_batch(folder: Path) -> None:
    one, other = synth.speech(3.0), synth.speech(1.5, synth.WOMAN)
    whisper = loaded(folder)
    first = whisper.recognise([one], "en")
    whisper.recognise([other], "en")
    assert whisper.recognise([one], "en") == first
    assert whisper.recognise([other, one, other], "en")[1] == first[0]
    assert loaded(folder).recognise([one], "en") == first


def test_figures_are_the_models_own(folder: Path) -> None:
    asr = loaded(folder).recognise([synth.speech(2.0)], "en")[0].asr
    assert asr.avg_logprob is not None
    assert asr.avg_logprob < 0
    assert asr.no_speech_prob is not None
    assert 0 <= asr.no_speech_prob <= 1
    assert asr.language_probability is not None
    assert 0 <= asr.language_probability <= 1


def test_expected_language_holds_unless_detection_is_certain(folder: Path) -> None:
    clip = synth.speech(2.0)
    detected = loaded(folder).recognise([clip], None)[0]
    expected = "de" if detected.language != "de" else "fr"
    assert loaded(folder).recognise([clip], expected)[0].language == expected
    certain = loaded(folder, language_certain=0.0).recognise([clip], expected)[0]
    assert certain.language == detected.language
    assert certain.asr.language_probability == detected.asr.language_probability


def test_doubtful_text_is_read_again_and_the_better_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = loaded(folder, max_compression=0.0)
    plain, used = whisper._decode, []

    def watched(*arguments: Any) -> Any:
        used.append((arguments[-1], plain(*arguments)))
        return used[-1][1]

    monkeypatch.setattr(whisper, "_decode", watched)
    kept = whisper.recognise([synth.speech(2.0)], "en")[0]
    assert [settings for settings, _ in used] == [{}, {"no_repeat_ngram_size": 3, "repetition_penalty": 1.1}]
    assert kept.asr.avg_logprob == max(hypothesis.asr.avg_logprob for _, hypothesis in used)


def test_trusted_text_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = loaded(folder, max_compression=1e9, min_logprob=-1e9)
    plain, used = whisper._decode, []
    monkeypatch.setattr(whisper, "_decode", lambda *a: used.append(a) or plain(*a))
    whisper.recognise([synth.speech(1.0)], "en")
    assert len(used) == 1


def test_auto_prefers_it_where_the_folder_is(folder: Path) -> None:
    stage = Transcribe(load_config(None, overrides={"transcribe.whisper_model": str(folder)}))
    stage.load("cpu")
    assert stage.engine == "whisper"
    assert stage.models["whisper"].startswith("sha256:")
    stage.close()


def test_a_folder_without_tokenizer_is_no_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes((folder / "model.bin").read_bytes())
    with pytest.raises(ModelMissing):
        locate(str(tmp_path))
    assert locate(str(folder)) == folder
