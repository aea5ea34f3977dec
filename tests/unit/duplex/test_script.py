"""Script mode: one list per track, no audio read, nothing overwritten unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duplexforge.duplex.audio import FileAudio
from duplexforge.duplex.magichub import MagicHub
from duplexforge.duplex.script import write_scripts
from duplexforge.duplex.tokens import load_tokenizer
from duplexforge.errors import ConfigError, InputError, UsageError
from duplexforge.framing import DuplexFormat
from tests.duplex.magichub import Truth, make_corpus
from tests.duplex.tokenizer import SPECIALS
from tests.unit.duplex.building import Made, Tone, said, talk, tree


@pytest.fixture(scope="module")
def fmt(model: Path) -> DuplexFormat:
    return DuplexFormat(model=str(model))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    folder = tmp_path_factory.mktemp("corpus") / "talks"
    return make_corpus(folder, sessions=2, seconds=10.0, spoil=("bad_times", "out_of_order"))


def test_one_list_per_track(truth: Truth, fmt: DuplexFormat, tmp_path: Path) -> None:
    report = write_scripts(MagicHub(truth.folder), fmt, tmp_path / "parsed", source="talks")
    tracks = [track for session in truth.sessions for track in session.tracks]
    assert sorted(tree(tmp_path / "parsed")) == sorted([f"{one.stem}.json" for one in tracks] + ["report.jsonl"])
    tokenizer = load_tokenizer(fmt.model)
    for track in tracks:
        rows = json.loads((tmp_path / "parsed" / f"{track.stem}.json").read_text())
        expected = sorted(track.utterances, key=lambda one: one.start)
        assert [list(row) for row in rows] == [["start", "end", "text", "input_ids", "duration"]] * len(expected)
        for row, one in zip(rows, expected, strict=True):
            assert (row["start"], row["end"], row["text"]) == (one.start, one.end, one.text)
            assert (row["input_ids"], row["duration"]) == (tokenizer.ids(one.text), one.end - one.start)
    assert (report.exit_code, report.by_reason(), report.files) == (65, {"bad_times": 1, "out_of_order": 1}, 5)
    lines = (tmp_path / "parsed" / "report.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"bad_times", "out_of_order"}
    assert report.totals["train"].events == sum(len(track.utterances) for track in tracks)


def test_no_audio_is_read(fmt: DuplexFormat, tmp_path: Path) -> None:
    report = write_scripts(Made([talk("a", fails="store")]), fmt, tmp_path / "parsed", source="made")
    # Tracks that are no file of their own are called by their session.
    assert sorted(tree(tmp_path / "parsed")) == ["a--ann.json", "a--bob.json"]
    assert (report.exit_code, report.files) == (0, 2)


def test_tracks_of_one_name_are_called_by_their_sessions(fmt: DuplexFormat, tmp_path: Path) -> None:
    one = talk("a")
    left, right = (type(track)(track.speaker, FileAudio("/x/talk.wav", n), ()) for n, track in enumerate(one.tracks))
    write_scripts(Made([type(one)("a", (left, right))]), fmt, tmp_path / "parsed", source="made")
    assert sorted(tree(tmp_path / "parsed")) == ["a--ann.json", "a--bob.json"]


def test_one_speaker_and_what_is_left_out(fmt: DuplexFormat, tmp_path: Path) -> None:
    one = talk("a")
    track = type(one.tracks[0])("ann", Tone(6.0), (*said(1.0), *said(3.0, text=SPECIALS[5])))
    corpus = Made([type(one)("a", (track, one.tracks[1]))])
    report = write_scripts(corpus, fmt, tmp_path / "parsed", source="made", agent_speaker="ann")
    assert sorted(tree(tmp_path / "parsed")) == ["a--ann.json", "report.jsonl"]
    assert len(json.loads((tmp_path / "parsed" / "a--ann.json").read_text())) == 1
    assert (report.by_reason(), report.exit_code) == ({"control_token": 1}, 65)


def test_what_is_there_stays_unless_told(fmt: DuplexFormat, tmp_path: Path) -> None:
    out = tmp_path / "parsed"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    write_scripts(Made([talk("a")]), fmt, out, source="made")
    first = tree(out)
    (out / "a--ann.json").write_text("[]")
    with pytest.raises(UsageError, match=r"holds a--ann.json already: .* --overwrite"):
        write_scripts(Made([talk("a")]), fmt, out, source="made")
    assert (out / "a--ann.json").read_text() == "[]"
    write_scripts(Made([talk("a")]), fmt, out, source="made", overwrite=True)
    assert tree(out) == first


def test_a_dry_run_writes_nothing(fmt: DuplexFormat, tmp_path: Path) -> None:
    report = write_scripts(Made([talk("a")]), fmt, tmp_path / "parsed", source="made", dry_run=True)
    assert not (tmp_path / "parsed").exists()
    assert report.totals["train"].events == 4


def test_what_cannot_be_is_said_before_anything_is_written(fmt: DuplexFormat, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no conversation of two tracks"):
        write_scripts(Made([]), fmt, tmp_path / "parsed", source="made")
    wrong = fmt.model_copy(update={"silence_token": "two words"})
    with pytest.raises(ConfigError, match="silence token two words"):
        write_scripts(Made([talk("a")]), wrong, tmp_path / "parsed", source="made")
    assert not (tmp_path / "parsed").exists()
