"""``convert audio``: which files, where they go, what is left alone, and what a failure costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf

from duplexforge.converting import audio
from duplexforge.converting.audio import convert_audio, of_folder, of_store
from duplexforge.converting.media import Shape
from duplexforge.errors import ConfigError, InputError, UsageError
from tests.unit.converting import made

SHAPE = Shape("flac", 16000, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one below, a note and a broken one."""
    made.write_wav(tmp_path / "in" / "a.wav", made.tone(1.0))
    made.write_av(tmp_path / "in" / "sub" / "b.WEBM", made.tone(2.0, 48000), "libopus")
    (tmp_path / "in" / "bad.mp3").write_bytes(b"<html>" * 100)
    (tmp_path / "in" / "notes.txt").write_text("no recording")
    return tmp_path / "in"


def outputs(out: Path) -> dict[str, float]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): round(sf.info(path).duration, 1) for path in files}


def test_a_folder_with_a_broken_file(folder: Path, tmp_path: Path) -> None:
    report = convert_audio(of_folder(str(folder)), tmp_path / "out", SHAPE, jobs=3)
    assert outputs(tmp_path / "out") == {"a.flac": 1.0, "sub/b.flac": 2.0}
    assert (report.found, report.converted, report.there, report.exit_code) == (3, 2, 0, 65)
    assert report.seconds == pytest.approx(3.0, abs=0.02)
    assert [(name, reason) for name, reason, _ in report.failed] == [("bad", "not_audio")]
    assert "failed: bad: bad.mp3 is not an audio file" in report.to_text()


