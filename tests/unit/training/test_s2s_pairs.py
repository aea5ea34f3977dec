"""Pairs of question and answer: read whole or refused with their place; what is slow is made once and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from duplexforge.errors import InputError
from duplexforge.models.s2s.features import log_mel
from duplexforge.training.s2s_pairs import Pair, prepared, read_pairs
from tests.unit.training import s2s_made
from tests.unit.training.s2s_made import Loudness


class Counted(Loudness):
    """Counts what it is asked."""

    def __init__(self, shift: int = 0) -> None:
        self.asked, self._shift = 0, shift

    def tokens(self, wave: Any) -> Any:
        self.asked += 1
        return (super().tokens(wave) + self._shift) % self.entries


def all_pairs(folder: Path) -> list[Pair]:
    return read_pairs(folder, "train") + read_pairs(folder, "validation")


def test_pairs_are_read_with_their_words_in_time(tmp_path: Path) -> None:
    s2s_made.pairs_folder(tmp_path, 8)
    train = read_pairs(tmp_path, "train")
    assert len(train) == 8
    assert train[0].timed == [(0.0, "go"), (0.16, "down"), (0.32, "now")]
    assert train[3].question == "పైన"
    # Without times the answer's words may all come at once; two words in one entry share its time.
    assert Pair(input_path="a", target_path="b", speaker_id=0, emotion_id=0, answer="so it is").timed == [
        (0.0, "so"),
        (0.0, "it"),
        (0.0, "is"),
    ]
    both = Pair.model_validate(train[0].model_dump() | {"words": [{"word": "good day", "start": 1.0, "end": 1.5}]})
    assert both.timed == [(1.0, "good"), (1.0, "day")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "duplexforge data dialogues makes such a folder"),
        ("[]", "holds no pairs"),
        ("{", "the whole file"),
        ('[{"input_path": "a"}]', "pair 0.target_path: Field required"),
        ('[{"input_path": "a", "target_path": "b", "speaker_id": -1, "emotion_id": 0}]', "pair 0.speaker_id"),
    ],
)
def test_files_that_are_not_whole_are_refused_with_their_place(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "train_pairs.json").write_text(text)
    with pytest.raises(InputError, match=r"train_pairs\.json") as caught:
        read_pairs(tmp_path, "train")
    assert said in str(caught.value)


def test_features_and_tokens_are_made_once(tmp_path: Path) -> None:
    s2s_made.pairs_folder(tmp_path, 8)
    pairs, codec = all_pairs(tmp_path), Counted()
    kept = prepared(tmp_path, pairs, codec)
    for pair in pairs:
        question, _ = sf.read(tmp_path / pair.input_path, dtype="float32")
        answer, _ = sf.read(tmp_path / pair.target_path, dtype="float32")
        np.testing.assert_allclose(kept.heard(pair), log_mel(question), atol=0.01)
        np.testing.assert_array_equal(kept.said(pair), codec.tokens(answer))
    # The fingerprint, each sound once though several pairs have it, and what was asked here.
    sounds = {(tmp_path / pair.target_path).read_bytes() for pair in pairs}
    assert codec.asked == 1 + len(sounds) + len(pairs)
    assert len(sounds) < len(pairs)
    again = Counted()
    np.testing.assert_array_equal(prepared(tmp_path, pairs, again).tokens, kept.tokens)
    assert again.asked == 1


def test_another_codec_or_other_pairs_are_made_anew(tmp_path: Path) -> None:
    s2s_made.pairs_folder(tmp_path, 4)
    pairs = all_pairs(tmp_path)
    first, other = prepared(tmp_path, pairs, Counted()), prepared(tmp_path, pairs, Counted(1))
    assert (first.said(pairs[0]) != other.said(pairs[0])).any()
    fewer = Counted()
    prepared(tmp_path, pairs[:2], fewer)
    assert fewer.asked == 1 + 2
    assert len(list((tmp_path / ".s2s").iterdir())) == 3


def test_what_was_left_half_made_is_made_again(tmp_path: Path) -> None:
    s2s_made.pairs_folder(tmp_path, 4)
    pairs = all_pairs(tmp_path)

    class Broken(Counted):
        def tokens(self, wave: Any) -> Any:
            if self.asked == 3:
                raise RuntimeError("pulled the plug")
            return super().tokens(wave)

    with pytest.raises(RuntimeError):
        prepared(tmp_path, pairs, Broken())
    assert not list((tmp_path / ".s2s").iterdir())
    assert len(prepared(tmp_path, pairs, Counted()).said(pairs[0]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_path": "../out.flac"}, "leads out of"),
        ({"input_path": "gone.flac"}, "cannot read"),
        ({"target_path": "train_pairs.json"}, "no audio"),
        ({"target_path": "fast.wav"}, "not mono at 16000 Hz"),
    ],
)
def test_audio_that_cannot_be_is_named(tmp_path: Path, change: dict[str, str], said: str) -> None:
    folder = s2s_made.pairs_folder(tmp_path / "pairs", 2)
    sf.write(folder / "fast.wav", np.zeros(8000), 8000)
    rows = json.loads((folder / "train_pairs.json").read_text())
    (folder / "train_pairs.json").write_text(json.dumps([rows[0] | change]))
    with pytest.raises(InputError, match=said):
        prepared(folder, read_pairs(folder, "train"), Loudness())
