"""Data set folders: datasets opens them, bytes repeat, files end in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Features, load_from_disk

from duplexforge.duplex import writing
from duplexforge.duplex.writing import ArrowFolder, RowFolder, features, read_batches, write_rows
from duplexforge.loading.schema import storage_schema, window_schema
from tests.unit.duplex.building import tree


def _row(number: int) -> dict[str, Any]:
    vector = [0.5 + number] * 192 if number % 2 else None
    given = {"session_id": f"s{number}", "user_audio": bytes(100), "chunks": number, "speaker_embedding": vector}
    return {**dict.fromkeys(storage_schema().names), **given, "flags": ["one", "two"][: number % 3]}


def _storage(folder: Path, rows: int, file_bytes: int) -> list[tuple[str, int]]:
    part = folder.with_suffix(".rows")
    part.parent.mkdir(exist_ok=True)
    write_rows(part, map(_row, range(rows)), storage_schema())
    table = ArrowFolder(folder, storage_schema(), file_bytes=file_bytes)
    for batch in read_batches(part):
        table.write(batch)
    return table.close()


@pytest.mark.parametrize("schema", [storage_schema(), window_schema()])
def test_columns_are_described_as_datasets_describes_them(schema: pa.Schema) -> None:
    assert Features.from_dict(features(schema)) == Features.from_arrow_schema(schema)


def test_rows_come_back_from_several_files(tmp_path: Path) -> None:
    files = _storage(tmp_path / "storage", 7, 6000)
    assert len(files) > 2
    assert sum(rows for _, rows in files) == 7
    assert all(rows for _, rows in files)
    assert [name for name, _ in files] == [f"data-{n:05d}-of-{len(files):05d}.arrow" for n in range(len(files))]
    loaded = load_from_disk(str(tmp_path / "storage"))
    assert loaded["session_id"][:] == [f"s{number}" for number in range(7)]
    assert loaded[2]["speaker_embedding"] is None
    assert loaded[3]["speaker_embedding"] == [3.5] * 192
    assert loaded[2]["flags"] == ["one", "two"]
    assert not any(path.name.startswith("part") for path in (tmp_path / "storage").iterdir())


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _storage(tmp_path / name / "storage", 5, 4000)
    assert tree(tmp_path / "a" / "storage") == tree(tmp_path / "b" / "storage")
    _storage(tmp_path / "c" / "storage", 4, 4000)
    known = [load_from_disk(str(tmp_path / name / "storage"))._fingerprint for name in "abc"]
    assert known[0] == known[1] != known[2]


def test_an_empty_table_can_be_opened(tmp_path: Path) -> None:
    RowFolder(tmp_path / "test", window_schema()).close()
    loaded = load_from_disk(str(tmp_path / "test"))
    assert len(loaded) == 0
    assert loaded.column_names == ["session_id", "seq_id", "start_sample", "end_sample"]


def test_small_rows_go_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH_ROWS", 4)
    folder = RowFolder(tmp_path / "train", window_schema())
    for number in range(10):
        folder.write({"session_id": "a", "seq_id": number, "start_sample": 0, "end_sample": 1})
    folder.close()
    batches = list(read_batches(tmp_path / "train" / "data-00000-of-00001.arrow"))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    assert load_from_disk(str(tmp_path / "train"))["seq_id"][:] == list(range(10))


def test_a_given_up_table_is_no_data_set(tmp_path: Path) -> None:
    folder = RowFolder(tmp_path / "train", window_schema())
    folder.abandon()
    with pytest.raises(FileNotFoundError):
        load_from_disk(str(tmp_path / "train"))
