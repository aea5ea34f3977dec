"""Folders for the speaker trainer: own numbers, whole speakers, and balance that throws nothing away."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.training import sources
from duplexforge.training.preparing import UNKNOWN, Clip, prepare
from duplexforge.training.speakers import Named, answers, balanced, labels
from duplexforge.training.speech import Speech, SpeechRow, generator
from tests.unit.training import made


def row(speaker: str, samples: int, split: str = "train") -> SpeechRow:
    return SpeechRow(path="x", speaker=speaker, split=split, samples=samples, sha256="")


ROWS = st.lists(
    st.builds(row, st.sampled_from("abcdefg"), st.integers(1, 10**7), st.sampled_from(["train", "validation", "test"])),
    min_size=1,
    max_size=40,
)


@given(rows=ROWS)
def test_every_speaker_of_a_split_has_the_same_share(rows: list[SpeechRow]) -> None:
    found = balanced(rows)
    assert [one.model_copy(update={"label": None, "weight": 1.0}) for one in found] == rows
    for split in {one.split for one in rows}:
        mass: Counter[str] = Counter()
        for one in found:
            if one.split == split:
                mass[one.speaker] += one.samples * one.weight
        assert max(mass.values()) == pytest.approx(min(mass.values()), rel=1e-4)


def test_crops_follow_the_weights(tmp_path: Path) -> None:
    source = made.recordings(tmp_path / "in", speakers=3, files=1, seconds=0.5)
    sf.write(source / "s0" / "long.wav", made.voice(9.5, 120), 16000)
    prepare(sources.plain(source), tmp_path / "out", test=["s2"], finish=balanced)
    speech = Speech(tmp_path / "out")
    drawn = Counter(crop.row.speaker for crop in speech.crops(speech.of("train"), 4000, 1600, generator(1)))
    # s0 has twenty times as much as s1 and is drawn as often.
    assert drawn["s0"] == pytest.approx(2000, abs=150)
    assert [one.label for one in speech.rows] == [int(one.speaker[1]) for one in speech.rows]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["7", "12", "3"], {"3": 3, "7": 7, "12": 12}),
        (["synthetic-female_young", "male_young"], {"male_young": 0, "synthetic-female_young": 2}),
        (["ravi", "anna"], {"anna": 0, "ravi": 1}),
        (["7", "anna"], {"7": 0, "anna": 1}),
        (["07", "7"], {"07": 0, "7": 1}),
        (["male_young", "synthetic-male_young"], {"male_young": 0, "synthetic-male_young": 1}),
    ],
)
def test_labels_are_the_speakers_own_numbers_where_they_have_some(names: list[str], numbers: dict[str, int]) -> None:
    assert labels([*names, *names]) == numbers


@given(names=st.lists(st.text(min_size=1, max_size=6), min_size=1))
def test_no_two_speakers_share_a_label(names: list[str]) -> None:
    found = labels(names)
    assert found.keys() == set(names)
    assert len(set(found.values())) == len(found)


def test_who_is_not_named_is_left_out_and_counted() -> None:
    clips = [
        Clip("a", UNKNOWN, np.ones(9, np.float32)),
        Clip("b", "anna", np.ones(9, np.float32)),
        Clip("c", UNKNOWN, reason="undecodable", sentence="c cannot be read"),
    ]
    named = Named(iter(clips))
    assert [clip.name for clip in named.clips()] == ["b", "c"]
    assert named.left_out == {"no_speaker": 1}


def pairs_file(folder: Path) -> Path:
    for name, pitch in (("one", 120), ("two", 100), ("many", 200)):
        sf.write(folder / f"{name}.wav", made.voice(0.5, pitch), 16000)
    pairs = [
        {"input_path": "q.wav", "target_path": "one.wav", "speaker_id": 0, "emotion_id": 1, "synthetic": True},
        {"input_path": "r.wav", "target_path": "one.wav", "speaker_id": 0, "emotion_id": 1, "synthetic": True},
        {"input_path": "r.wav", "target_path": "two.wav", "speaker_id": 1, "emotion_id": 1, "language": "te"},
        {"input_path": "r.wav", "target_path": "many.wav", "speaker_id": 11, "emotion_id": 1, "licence": "CC0"},
        {"input_path": "r.wav", "target_path": "gone.wav", "speaker_id": 1, "emotion_id": 1},
    ]
    path = folder / "train_pairs.json"
    path.write_text(json.dumps(pairs), encoding="utf-8")
    return path


def test_answers_of_a_pairs_file_are_under_their_voices(tmp_path: Path) -> None:
    clips = {clip.name: clip for clip in answers(pairs_file(tmp_path))}
    assert {name: clip.speaker for name, clip in clips.items()} == {
        "one.wav": "synthetic-male_young",
        "two.wav": "male_mature",
        "many.wav": "11",
        "gone.wav": "male_mature",
    }
    assert clips["two.wav"].language == "te"
    assert clips["many.wav"].licence == "CC0"
    assert clips["gone.wav"].wave is None
    assert clips["gone.wav"].reason == "undecodable"


def test_a_pairs_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        list(answers(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text('[{"target_path": "x"}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"bad.json, 0.speaker_id: Field required"):
        list(answers(tmp_path / "bad.json"))
