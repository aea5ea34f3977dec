"""The tables while they grow: rows in the order they came, windows in the split of their side, files that are known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from duplexforge.duplex import writing
from duplexforge.duplex.tables import Tables
from duplexforge.duplex.windows import Windows
from duplexforge.duplex.writing import places_of, read_row, write_rows
from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import SPLITS, StorageFile, storage_schema
from duplexforge.loading.tables import rows_of


def _file(folder: Path, name: str, chunks: int, size: int = 100) -> Path:
    path = folder / f"{name}.arrow"
    given: dict[str, Any] = {"session_id": name, "chunks": chunks, "user_audio": bytes(size)}
    write_rows(path, [{**dict.fromkeys(storage_schema().names), **given}], storage_schema())
    return path


def _fill(out: Path, folder: Path, windows: Windows, sides: list[tuple[str, str, int]], size: int = 100) -> Any:
    folder.mkdir(exist_ok=True)
    with Tables(out, windows) as tables:
        shown = [tables.add(_file(folder, name, chunks, size), name, split, chunks) for name, split, chunks in sides]
        return shown, tables.close()


def test_windows_stand_in_the_split_of_their_side(tmp_path: Path) -> None:
    windows = Windows.of(0.64, 0.32, DuplexFormat())
    sides = [("a--x", "train", 1), ("a--y", "train", 4), ("b--z", "test", 3)]
    shown, files = _fill(tmp_path / "out", tmp_path / "work", windows, sides)
    assert shown == [1, 4, 3]
    assert files == [StorageFile(name="storage/data-00000-of-00001.arrow", rows=3, first="a--x", last="b--z")]
    found = {split: list(rows_of(tmp_path / "out" / split)) for split in SPLITS}
    assert [(row["session_id"], row["seq_id"]) for row in found["train"]] == [
        ("a--x", 0), ("a--y", 0), ("a--y", 1), ("a--y", 2), ("a--y", 3),
    ]  # fmt: skip
    assert [(row["start_sample"] // 5120, row["end_sample"] // 5120) for row in found["test"]] == [
        (0, 3), (0, 2), (1, 3),
    ]  # fmt: skip
    assert found["validation"] == []
    assert list((tmp_path / "work").iterdir()) == []


def test_each_file_says_which_sides_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.ArrowFolder.__init__, "__kwdefaults__", {"file_bytes": 25_000})
    sides = [(f"s{number}", "train", 2) for number in range(7)]
    _, files = _fill(tmp_path / "out", tmp_path / "work", Windows.of(None, 0, DuplexFormat()), sides, 9000)
    assert len(files) > 2
    assert sum(one.rows for one in files) == 7
    for one, following in pairwise(files):
        assert one.first <= one.last < following.first
    assert [row["session_id"] for row in rows_of(tmp_path / "out" / "storage")] == [name for name, *_ in sides]


def test_rows_are_found_again_at_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.ArrowFolder.__init__, "__kwdefaults__", {"file_bytes": 25_000})
    sides = [(f"s{number}", "train", number) for number in range(1, 8)]
    _fill(tmp_path / "out", tmp_path / "work", Windows.of(None, 0, DuplexFormat()), sides, 9000)
    places = [place for place, _ in places_of(tmp_path / "out" / "storage")]
    assert len({place.path for place in places}) > 2
    # In any order, each for itself.
    found = [read_row(place).to_pylist()[0] for place in reversed(places)]
    assert [row["chunks"] for row in found] == list(range(7, 0, -1))
    assert found == list(rows_of(tmp_path / "out" / "storage"))[::-1]


def test_a_table_that_was_given_up_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Tables(tmp_path, Windows.of(None, 0, DuplexFormat())):
        raise KeyboardInterrupt
    for name in ("storage", *SPLITS):
        with pytest.raises(InputError, match="is no data set on disk"):
            list(rows_of(tmp_path / name))


def test_without_sides_there_is_no_file_to_name(tmp_path: Path) -> None:
    assert _fill(tmp_path / "out", tmp_path / "work", Windows.of(None, 0, DuplexFormat()), []) == ([], [])
    assert list(rows_of(tmp_path / "out" / "storage")) == []
