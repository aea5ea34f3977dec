"""Data set folders: datasets opens them, bytes repeat, files end in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Features, load_from_disk
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.duplex import writing
from duplexforge.duplex.windows import Windows
from duplexforge.duplex.writing import ArrowFolder, RowFolder, features, read_batches, write_rows
from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import storage_schema, window_schema
from tests.unit.duplex.building import tree


def _row(number: int) -> dict[str, Any]:
    vector = [0.5 + number] * 192 if number % 2 else None
    given = {"session_id": f"s{number}", "user_audio": bytes(100), "chunks": number, "speaker_embedding": vector}
    return {**dict.fromkeys(storage_schema().names), **given, "flags": ["one", "two"][: number % 3]}


def _storage(folder: Path, rows: int, file_bytes: int) -> list[tuple[str, int]]:
    part = folder.with_suffix(".rows")
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


# -- windows -----------------------------------------------------------------------------------------------------------


@given(chunks=st.integers(1, 400), length=st.integers(1, 60), shared=st.integers(0, 59))
def test_windows_cover_the_side_and_share_what_they_should(chunks: int, length: int, shared: int) -> None:
    if shared >= length:
        return
    windows = Windows.of(length * 0.32, shared * 0.32, DuplexFormat())
    whole, *rest = windows.chunks(chunks)
    assert whole == (0, chunks)
    if chunks <= length:
        assert not rest
        return
    assert rest[0] == (0, length)
    assert rest[-1][1] == chunks
    assert {end - start for start, end in rest[:-1]} == {length}
    assert 1 <= rest[-1][1] - rest[-1][0] <= length
    for before, after in zip(rest, rest[1:], strict=False):
        assert before[1] - after[0] == shared
        assert after[1] > before[1]
    rows = list(windows.rows("a--b", chunks))
    assert [row["seq_id"] for row in rows] == list(range(len(rest) + 1))
    assert [(row["start_sample"], row["end_sample"]) for row in rows[1:]] == [(a * 5120, b * 5120) for a, b in rest]


def test_windows_are_taken_to_the_nearest_chunk() -> None:
    windows = Windows.of(4.0, 1.0, DuplexFormat())
    assert (windows.length, windows.length - windows.step) == (12, 3)
    assert list(Windows.of(None, 0.0, DuplexFormat()).chunks(9)) == [(0, 9)]


@pytest.mark.parametrize(
    ("window", "overlap", "told"),
    [
        (None, 1.0, "--overlap wants --window"),
        (0.0, 0.0, "more than 0 seconds"),
        (-1.0, 0.0, "more than 0 seconds"),
        (float("nan"), 0.0, "more than 0 seconds"),
        (float("inf"), 0.0, "more than 0 seconds"),
        (4.0, -1.0, "0 or more"),
        (0.1, 0.0, "at least one chunk of 0.32 s"),
        (4.0, 4.0, "less than --window"),
        (4.0, 3.9, "less than --window"),
    ],
)
def test_windows_that_cannot_be(window: float | None, overlap: float, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Windows.of(window, overlap, DuplexFormat())
