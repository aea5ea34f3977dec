"""Exports: what NeMo and lhotse read, checked against what their documentation says of each field."""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
from pathlib import Path
from typing import Any

import av
import pytest

from duplexforge.errors import InputError, UsageError
from duplexforge.uploading.exports import export, sound_of
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.purge import purge
from duplexforge.uploading.targets import LocalTarget
from tests.unit.uploading.conftest import Site
from tests.unit.uploading.corpus import clip, measured, put_episode


@pytest.fixture
def published(memory: Site, tmp_path: Path) -> Site:
    """Two languages, three shards, one segment with flags."""
    put_episode(memory.store, memory.layout, "yt-a", segments=3, changes=[{}, measured(1)], licence="CC-BY-4.0")
    put_episode(memory.store, memory.layout, "pod-sub.b", segments=2)
    put_episode(memory.store, memory.layout, "c", segments=1, language="de", kind="flac")
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    assert memory.worker(LocalTarget(tmp_path / "dataset")).run().completed == 3
    return memory


def lines(path: Path) -> list[dict[str, Any]]:
    """A JSON lines file."""
    body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in body.decode().splitlines()]


def decoded(audio: bytes) -> int:
    """Samples of an encoded file, counted."""
    with av.open(io.BytesIO(audio)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


def test_nemo_manifest(published: Site, tmp_path: Path) -> None:
    done = export(published.store, published.layout, "nemo", tmp_path / "out")
    assert dict(done.segments) == {"de": 1, "en": 5}
    entries = lines(tmp_path / "out/manifest.jsonl")
    assert len(entries) == 6
    for entry in entries:
        # audio_filepath, duration and text are what NeMo asks for; the path may be relative to the manifest.
        path = tmp_path / "out" / entry["audio_filepath"]
        assert decoded(path.read_bytes()) / 24_000 == pytest.approx(entry["duration"], abs=0.01)
        assert isinstance(entry["text"], str)
        assert (entry["lang"], entry["duration"] > 0) in (("en", True), ("de", True))
    first = next(entry for entry in entries if entry["audio_filepath"].endswith("yt-a_000001.mp3"))
    assert (first["speaker"], first["flags"], first["licence"]) == ("yt-a/S01", ["low_mos", "overlap"], "CC-BY-4.0")
    assert (tmp_path / "out" / first["audio_filepath"]).read_bytes() == clip(214)
    assert "žluťoučký" in (tmp_path / "out/manifest.jsonl").read_text(encoding="utf-8")


def test_nemo_tarred(published: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(published.store, published.layout, "nemo-tarred", out, clean=True)
    everything = lines(out / "tarred_audio_manifest.json")
    tars = sorted(out.glob("audio_*.tar"))
    assert [path.name for path in tars] == ["audio_0.tar", "audio_1.tar", "audio_2.tar"]
    parts: list[dict[str, Any]] = []
    for number, path in enumerate(tars):
        part = lines(out / f"sharded_manifests/manifest_{number}.json")
        with tarfile.open(path) as tar:
            members = {member.name: (tar.extractfile(member) or pytest.fail("odd")).read() for member in tar}
        assert [entry["audio_filepath"] for entry in part] == list(members)
        assert {entry["shard_id"] for entry in part} == {number}
        # NeMo's own converter reserves "-sub" in names.
        assert not [name for name in members if "-sub" in name]
        assert all(decoded(body) > 5000 for body in members.values())
        parts += part
    assert parts == everything
    assert len(everything) == 5
    assert all(entry["flags"] == [] for entry in everything)


# What lhotse's documentation says of each manifest: field, type, whether it must be there.
RECORDING = {"id": str, "sources": list, "sampling_rate": int, "num_samples": int, "duration": float}
SUPERVISION = {"id": str, "recording_id": str, "start": float, "duration": float, "channel": int}
SPOKEN = {"text": str, "language": str, "speaker": str, "custom": dict}
CUT = {"id": str, "start": float, "duration": float, "channel": int, "supervisions": list, "recording": dict}


def check(entry: dict[str, Any], schema: dict[str, type]) -> None:
    """Every field is there with its type."""
    for name, kind in schema.items():
        assert type(entry[name]) is kind, (name, entry)


def check_recording(entry: dict[str, Any]) -> None:
    """A recording as lhotse validates it: lengths that agree, channels that the sources have, files that are there."""
    check(entry, RECORDING)
    assert entry["duration"] > 0
    assert entry["num_samples"] == round(entry["duration"] * entry["sampling_rate"])
    assert math.isclose(entry["num_samples"] / entry["sampling_rate"], entry["duration"], abs_tol=1e-3)
    (source,) = entry["sources"]
    assert (source["type"], source["channels"]) == ("file", [0])
    assert entry["channel_ids"] == source["channels"]
    assert Path(source["source"]).is_absolute()
    assert decoded(Path(source["source"]).read_bytes()) == entry["num_samples"]


def test_lhotse(published: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(published.store, published.layout, "lhotse", out)
    recordings = {entry["id"]: entry for entry in lines(out / "recordings.jsonl.gz")}
    supervisions = lines(out / "supervisions.jsonl.gz")
    cuts = lines(out / "cuts.jsonl.gz")
    assert len(recordings) == len(supervisions) == len(cuts) == 6
    for entry in recordings.values():
        check_recording(entry)
    for one, cut in zip(supervisions, cuts, strict=True):
        check(one, SUPERVISION | SPOKEN)
        recording = recordings[one["recording_id"]]
        assert one["start"] >= 0
        assert one["duration"] <= recording["duration"]
        assert one["channel"] in recording["channel_ids"]
        check(cut, CUT)
        assert cut["type"] == "MonoCut"
        assert cut["recording"] == recording
        assert cut["supervisions"] == [one]
        # A cut may not reach over the end of its recording.
        assert cut["start"] + cut["duration"] <= recording["duration"] + 1e-6


def test_one_language(published: Site, tmp_path: Path) -> None:
    done = export(published.store, published.layout, "nemo", tmp_path / "out", language="de")
    assert dict(done.segments) == {"de": 1}
    assert [entry["lang"] for entry in lines(tmp_path / "out/manifest.jsonl")] == ["de"]


def test_only_what_has_no_flags(published: Site, tmp_path: Path) -> None:
    done = export(published.store, published.layout, "nemo", tmp_path / "out", clean=True)
    assert (sum(done.segments.values()), dict(done.left_out)) == (5, {"flagged": 1})
    assert "left out: 1 (flagged)" in done.to_text()
    assert json.loads(json.dumps(done.to_json()))["segments"] == {"de": 1, "en": 4}


def test_the_same_twice(published: Site, tmp_path: Path) -> None:
    def bytes_of(form: str, name: str) -> dict[str, bytes]:
        export(published.store, published.layout, form, tmp_path / name)
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}

    assert bytes_of("nemo-tarred", "one") == bytes_of("nemo-tarred", "two")


def test_what_was_purged_is_not_exported(published: Site, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    target = LocalTarget(tmp_path / "dataset", replace=True)
    purge(published.store, published.layout, target, ["pod-sub.b"], scratch)
    export(published.store, published.layout, "nemo-tarred", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["audio_0.tar", "audio_1.tar"]
    assert "pod-" not in (tmp_path / "out/tarred_audio_manifest.json").read_text()


def test_only_what_is_published(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a")
    seed_uploads(memory.store, memory.layout, memory.queue(), shard_bytes=1)
    with pytest.raises(InputError, match="nothing of that kind is published"):
        export(memory.store, memory.layout, "nemo", tmp_path / "out")


@pytest.mark.parametrize("occupant", ["file", "folder"])
def test_a_place_that_is_taken(published: Site, tmp_path: Path, occupant: str) -> None:
    out = tmp_path / "out"
    if occupant == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("keep me")
    else:
        out.write_text("keep me")
    with pytest.raises(UsageError, match="not an empty folder"):
        export(published.store, published.layout, "nemo", out)


def test_a_lost_file_is_named(published: Site, tmp_path: Path) -> None:
    published.store.delete(published.layout.attempt("en", "yt-a", "a1-nonce") + "yt-a_000001.mp3")
    with pytest.raises(InputError, match=r"yt-a_000001\.mp3"):
        export(published.store, published.layout, "nemo", tmp_path / "out")


@pytest.mark.parametrize("kind", ["mp3", "flac"])
@pytest.mark.parametrize("seconds", [0.25, 1.01, 3.33])
def test_lengths_are_those_of_the_decoder(kind: str, seconds: float) -> None:
    audio = clip(300, kind=kind, seconds=seconds)
    assert sound_of(audio) == (24_000, decoded(audio))
