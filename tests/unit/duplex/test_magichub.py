"""The MagicHub layout: the made corpus is read as it was made, and every spoilt file is told and costs what it must."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.duplex.corpus import Conversation, Corpus
from duplexforge.duplex.magichub import MagicHub
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import safe_name
from tests.duplex.magichub import FILE_SPOILS, KEPT, LINE_SPOILS, Expected, Truth, make_corpus


def told(corpus: Corpus) -> list[Expected]:
    return [Expected(one.file, one.line, one.reason, one.kept) for one in corpus.problems]


def read(folder: Path) -> tuple[list[Conversation], list[Expected]]:
    corpus = MagicHub(folder)
    return list(corpus.conversations()), told(corpus)


def check(found: list[Conversation], truth: Truth) -> None:
    assert [one.conversation_id for one in found] == [one.conversation_id for one in truth.sessions]
    for conversation, made in zip(found, truth.sessions, strict=True):
        assert conversation.group == made.group
        for track, written in zip(conversation.tracks, made.tracks, strict=True):
            assert written.utterances, "the made corpus lets everybody speak"
            assert list(track.utterances) == written.utterances
            assert track.gender == written.gender
            source = conversation.provenance["tracks"][track.speaker]
            assert source["speaker"] == written.speaker
            assert (source["rate"], source["channels"]) == (written.rate, written.channels)
            assert (source["non_text"], source["noise"], source["tags"]) == (
                written.non_text,
                written.noise,
                written.tags,
            )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_corpus(tmp_path_factory.mktemp("clean"), sessions=3, seconds=12.0)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_corpus(tmp_path_factory.mktemp("spoilt"), sessions=4, seconds=15.0, spoil=["all"])


def test_a_clean_corpus_is_read_without_a_word(clean: Truth) -> None:
    found, problems = read(clean.folder)
    assert problems == []
    check(found, clean)
    rates = {(track.rate, track.channels) for session in clean.sessions for track in session.tracks}
    assert len(rates) == 6, "the made corpus mixes its forms"


def test_each_track_is_loud_where_its_own_speaker_speaks(clean: Truth) -> None:
    for conversation in MagicHub(clean.folder).conversations():
        for track in conversation.tracks:
            sound = np.concatenate([*track.audio.blocks(16_000)])
            assert len(sound) == 16_000 * clean.seconds
            speaks = np.zeros(len(sound), bool)
            for one in track.utterances:
                speaks[round((one.start + 0.02) * 16_000) : round((one.end - 0.02) * 16_000)] = True
            near = np.zeros(len(sound), bool)
            for one in track.utterances:
                near[round((one.start - 0.02) * 16_000) : round((one.end + 0.02) * 16_000)] = True
            assert np.sqrt(np.mean(sound[speaks] ** 2)) > 100 * np.sqrt(np.mean(sound[~near] ** 2))


def test_everything_spoilt_is_told_and_nothing_else(spoilt: Truth) -> None:
    found, problems = read(spoilt.folder)
    assert len(problems) == len(set(problems))
    assert set(problems) == spoilt.problems
    assert {problem.reason for problem in problems} == {*LINE_SPOILS, *FILE_SPOILS}
    check(found, spoilt)


@pytest.mark.parametrize("kind", [*LINE_SPOILS, *FILE_SPOILS])
def test_one_spoilt_thing_at_a_time(tmp_path: Path, kind: str) -> None:
    truth = make_corpus(tmp_path, sessions=1, seconds=8.0, spoil=[kind], formats=((16_000, 1),))
    found, problems = read(tmp_path)
    assert set(problems) == truth.problems
    assert {problem.kept for problem in problems} == {kind in KEPT}
    check(found, truth)


def test_a_second_reading_finds_the_same(spoilt: Truth) -> None:
    corpus = MagicHub(spoilt.folder, language="en", licence="CC-BY-NC-ND-4.0")
    once, problems = list(corpus.conversations()), list(corpus.problems)
    assert list(corpus.conversations()) == once
    assert corpus.problems == problems
    assert {(one.language, one.licence) for one in once} == {("en", "CC-BY-NC-ND-4.0")}


def test_neither_the_order_nor_the_place_of_the_files_matters(spoilt: Truth, tmp_path: Path) -> None:
    """Directory order is the order of making on some disks: the same files, made in another order elsewhere."""
    files = sorted(path for path in spoilt.folder.rglob("*") if path.is_file())
    random.Random(5).shuffle(files)
    for path in files:
        target = tmp_path / "copy" / path.relative_to(spoilt.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    here, there = MagicHub(spoilt.folder), MagicHub(tmp_path)

    def plain(corpus: MagicHub) -> list[object]:
        return [
            (one.conversation_id, one.provenance, [(track.speaker, track.utterances) for track in one.tracks])
            for one in corpus.conversations()
        ]

    assert plain(here) == plain(there)
    assert here.problems == there.problems


def test_what_is_written_down_names_no_place(spoilt: Truth) -> None:
    corpus = MagicHub(spoilt.folder)
    for one in corpus.conversations():
        body = json.dumps(one.provenance)
        assert str(spoilt.folder) not in body
        for name in (one.conversation_id, *(track.speaker for track in one.tracks), one.group):
            assert safe_name(name) == name
    assert all(str(spoilt.folder) not in problem.message for problem in corpus.problems)


def test_the_folder_may_be_one_further_up(clean: Truth, tmp_path: Path) -> None:
    inner = tmp_path / "downloads" / "Multi-stream Conversation"
    shutil.copytree(clean.folder, inner)
    for folder in (inner, inner.parent, tmp_path):
        check(list(MagicHub(folder).conversations()), clean)
    shutil.copytree(inner, tmp_path / "downloads" / "Another")
    with pytest.raises(InputError, match="more than one corpus, name one of Another, Multi-stream Conversation"):
        MagicHub(tmp_path / "downloads")


def test_folders_that_are_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        MagicHub(tmp_path / "absent")
    (tmp_path / "WAV").mkdir()
    with pytest.raises(InputError, match="must hold the folders WAV and TXT") as caught:
        MagicHub(tmp_path)
    assert caught.value.reason == "no_corpus"
    (tmp_path / "txt").mkdir()
    if not (tmp_path / "TXT").exists():
        with pytest.raises(InputError):
            MagicHub(tmp_path)


def test_an_empty_corpus_has_no_conversation(tmp_path: Path) -> None:
    make_corpus(tmp_path, sessions=0)
    assert read(tmp_path) == ([], [])


def test_files_that_do_not_belong_are_told_and_the_systems_own_are_not(tmp_path: Path) -> None:
    truth = make_corpus(tmp_path, sessions=1, seconds=8.0)
    stem = truth.sessions[0].tracks[0].stem
    (tmp_path / "WAV" / "._hidden.wav").write_bytes(b"x")
    (tmp_path / "TXT" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "WAV" / "notes.md").write_bytes(b"x")
    (tmp_path / "TXT" / "old").mkdir()
    (tmp_path / "TXT" / f"{stem}.TXT").write_bytes((tmp_path / "TXT" / f"{stem}.txt").read_bytes())
    (tmp_path / "SPKINFO.txt").write_bytes(b"x")
    found, problems = read(tmp_path)
    assert set(problems) == {
        Expected("WAV/notes.md", None, "other_file", True),
        Expected("TXT/old", None, "other_file", True),
        # Upper case comes first, and is as good as the other.
        Expected(f"TXT/{stem}.txt", None, "duplicate_stem", False),
    }
    check(found, truth)


def test_another_ending_is_taken_where_there_is_no_wav(tmp_path: Path) -> None:
    truth = make_corpus(tmp_path, sessions=1, seconds=8.0)
    wav = tmp_path / "WAV" / f"{truth.sessions[0].tracks[1].stem}.wav"
    sound, rate = sf.read(wav)
    sf.write(wav.with_suffix(".flac"), sound, rate)
    wav.unlink()
    found, problems = read(tmp_path)
    assert problems == []
    check(found, truth)


def test_decomposed_names_meet_composed_ones(tmp_path: Path) -> None:
    truth = make_corpus(tmp_path, sessions=0, spoil=["unsafe_name"])
    for path in (tmp_path / "TXT").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    found, problems = read(tmp_path)
    assert set(problems) == truth.problems
    check(found, truth)
    assert found[0].provenance["name"] == "Größe_S001"


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system refuses such names")
def test_names_that_are_no_unicode_can_be_written_down(tmp_path: Path) -> None:
    make_corpus(tmp_path, sessions=1, seconds=8.0)
    for folder in ("WAV", "TXT"):
        for path in sorted((tmp_path / folder).iterdir()):
            path.rename(path.with_name(path.name.replace("A0001", os.fsdecode(b"gr\xf6sse"))))
    (tmp_path / "TXT" / os.fsdecode(b"\xff.txt")).write_bytes(b"")
    corpus = MagicHub(tmp_path)
    (one,) = corpus.conversations()
    assert all(np.concatenate([*track.audio.blocks(16_000)]).any() for track in one.tracks)
    written = json.dumps([one.provenance, *(problem.to_json() for problem in corpus.problems)], ensure_ascii=False)
    assert written.encode()
    assert {problem.reason for problem in corpus.problems} == {"unsafe_name", "odd_name"}


def test_three_names_of_which_one_is_half(tmp_path: Path) -> None:
    """Two whole tracks and half a third: which two are the pair is a guess, so nobody guesses."""
    truth = make_corpus(tmp_path, sessions=1, seconds=8.0)
    (tmp_path / "TXT" / f"{truth.sessions[0].conversation_id}_1_G0777.txt").write_bytes(b"")
    found, problems = read(tmp_path)
    assert found == []
    assert problems == [Expected(truth.sessions[0].conversation_id, None, "too_many_tracks", False)]


def test_a_transcript_that_cannot_be_opened(tmp_path: Path) -> None:
    truth = make_corpus(tmp_path, sessions=1, seconds=8.0)
    path = tmp_path / "TXT" / f"{truth.sessions[0].tracks[0].stem}.txt"
    path.unlink()
    path.symlink_to(tmp_path / "absent")
    found, problems = read(tmp_path)
    assert found == []
    # A link to nothing is no file, so the transcript is missing too.
    assert {problem.reason for problem in problems} == {"other_file", "no_transcript"}
