"""Episodes of a published data set: from parquet, from tars, and from folders that others have tampered with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from duplexforge.converting.episode import Episode, Unreadable
from duplexforge.converting.published import DataSetFolder, shards
from tests.unit.converting.made import segment


def sample(episode: str, index: int, **changes: Any) -> dict[str, Any]:
    """What a published sample says."""
    row = segment(episode, index)
    about = {"episode_id": episode, "title": f"Title of {episode}", "url": None, "source": "feed", "licence": None}
    return {**{name: value for name, value in row.items() if name not in ("asr", "extra")}, **about, **changes}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keyed = [{"key": row["segment_id"], "shard": path.stem, **row} for row in rows]
    kinds = {"flags": pa.list_(pa.string()), "index": pa.int64(), "start": pa.float64(), "end": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in keyed[0]])
    pq.write_table(pa.Table.from_pylist(keyed, schema=schema), path)


def write_tar(path: Path, rows: list[dict[str, Any]], extra: Callable[[tarfile.TarFile], None] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for row in rows:
            for ending, body in (("mp3", b"\xff" * 100), ("json", json.dumps(row).encode())):
                member(tar, f"{row['segment_id']}.{ending}", body)
        if extra:
            extra(tar)


def member(tar: tarfile.TarFile, name: str, body: bytes, **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(body))


ROWS = {
    "data/en/train-000000": [sample("b", 0), sample("b", 1), sample("d", 0)],
    "data/en/train-000001": [sample("a", 0), sample("c", 0)],
    "data/de/train-000000": [sample("aa", 0, language="de")],
}


def names(found: list[Episode | Unreadable]) -> list[tuple[str, int]]:
    return [(one.episode_id, len(one.speech)) for one in found if isinstance(one, Episode)]


@pytest.mark.parametrize("kind", ["parquet", "tar", "both"])
def test_episodes_of_all_shards_by_id(tmp_path: Path, kind: str) -> None:
    for stem, rows in ROWS.items():
        if kind != "tar":
            write_parquet(tmp_path / f"{stem}.parquet", rows)
        if kind != "parquet":
            write_tar(tmp_path / f"{stem}.tar", rows)
    paths = shards(tmp_path)
    assert {path.suffix for path in paths} == {".tar" if kind == "tar" else ".parquet"}
    assert len(paths) == 3
    found = list(DataSetFolder(paths).episodes())
    assert names(found) == [("a", 1), ("aa", 1), ("b", 2), ("c", 1), ("d", 1)]
    assert isinstance(found[1], Episode)
    assert (found[1].language, found[1].title, found[1].duration) == ("de", "Title of aa", None)
    assert found[1].listener is None
    assert isinstance(found[2], Episode)
    assert [one.segments for one in found[2].speech] == [("b_000000",), ("b_000001",)]


def test_more_shards_than_are_kept_in_memory(tmp_path: Path) -> None:
    for number in range(20):
        rows = [sample(f"{letter}{number:02d}", 0) for letter in "ab"]
        write_parquet(tmp_path / f"train-{number:06d}.parquet", rows)
    found = names(list(DataSetFolder(shards(tmp_path)).episodes()))
    assert [name for name, _ in found] == [f"{letter}{number:02d}" for letter in "ab" for number in range(20)]


def test_a_folder_without_shards_has_none(tmp_path: Path) -> None:
    (tmp_path / "notes.tar").write_bytes(b"")
    assert shards(tmp_path) == []


def test_shards_that_are_none_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-000000.parquet", [sample("a", 0)])
    (tmp_path / "train-000001.parquet").write_bytes(b"PAR1 no parquet")
    (tmp_path / "train-000002.tar").write_bytes(b"\x00no tar\x00" * 100)
    pq.write_table(pa.table({"other": [1]}), tmp_path / "train-000003.parquet")
    found = list(DataSetFolder(shards(tmp_path)).episodes())
    broken = [one for one in found if isinstance(one, Unreadable)]
    assert [(one.episode_id, one.reason) for one in broken] == [
        (f"train-00000{n}", "bad_shard") for n in ("1.parquet", "2.tar", "3.parquet")
    ]
    assert names(found) == [("a", 1)]


def test_a_truncated_tar_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-000000.tar", [sample("a", n) for n in range(10)])
    whole = (tmp_path / "train-000000.tar").read_bytes()
    (tmp_path / "train-000000.tar").write_bytes(whole[:5000])
    [one] = DataSetFolder(shards(tmp_path)).episodes()
    assert isinstance(one, Unreadable)
    assert one.reason == "bad_shard"


def test_links_devices_and_paths_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(sample("secret", 0)))

    def hostile(tar: tarfile.TarFile) -> None:
        member(tar, "link.json", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.json"))
        member(tar, "hard.json", b"", type=tarfile.LNKTYPE, linkname="a_000000.json")
        member(tar, "device.json", b"", type=tarfile.CHRTYPE)
        member(tar, "../../outside.json", json.dumps(sample("b", 0)).encode())

    write_tar(tmp_path / "set" / "train-000000.tar", [sample("a", 0)], hostile)
    assert names(list(DataSetFolder(shards(tmp_path / "set")).episodes())) == [("a", 1), ("b", 1)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["secret.json", "train-000000.tar"]


@pytest.mark.parametrize("body", [b" " * (2 << 20), b"[1]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_members_that_are_no_samples_are_refused(tmp_path: Path, body: bytes) -> None:
    write_tar(tmp_path / "train-000000.tar", [sample("a", 0)], lambda tar: member(tar, "bad.json", body))
    [one] = DataSetFolder(shards(tmp_path)).episodes()
    assert isinstance(one, Unreadable)
    assert one.reason == "bad_shard"


def test_a_sample_without_what_it_must_have_is_refused(tmp_path: Path) -> None:
    lacking = {name: value for name, value in sample("a", 0).items() if name != "speaker"}
    write_tar(tmp_path / "train-000000.tar", [lacking, sample("b", 0)])
    first, second = DataSetFolder(shards(tmp_path)).episodes()
    assert isinstance(first, Unreadable)
    assert "speaker" in first.sentence
    assert isinstance(second, Episode)
