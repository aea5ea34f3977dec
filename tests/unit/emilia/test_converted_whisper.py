"""The Whisper engine on a folder that CTranslate2's converter made of a checkpoint of transformers, as the published
models come: with the bands of the medium model and of the large one.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from faster_whisper import WhisperModel

from Emilia.models.whisper import locate
from tests.unit.emilia import converted_whisper, synth
from tests.unit.emilia.test_whisper import CLIPS, counted, loaded, read

pytestmark = pytest.mark.heavy

# Whole windows, and where the sides compute their ends differently (mirrored, or silent) there is silence.
FULL = [
    np.concatenate([synth.speech(29.98, throat, seed), np.zeros(320, np.float32)])
    for throat, seed in ((synth.WOMAN, 3), (synth.MAN, 7))
]


@pytest.fixture(scope="module", params=[80, 128])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted_whisper.write(tmp_path_factory.mktemp("whisper"), mels=request.param)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single precision on both sides: in eight bits, differences in the seventh digit of a spectrogram reach the third
    of a probability, and a network of random weights says something else.
    """
    real = ctranslate2.models.Whisper
    monkeypatch.setattr(
        ctranslate2.models, "Whisper", lambda path, **asked: real(path, **{**asked, "compute_type": "float32"})
    )


def test_the_folder_is_as_the_published_ones(folder: Path) -> None:
    assert locate(str(folder)) == folder
    names = ["config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    told = json.loads((folder / "config.json").read_text())
    assert told["alignment_heads"] == [[1, 0], [1, 2]]
    assert len(told["lang_ids"]) == 100
    assert "" in json.loads((folder / "vocabulary.json").read_text())


def test_clips_of_all_lengths_in_one_batch(folder: Path) -> None:
    """One encoder pass each, and each read as if it were alone: text, language, figures and words."""
    whisper = loaded(folder)
    clips = [*CLIPS, *FULL, synth.speech(12.3, synth.MAN, 2)]
    counting = counted(whisper, converted_whisper.WIDTH)
    found = read(whisper, clips, None)
    assert sum(counting.windows("encode")) == sum(counting.windows("detect_language")) == len(clips)
    assert max(counting.windows("encode")) > 1, "nothing was read together"
    assert [one.passes for one in found] == [1.0] * len(clips)
    assert len({one.text for one in found}) == len(clips)
    assert [read(whisper, [clip], None)[0] for clip in clips] == found


@pytest.mark.usefixtures("exact")
def test_languages_are_those_of_the_model(folder: Path) -> None:
    """Detection agrees with the model's own, on the audio that the network sees; an expected language holds."""
    whisper = loaded(folder, window="full")
    peer = own(folder)
    assert peer.model.is_multilingual
    for clip in FULL:
        (found,) = read(whisper, [clip], None)
        language, probability, everything = peer.detect_language(clip)
        assert len(everything) == 100
        assert found.language == language
        assert found.asr.language_probability == pytest.approx(probability, abs=1e-5)
        other = "de" if language != "de" else "fr"
        assert read(loaded(folder, language_certain=1.0), [clip], other)[0].language == other


def test_words_have_times(folder: Path) -> None:
    for clip, one in zip([*CLIPS, *FULL], read(loaded(folder), [*CLIPS, *FULL], "en"), strict=True):
        assert len(one.words) > 1
        assert all(earlier.end <= later.start for earlier, later in pairwise(one.words))
        assert 0 <= one.words[0].start < one.words[-1].end <= len(clip) / 16000
        assert "".join(word.text for word in one.words).replace(" ", "") == one.text.replace(" ", "")


@pytest.mark.usefixtures("exact")
def test_a_full_window_is_read_as_by_faster_whisper(folder: Path) -> None:
    """Its whole ``transcribe``, without what it does between windows: text and figures to the last digits that matter."""
    peer, whisper = own(folder), loaded(folder, window="full", temperatures=[0.0])
    quiet = json.loads((folder / "config.json").read_text())["suppress_ids"]
    for clip in FULL:
        segments, _ = peer.transcribe(
            clip,
            language="en",
            beam_size=5,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            # Its own list would be another; the converted model brings one.
            suppress_tokens=quiet,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            word_timestamps=True,
        )
        (theirs,) = segments
        (ours,) = read(whisper, [clip], "en")
        assert ours.text == theirs.text.strip()
        assert ours.asr.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert ours.asr.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-6)
        # A mark that begins the text is a word there and belongs to the next one here; word ends are shortened there.
        starts = [word.start for word in theirs.words if any(letter.isalnum() for letter in word.word)]
        assert [word.start for word in ours.words][1:] == pytest.approx(starts[1:], abs=1e-6)


def own(folder: Path) -> WhisperModel:
    """faster-whisper's model of the folder, on one thread."""
    return WhisperModel(str(folder), device="cpu", cpu_threads=1, local_files_only=True)
