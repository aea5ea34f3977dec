"""Shards: what is in them, that they are the same every time, and that nothing wrong gets in."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from webdataset import tariterators

from duplexforge.errors import InputError, Preempted
from duplexforge.uploading.ledger import Batch, BatchId, read_batch
from duplexforge.uploading.plan import seed_uploads
from duplexforge.uploading.schema import FIELDS, parquet_schema
from duplexforge.uploading.shard import Shard, build
from tests.unit.uploading.conftest import Site
from tests.unit.uploading.corpus import clip, measured, put_episode


def planned(site: Site, name: str = "en-000000") -> Batch:
    """The batch ``name`` after seeding with one batch a language."""
    seed_uploads(site.store, site.layout, site.queue(), shard_bytes=10**9)
    return read_batch(site.store, site.layout, BatchId.read(name))


def made(site: Site, folder: Path, name: str = "en-000000") -> Shard:
    """The shard of a batch."""
    folder.mkdir(parents=True, exist_ok=True)
    return build(site.store, planned(site, name), folder)


def body_of(tar: tarfile.TarFile, name: str) -> bytes:
    """The bytes of a member."""
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_members_and_their_headers(site: Site, tmp_path: Path) -> None:
    put_episode(site.store, site.layout, "yt-b", segments=2)
    put_episode(site.store, site.layout, "pod-a", segments=1)
    shard = made(site, tmp_path / "out")
    with tarfile.open(shard.tar) as tar:
        members = tar.getmembers()
        last = json.loads(body_of(tar, "yt-b_000001.json"))
    assert last["text"].endswith("«žluťoučký kůň», 話す.")
    keys = ["pod-a_000000", "yt-b_000000", "yt-b_000001"]
    assert [member.name for member in members] == [f"{key}.{end}" for key in keys for end in ("mp3", "json")]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
        assert (member.mode, member.type, member.pax_headers) == (0o644, tarfile.REGTYPE, {})
    assert shard.tar.read_bytes()[257:263] == b"ustar\0"
    record = shard.record
    assert (record.samples, record.episodes, record.shard) == (3, ["pod-a", "yt-b"], "data/en/train-000000")
    assert record.hours.source == 2.0
    assert record.sha256 == hashlib.sha256(shard.tar.read_bytes()).hexdigest()
    assert record.size == shard.tar.stat().st_size


def test_json_has_the_same_fields_in_every_sample(site: Site, tmp_path: Path) -> None:
    put_episode(site.store, site.layout, "a", segments=3, changes=[{}, measured(1), {"asr": None, "extra": None}])
    put_episode(site.store, site.layout, "b", segments=1, title=None, url=None, source=None, licence="CC-BY-4.0")
    shard = made(site, tmp_path / "out")
    with tarfile.open(shard.tar) as tar:
        found: list[dict[str, Any]] = [
            json.loads(body_of(tar, name)) for name in tar.getnames() if name.endswith(".json")
        ]
    for entry in found:
        assert list(entry) == [field.name for field in FIELDS]
        assert list(entry["asr"]) == ["avg_logprob", "no_speech_prob", "compression_ratio", "language_probability"]
    assert found[1]["flags"] == ["low_mos", "overlap"]
    assert found[1]["extra"] == [{"name": "snr_estimate", "value": 21.5}]
    assert found[2]["asr"]["avg_logprob"] is None
    assert (found[0]["duration"], found[0]["title"], found[3]["licence"]) == (0.25, "Title of a", "CC-BY-4.0")
    assert shard.record.licences == {"": 3, "CC-BY-4.0": 1}
    assert (shard.record.flagged, shard.record.flags) == (1, {"low_mos": 1, "overlap": 1})
    # The counts of the card's plots: four segments of a quarter of a second, one of them scored 3.26.
    assert shard.record.durations == [4, *[0] * 30]
    assert {place: count for place, count in enumerate(shard.record.scores) if count} == {22: 1}


def test_paths_of_local_files_are_not_published(site: Site, tmp_path: Path) -> None:
    put_episode(site.store, site.layout, "a", segments=1, url="file:///home/somebody/secret%20plans.wav")
    put_episode(site.store, site.layout, "b", segments=1)
    shard = made(site, tmp_path / "out")
    assert [row["url"] for row in pq.read_table(shard.parquet).to_pylist()] == [None, "https://example.org/b"]
    assert b"somebody" not in shard.tar.read_bytes() + shard.parquet.read_bytes()


def test_parquet_rows(site: Site, tmp_path: Path) -> None:
    put_episode(site.store, site.layout, "a", segments=2, changes=[{}, measured(1)])
    shard = made(site, tmp_path / "out")
    table = pq.read_table(shard.parquet)
    assert table.schema.remove_metadata() == parquet_schema()
    first, second = table.to_pylist()
    assert (first["key"], first["shard"]) == ("a_000000", "data/en/train-000000.tar")
    assert (first["flags"], first["dnsmos"], first["avg_logprob"]) == ([], None, None)
    assert (second["flags"], second["dnsmos"], second["avg_logprob"]) == (["low_mos", "overlap"], 3.26, -0.25)
    assert second["sha256"] == hashlib.sha256(clip(211)).hexdigest()
    assert "audio" in table.column_names
    assert not any("nonce" in str(value) for value in first.values())


def test_two_builds_are_the_same_bytes(site: Site, tmp_path: Path) -> None:
    put_episode(site.store, site.layout, "a", segments=40, changes=[measured(0)])
    put_episode(site.store, site.layout, "b", segments=2)
    one, two = made(site, tmp_path / "one"), made(site, tmp_path / "two")
    assert one.tar.read_bytes() == two.tar.read_bytes()
    assert one.parquet.read_bytes() == two.parquet.read_bytes()
    assert one.record == two.record


def test_bytes_do_not_depend_on_the_attempt(tmp_path: Path, memory: Site, site: Site) -> None:
    put_episode(memory.store, memory.layout, "a", attempt="a1-first")
    put_episode(site.store, site.layout, "a", attempt="a7-other")
    one, two = made(memory, tmp_path / "one"), made(site, tmp_path / "two")
    assert one.tar.read_bytes() == two.tar.read_bytes()
    assert one.parquet.read_bytes() == two.parquet.read_bytes()


def test_webdataset_reads_it(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a", segments=2, changes=[{}, measured(1)])
    put_episode(memory.store, memory.layout, "file-with.dots.in-it", segments=1)
    shard = made(memory, tmp_path / "out")
    with shard.tar.open("rb") as file:
        members = tariterators.tar_file_expander([{"url": shard.tar.name, "stream": file}])
        samples = list(tariterators.group_by_keys(members))
    assert [sample["__key__"] for sample in samples] == ["a_000000", "a_000001", "file-with~dots~in-it_000000"]
    assert samples[1]["mp3"] == clip(211)
    assert json.loads(samples[2]["json"])["segment_id"] == "file-with.dots.in-it_000000"


def test_flac_is_taken_too(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a", segments=1, kind="flac")
    shard = made(memory, tmp_path / "out")
    with tarfile.open(shard.tar) as tar:
        assert tar.getnames() == ["a_000000.flac", "a_000000.json"]
    assert shard.record.audio == "flac"


def test_long_names_survive(memory: Site, tmp_path: Path) -> None:
    episode = "file-" + "x" * 150
    put_episode(memory.store, memory.layout, episode, segments=1)
    with tarfile.open(made(memory, tmp_path / "out").tar) as tar:
        assert tar.getnames() == [f"{episode}_000000.mp3", f"{episode}_000000.json"]


# -- nothing wrong gets in ---------------------------------------------------------------------------------------------


def key_of(site: Site, name: str) -> str:
    """The key of a file of episode ``a``."""
    return site.layout.attempt("en", "a", "a1-nonce") + name


@pytest.mark.parametrize("name", ["a_000001.mp3", "all_segments.json"])
@pytest.mark.parametrize("damage", ["gone", "flipped", "short"])
def test_damaged_files_are_named(site: Site, tmp_path: Path, name: str, damage: str) -> None:
    put_episode(site.store, site.layout, "a")
    key = key_of(site, name)
    body = bytearray(site.store.get(key))
    site.store.delete(key)
    if damage == "flipped":
        body[len(body) // 2] ^= 1
    if damage != "gone":
        site.store.put(key, bytes(body[:-1] if damage == "short" else body))
    with pytest.raises(InputError, match=name) as caught:
        made(site, tmp_path / "out")
    assert caught.value.reason == "shard_input"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"audio": "../../etc/passwd.mp3"}, "names no audio file"),
        ({"audio": "all_segments.json"}, "names no audio file"),
        ({"sha256": "0" * 64}, "another checksum"),
        ({"segment_id": "../a"}, "cannot be part"),
        ({"segment_id": "a_000001"}, "stands twice"),
        ({"start": None}, "0.start"),
        ({"text": 7}, "0.text"),
    ],
)
def test_segments_that_contradict_their_manifest(
    memory: Site, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    put_episode(memory.store, memory.layout, "a", changes=[change])
    with pytest.raises(InputError, match=words) as caught:
        made(memory, tmp_path / "out")
    assert caught.value.reason == "shard_input"


def test_no_number_that_json_lacks(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a", changes=[{"dnsmos": float("nan")}])
    with pytest.raises(InputError, match="dnsmos"):
        made(memory, tmp_path / "out")


def test_a_manifest_that_counts_other_segments(memory: Site, tmp_path: Path) -> None:
    manifest = put_episode(memory.store, memory.layout, "a")
    batch = planned(memory)
    changed = manifest.model_copy(update={"segments": 4})
    memory.store.put(memory.layout.manifest("en", "a"), changed.to_bytes())
    with pytest.raises(InputError, match="has 3 segments"):
        build(memory.store, batch, tmp_path)
    memory.store.put(memory.layout.manifest("en", "a"), manifest.model_copy(update={"outcome": "no_speech"}).to_bytes())
    with pytest.raises(InputError, match="not the manifest"):
        build(memory.store, batch, tmp_path)
    memory.store.put(memory.layout.manifest("en", "a"), manifest.model_copy(update={"files": []}).to_bytes())
    with pytest.raises(InputError, match="names no all_segments"):
        build(memory.store, batch, tmp_path)
    memory.store.delete(memory.layout.manifest("en", "a"))
    with pytest.raises(InputError, match="is not in the store"):
        build(memory.store, batch, tmp_path)


def test_a_build_stops_when_it_is_told_to(memory: Site, tmp_path: Path) -> None:
    put_episode(memory.store, memory.layout, "a", segments=50)
    beats = []

    def beat(what: str, fraction: float) -> None:
        beats.append((what, fraction))
        if len(beats) == 10:
            raise Preempted("stop")

    with pytest.raises(Preempted):
        build(memory.store, planned(memory), tmp_path, beat=beat)
    assert len(beats) == 10
