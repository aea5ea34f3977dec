"""Speech out of processed episodes and out of odd files."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.errors import InputError, UsageError
from duplexforge.records import FileEntry
from duplexforge.storage import Store
from duplexforge.training import preparing, sources
from duplexforge.training.sources import Episodes, decode, found
from duplexforge.training.speech import Speech
from tests.unit.converting import made as episodes
from tests.unit.training.made import voice

RATE = 24_000


def put(store: Store, name: str, count: int, *, damaged: int | None = None, **changes: object) -> None:
    """A committed episode whose segments have sound; one of them may be damaged after its commit."""
    rows = [episodes.segment(name, index, audio=f"{name}_{index:06d}.flac") for index in range(count)]
    for row in rows:
        row.update(changes)
    manifest = episodes.commit(store, name, rows)
    entries = list(manifest.files)
    for index, row in enumerate(rows):
        file = io.BytesIO()
        sf.write(file, voice(0.6, 110 + 10 * index), RATE, format="FLAC")
        body = file.getvalue()
        store.put(manifest.folder + row["audio"], body if index != damaged else body[:-1] + b"x")
        entries.append(FileEntry(name=row["audio"], size=len(body), sha256=hashlib.sha256(body).hexdigest()))
    manifest = manifest.model_copy(update={"files": entries})
    store.put(episodes.LAYOUT.manifest("en", name), manifest.to_bytes())


def test_segments_of_committed_episodes(tmp_path: Path) -> None:
    store = episodes.folder_store(tmp_path / "store")
    put(store, "ep-a", 3, damaged=1)
    put(store, "ep-b", 2, flags=["overlap"])
    put(store, "ep-c", 2, speaker="ep-c/S01")
    put(store, "ep-d", 1)
    episodes.purge(store, "ep-d")
    source = Episodes(store, episodes.LAYOUT)
    report = preparing.prepare(source.clips(), tmp_path / "out", left_out=lambda: [source.left_out])
    assert report.left_out == {"flagged": 2, "purged": 1}
    assert [(name, reason) for name, reason, _ in report.bad] == [("ep-a_000001", "checksum")]
    rows = Speech(tmp_path / "out").rows
    assert [(row.source, row.speaker, row.licence, row.language) for row in rows] == [
        ("ep-a_000000", "ep-a/S00", "CC-BY-4.0", "en"),
        ("ep-a_000002", "ep-a/S00", "CC-BY-4.0", "en"),
        ("ep-c_000000", "ep-c/S01", "CC-BY-4.0", "en"),
        ("ep-c_000001", "ep-c/S01", "CC-BY-4.0", "en"),
    ]
    # 24 kHz became 16.
    assert {row.samples for row in rows} == {9600 * 16 // 24}
    assert len(list(Episodes(store, episodes.LAYOUT, flagged=True).clips())) == 7


def test_segments_without_sound_are_counted(tmp_path: Path) -> None:
    store = episodes.memory()
    episodes.commit(store, "ep", [episodes.segment("ep", 0, audio=None), episodes.segment("ep", 1)])
    source = Episodes(store, episodes.LAYOUT)
    clips = list(source.clips())
    assert source.left_out == {"no_audio": 1}
    assert [(clip.name, clip.reason) for clip in clips] == [("ep_000001", "input_missing")]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_kind_of_sample(tmp_path: Path, subtype: str, channels: int) -> None:
    wave = voice(0.5, 120)
    path = tmp_path / "a.wav"
    sf.write(path, np.stack([wave] * channels, axis=1), 16_000, subtype=subtype)
    heard = decode(path)
    assert heard.dtype == np.float32
    assert np.abs(heard - wave).max() < (0.02 if subtype == "PCM_U8" else 1e-3)


def test_what_is_no_audio_says_so(tmp_path: Path) -> None:
    for name, body in (("a.mp3", b""), ("b.wav", b"RIFF"), ("c.ogg", bytes(1000))):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
            decode(tmp_path / name)
        assert caught.value.reason in ("undecodable", "no_audio")


def test_telephone_prompts_are_read_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.g722").write_bytes(np.random.default_rng(0).integers(0, 256, 8000).astype(np.uint8).tobytes())
    (clip,) = sources.plain(tmp_path)
    assert clip.wave is not None
    assert (clip.speaker, len(clip.wave)) == ("s", 16_000)


def test_globs(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    assert found(f"{tmp_path}/*") == [tmp_path / "a", tmp_path / "b"]
    assert found(str(tmp_path / "none")) == [tmp_path / "none"]
    with pytest.raises(UsageError, match="nothing matches"):
        found(f"{tmp_path}/*.wav")
