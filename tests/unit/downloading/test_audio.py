"""What a file is, told by its content; and audio taken out of what is none."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.downloading.audio import extract, probe, type_extension
from duplexforge.errors import InputError, Preempted


@pytest.mark.parametrize(
    ("name", "extension"),
    [("tone.mp3", "mp3"), ("tone.m4a", "m4a"), ("tone.opus", "ogg"), ("tone.wav", "wav"), ("tone.flac", "flac"),
     ("tone.webm", "webm"), ("tone.aac", "aac"), ("tone.ts", None), ("tone.aiff", None), ("talk.mkv", None)],
)  # fmt: skip
def test_containers_are_known_by_their_content(tones: Path, tmp_path: Path, name: str, extension: str | None) -> None:
    disguised = tmp_path / "item"
    disguised.write_bytes((tones / name).read_bytes())
    found = probe(disguised)
    assert found is not None
    assert found.extension == extension
    assert found.has_audio
    assert found.seconds == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"ID3",
        b"RIFF\0\0\0\0WAVE",
        bytes(range(256)) * 40,
        b"<!doctype html><html></html>" * 50,
        b"\0" * 5000,
    ],
)
def test_rubbish_is_nothing_and_no_exception(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    found = probe(path)
    assert found is None or found.seconds is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"ID3", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"RIFF", b"\0\0\0\x20ftyp"]),
    rest=st.binary(max_size=400),
)
def test_no_bytes_raise(tmp_path: Path, head: bytes, rest: bytes) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(head + rest)
    found = probe(path)
    assert found is None or found.seconds is None or found.seconds > 0


def test_playlists_and_scripts_do_not_open_other_files(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the whitelist FFmpeg opens the canary for the relative names: it takes them for safe.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary.ts").write_bytes((tones / "tone.ts").read_bytes())
    for canary in ("canary.ts", "file:canary.ts", f"{tmp_path}/canary.ts", f"file://{tmp_path}/canary.ts"):
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{canary}\n#EXT-X-ENDLIST\n"
        concat = f"ffconcat version 1.0\nfile {canary}\n"
        for name in ("list", "list.mp3", "list.m3u8"):
            for text in (hls, concat):
                (tmp_path / name).write_text(text)
                assert probe(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "codec"), [("tone.ts", "aac"), ("talk.mkv", "aac"), ("tone.aiff", "aac"), ("tone.webm", "aac")]
)
def test_audio_is_taken_out(tones: Path, tmp_path: Path, name: str, codec: str) -> None:
    target = tmp_path / "out.m4a"
    beats: list[int] = []
    extract(tones / name, target, lambda: beats.append(1))
    found = probe(target)
    assert found is not None
    assert found.extension == "m4a"
    assert found.seconds == pytest.approx(1.0, abs=0.15)
    assert beats
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        assert not container.streams.video
        assert sum(frame.samples for frame in container.decode(audio=0)) > 20_000


def test_a_stop_ends_the_taking_out(tones: Path, tmp_path: Path) -> None:
    def stop() -> None:
        raise Preempted("stopped")

    with pytest.raises(Preempted):
        extract(tones / "talk.mkv", tmp_path / "out.m4a", stop)


def test_broken_containers_are_corrupt(tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "rubbish.mkv"
    path.write_bytes(b"\x1aE\xdf\xa3" + b"\0" * 3000)
    with pytest.raises(InputError) as caught:
        extract(path, tmp_path / "out.m4a", lambda: None)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        ("audio/mpeg", "mp3"),
        ("Audio/MP4; charset=x", "m4a"),
        ("audio/x-unheard-of", None),
        ("text/html", None),
        ("", None),
    ],
)
def test_content_types(kind: str, extension: str | None) -> None:
    assert type_extension(kind) == extension
