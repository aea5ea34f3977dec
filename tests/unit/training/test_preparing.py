"""Training folders: whole speakers, everything accounted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.training import preparing, sources
from duplexforge.training.preparing import UNKNOWN, Clip, prepare, splits
from duplexforge.training.speech import MANIFEST, Speech
from tests.unit.training import made

NAMES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 10_000_000), min_size=1, max_size=20
)


@given(lengths=NAMES, seed=st.integers(0, 5))
def test_splits_keep_speakers_whole_and_leave_some_to_train_on(lengths: dict[str, int], seed: int) -> None:
    chosen = splits(lengths, seed=seed)
    assert chosen.keys() == lengths.keys()
    assert "train" in chosen.values()
    assert chosen == splits(dict(reversed(lengths.items())), seed=seed)
    assert (set(chosen.values()) == {"train", "validation", "test"}) == (len(lengths) >= 3)


@given(lengths=NAMES)
def test_who_is_unknown_is_never_scored_on(lengths: dict[str, int]) -> None:
    assert splits(lengths | {UNKNOWN: 10**9})[UNKNOWN] == "train"


def test_shares_are_near_80_10_10() -> None:
    lengths = {f"s{number}": 100 + number for number in range(50)}
    chosen = splits(lengths)
    total = sum(lengths.values())
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(sum(lengths[name] for name in lengths if chosen[name] == split) / total - share) < 0.02


def test_named_speakers_go_where_they_are_told() -> None:
    lengths = dict.fromkeys("abcdef", 10)
    assert splits(lengths, test=["b"], validation=["c"]) == dict.fromkeys("adef", "train") | {
        "b": "test",
        "c": "validation",
    }
    with pytest.raises(UsageError, match="there is no speaker z; there are a, b"):
        splits(lengths, test=["z"])
    with pytest.raises(UsageError, match="a cannot be in"):
        splits(lengths, test=["a"], validation=["a"])


def test_a_folder_of_speakers(tmp_path: Path) -> None:
    source = made.recordings(tmp_path / "in", speakers=4, files=2, seconds=0.5)
    (source / "s1" / "broken.wav").write_bytes(b"RIFF nothing")
    sf.write(source / "s2" / "silent.wav", np.zeros(16000), 16000)
    sf.write(source / "s2" / "short.wav", made.voice(0.1, 100), 16000)
    sf.write(source / "nobody.wav", made.voice(0.5, 100), 16000)
    sf.write(source / "s3" / "wide.flac", np.stack([made.voice(1.0, 100)] * 2, axis=1), 32000)
    (source / "s3" / "notes.txt").write_text("not audio")
    report = prepare(sources.plain(source), tmp_path / "out")
    assert report.exit_code == 65
    assert [(name, reason) for name, reason, _ in report.bad] == [
        ("s1/broken.wav", "undecodable"),
        ("s2/short.wav", "too_short"),
        ("s2/silent.wav", "silent"),
    ]
    rows = Speech(tmp_path / "out").rows
    assert len(rows) == report.files == 10
    assert {row.split for row in rows if row.speaker == UNKNOWN} == {"train"}
    by_speaker = {row.speaker: {other.split for other in rows if other.speaker == row.speaker} for row in rows}
    assert all(len(found) == 1 for found in by_speaker.values())
    wide = next(row for row in rows if row.source == "s3/wide.flac")
    assert wide.samples == 8000
    for row in rows:
        path = tmp_path / "out" / row.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        assert (sf.info(path).samplerate, sf.info(path).channels, sf.info(path).frames) == (16000, 1, row.samples)
    summary = json.loads((tmp_path / "out" / "speech.json").read_text())
    assert summary == report.to_json()
    assert "name no speaker" in report.to_text()


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    source = made.recordings(tmp_path / "in", speakers=1, files=1, seconds=0.5)
    prepare(sources.plain(source, speaker="me"), tmp_path / "out")
    (row,) = Speech(tmp_path / "out").rows
    assert row.speaker == "me"
    read, _ = sf.read(tmp_path / "out" / row.path, dtype="float32")
    assert np.abs(read - made.voice(0.5, 100, seed=0)).max() < 2e-4


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="there is no audio"):
        prepare(sources.plain(tmp_path / "in"), tmp_path / "out")
    (tmp_path / "in" / "a.mp3").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.mp3 cannot be read"):
        prepare(sources.plain(tmp_path / "in"), tmp_path / "other")
    with pytest.raises(UsageError, match="no file or folder"):
        prepare(sources.plain(tmp_path / "none"), tmp_path / "third")


def test_a_folder_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    clips = [Clip("a", "x", made.voice(0.5, 100))]
    prepare(iter(clips), tmp_path / "out")
    before = (tmp_path / "out" / MANIFEST).read_bytes()
    with pytest.raises(UsageError, match="holds a training folder already"):
        prepare(iter(clips), tmp_path / "out")
    assert (tmp_path / "out" / MANIFEST).read_bytes() == before


def test_an_attempt_that_was_cut_off_leaves_no_manifest(tmp_path: Path) -> None:
    def cut() -> preparing.Source:
        yield Clip("a", "x", made.voice(0.5, 100))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(cut(), tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert prepare(iter([Clip("a", "x", made.voice(0.5, 100))]), tmp_path / "out").files == 1


def test_what_a_machine_spoke_is_labelled(tmp_path: Path) -> None:
    for name in ("synthetic-te", "someone", "synthetic"):
        (tmp_path / "in" / name).mkdir(parents=True)
        sf.write(tmp_path / "in" / name / "a.wav", made.voice(3.0, 120), 16000)
    report = prepare(sources.plain(tmp_path / "in"), tmp_path / "out", test=["synthetic-te"])
    assert {row.speaker for row in Speech(tmp_path / "out").rows if row.synthetic} == {"synthetic-te"}
    assert [note for note in report.notes if "synthetic" in note] == ["test: 0.1 minutes are synthetic speech"]
