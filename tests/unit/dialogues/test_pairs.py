"""The lists of pairs: what is written is read, and what is wrong with a list is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.dialogues.pairs import Asker, Pair, Word, dumped, read
from duplexforge.errors import InputError

PAIR = Pair(
    input_path="audio/questions/train/te/greeting/ask0-0.flac",
    target_path="audio/answers/te/greeting/male_young-neutral.flac",
    speaker_id=0,
    emotion_id=0,
    language="te",
    intent="greeting",
    question="నమస్కారం.",
    answer="నమస్కారం, చెప్పండి.",
    words=[Word(word="నమస్కారం,", start=0.0, end=0.5), Word(word="చెప్పండి.", start=0.6, end=1.1)],
    user=Asker(variant="te+m2", pitch=50, rate=170, level=-20.0),
    licence="Apache-2.0",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train_pairs.json"
    path.write_text(dumped([PAIR, PAIR]), encoding="utf-8")
    assert read(path) == [PAIR, PAIR]
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told[0].keys() >= {"input_path", "target_path", "speaker_id", "emotion_id", "words", "synthetic", "licence"}
    assert told[0]["synthetic"] is True
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    path.write_text(dumped([]), encoding="utf-8")
    assert read(path) == []


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "train_pairs.json"
    with pytest.raises(InputError, match="duplexforge data dialogues makes such files"):
        read(path)
    path.write_text(dumped([PAIR]).replace('"speaker_id":0', '"speaker_id":"Arjun"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"train_pairs.json, 0.speaker_id: Input should be a valid integer"):
        read(path)
    path.write_text("[{", encoding="utf-8")
    with pytest.raises(InputError, match="Invalid JSON"):
        read(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(told=JSON)
def test_any_json_is_a_list_of_pairs_or_refused(told: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any_pairs.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    if told == []:
        assert read(path) == []
        return
    with pytest.raises(InputError, match=r"any_pairs\.json, "):
        read(path)


@given(field=st.sampled_from(sorted(PAIR.model_dump())), value=JSON)
def test_one_field_that_is_wrong_is_named(field: str, value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "one_pairs.json"
    told = json.loads(PAIR.model_dump_json()) | {field: value}
    path.write_text(json.dumps([told]), encoding="utf-8")
    said, found = "", []
    try:
        found = read(path)
    except InputError as error:
        said = str(error)
    assert len(found) == 1 or f"one_pairs.json, 0.{field}" in said


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(InputError, match=r"x\.json, "):
        read(tmp_path / "x.json")