def test_what_is_there_is_left_alone_until_something_changes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "bad.mp3").unlink()
    convert_audio(of_folder(str(folder)), out, SHAPE)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.flac")}
    again = convert_audio(of_folder(str(folder)), out, SHAPE)
    assert (again.converted, again.there, again.exit_code) == (0, 2, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.flac")} == before
    made.write_wav(folder / "a.wav", made.tone(3.0))
    assert convert_audio(of_folder(str(folder)), out, SHAPE).converted == 1
    assert outputs(out)["a.flac"] == 3.0
    assert convert_audio(of_folder(str(folder)), out, Shape("flac", 8000, 1)).converted == 2


def test_a_file_of_somebody_else_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    theirs = made.write_wav(tmp_path / "out" / "a.wav", made.tone(0.1))
    before = theirs.read_bytes()
    report = convert_audio(of_folder(str(folder), "wav"), tmp_path / "out", Shape("wav"))
    assert [reason for _, reason, _ in report.failed] == ["occupied"]
    assert theirs.read_bytes() == before


def test_two_of_one_name_are_one_too_many(folder: Path, tmp_path: Path) -> None:
    made.write_av(folder / "a.mp3", made.tone(2.0, 48000), "mp3")
    report = convert_audio(of_folder(str(folder)), tmp_path / "out", SHAPE)
    assert ("a", "same_name") in [(name, reason) for name, reason, _ in report.failed]
    # In order of their names the MP3 comes first.
    assert outputs(tmp_path / "out")["a.flac"] == pytest.approx(2.0, abs=0.1)
    only = convert_audio(of_folder(str(folder), "wav"), tmp_path / "wavs", SHAPE)
    assert (only.found, only.exit_code) == (1, 0)


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    report = convert_audio(of_folder(str(folder)), tmp_path / "out", SHAPE, dry_run=True)
    assert (report.converted, report.there) == (3, 0)
    assert "would be converted" in report.to_text()
    assert not (tmp_path / "out").exists()


def test_sources_are_folders_files_and_globs(folder: Path, tmp_path: Path) -> None:
    def names(place: object, **options: object) -> list[str]:
        return [one.name for one in of_folder(str(place), **options)]  # type: ignore[arg-type]

    assert names(folder) == ["a", "bad", "sub/b"]
    assert names(folder, only="webm") == names(folder, only=".WebM") == ["sub/b"]
    assert names(folder / "a.wav") == ["a"]
    assert names(folder / "*.wav") == ["a"]
    assert names(folder / "**" / "*.WEBM") == ["sub/b"]
    assert names(tmp_path / "in*" / "sub" / "*") == ["in/sub/b"]
    for absent in (tmp_path / "absent", folder / "*.ogg"):
        with pytest.raises(UsageError, match="no recording"):
            of_folder(str(absent))


def test_outputs_inside_the_source_are_no_input(folder: Path) -> None:
    out = folder / "out"
    for _ in range(2):
        report = convert_audio(of_folder(str(folder), without=out), out, SHAPE)
        assert report.found == 3
    assert report.there == 2


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_recordings_of_a_store(folder: Path, tmp_path: Path, kind: str) -> None:
    store = made.memory() if kind == "memory" else made.folder_store(tmp_path / "store")
    made.put_recording(store, "pod-b", folder / "a.wav")
    made.put_recording(store, "file-a", folder / "sub" / "b.WEBM")
    made.put_recording(store, "gone", folder / "a.wav", audio_key="raw_audio/en/feed/nothing.wav")
    made.put_recording(store, "other", folder / "a.wav", sha256="00")
    store.put("raw_audio/en/feed/uncommitted.mp3", b"")
    store.put("raw_audio/en/feed/broken.json", b"{")
    report = convert_audio(of_store(store, made.LAYOUT), tmp_path / "out", SHAPE, jobs=2)
    assert outputs(tmp_path / "out") == {"file-a.flac": 2.0, "pod-b.flac": 1.0}
    reasons = sorted((name, reason) for name, reason, _ in report.failed)
    assert reasons == [("a record", "bad_record"), ("gone", "input_missing"), ("other", "checksum")]
    again = convert_audio(of_store(store, made.LAYOUT), tmp_path / "out", SHAPE)
    assert (again.there, again.converted) == (2, 0)
    assert [one.name for one in of_store(store, made.LAYOUT, "webm") if isinstance(one, audio.Recording)] == ["file-a"]


@pytest.mark.parametrize(
    "shape", [Shape("mp3"), Shape("flac", 10), Shape("wav", 10**6), Shape("wav", None, 0), Shape("wav", None, 6)]
)
def test_senseless_shapes_are_refused(tmp_path: Path, shape: Shape) -> None:
    with pytest.raises(UsageError, match="--"):
        convert_audio([], tmp_path, shape)


def test_a_killed_run_leaves_nothing_that_looks_done(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = audio.transcode

    def killed(source: Path, target: Path, shape: Shape, stamp: str) -> None:
        real(source, target, shape, stamp)
        raise KeyboardInterrupt

    monkeypatch.setattr(audio, "transcode", killed)
    with pytest.raises(KeyboardInterrupt):
        convert_audio(of_folder(str(folder), "wav"), tmp_path / "out", SHAPE)
    assert outputs(tmp_path / "out") == {}
    monkeypatch.undo()
    assert convert_audio(of_folder(str(folder), "wav"), tmp_path / "out", SHAPE).converted == 1


def test_a_full_disk_ends_the_run_and_blames_no_recording(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, shape: Shape, stamp: str) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(audio, "transcode", full)
    with pytest.raises(ConfigError, match="No space left"):
        convert_audio(of_folder(str(folder)), tmp_path / "out", SHAPE)


def test_a_place_that_is_no_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        convert_audio(of_folder(str(folder)), tmp_path / "file", SHAPE)


def test_a_recording_that_vanishes_is_a_failure(tmp_path: Path) -> None:
    made.write_wav(tmp_path / "in" / "a.wav", made.tone(0.1))
    found = of_folder(str(tmp_path / "in"))
    (tmp_path / "in" / "a.wav").unlink()
    report = convert_audio(found, tmp_path / "out", SHAPE)
    assert [reason for _, reason, _ in report.failed] == ["unreadable"]


def test_an_error_of_the_source_is_counted_under_its_reason(tmp_path: Path) -> None:
    def fetch(_folder: Path) -> Path:
        raise InputError("it is locked", reason="denied")

    report = convert_audio([audio.Recording("a", fetch)], tmp_path, SHAPE)
    assert report.failed == [("a", "denied", "it is locked")]
