"""Dumps of a directory: which feeds are taken, and that the rest is counted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.dump import dump_feeds
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.opml import Outline
from duplexforge.errors import InputError

COLUMNS = "id INTEGER PRIMARY KEY, url, title, language, itunesAuthor, dead, episodeCount, explicit"


def write(path: Path, rows: list[tuple[Any, ...]], columns: str = COLUMNS) -> Path:
    """A dump with these rows."""
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"CREATE TABLE podcasts ({columns})")
        file.executemany(f"INSERT INTO podcasts VALUES ({','.join('?' * (columns.count(',') + 1))})", rows)
        file.commit()
    return path


def read(path: Path, language: str = "unknown", limit: int | None = None) -> tuple[list[Outline], SeedReport]:
    """Feeds and notes."""
    notes = SeedReport()
    return list(dump_feeds(path, language=language, limit=limit, notes=notes)), notes


ROWS: list[tuple[Any, ...]] = [
    (1, "https://a.example/1.xml", "One", "en-us", "A", 0, 12, 0),
    (2, "https://a.example/2.xml", "Two", "de", "A", 1, 12, 0),
    (3, "https://a.example/3.xml", "Three", "DE-at", "A", "0", 12, 1),
    (4, "https://a.example/4.xml", "Four", None, None, None, None, None),
    (5, "https://a.example/5.xml", "Five", "de", "A", 0, 0, 0),
    (6, "file:///etc/passwd", "Evil", "de", "A", 0, 3, 0),
    (7, None, None, "de", "A", 0, 3, 0),
]


def test_living_feeds_are_taken_and_the_rest_counted(tmp_path: Path) -> None:
    feeds, notes = read(write(tmp_path / "dump.db", ROWS))
    assert [feed.title for feed in feeds] == ["One", "Three", "Four"]
    assert notes.left_out == {"dead_feed": 1, "empty_feed": 1, "refused": 2}
    assert len(feeds) + notes.left_out.total() == len(ROWS)


def test_a_language_is_a_filter(tmp_path: Path) -> None:
    feeds, notes = read(write(tmp_path / "dump.db", ROWS), "de")
    assert [feed.title for feed in feeds] == ["Three"]
    assert notes.left_out["language"] == 2


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    feeds, notes = read(write(tmp_path / "dump.db", ROWS), limit=2)
    assert [feed.title for feed in feeds] == ["One", "Three"]
    assert notes.left_out["beyond_max_feeds"] == 1


def test_only_the_address_must_be_there(tmp_path: Path) -> None:
    feeds, _ = read(write(tmp_path / "dump.db", [("https://a.example/1.xml",)], "URL"))
    assert feeds == [Outline("https://a.example/1.xml")]


def test_a_dump_is_never_written_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a dump?.db", ROWS)
    path.chmod(0o400)
    before = path.read_bytes()
    read(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("body", [b"", b"SQLite format 3\0", b"SQLite format 3\0" + b"x" * 5000])
def test_what_is_no_dump_is_said_so(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "dump.db"
    path.write_bytes(body)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.reason == "bad_record"


def test_another_database_is_said_so(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "dump.db")) as file:
        file.execute("CREATE TABLE other (url)")
    with pytest.raises(InputError, match="no table podcasts"):
        read(tmp_path / "dump.db")


VALUE = (
    st.none()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=30)
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(VALUE, VALUE, VALUE, VALUE, VALUE), max_size=6))
def test_any_row_is_taken_or_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]) -> None:
    path = write(tmp_path_factory.mktemp("fuzz") / "d.db", rows, "url, title, language, dead, episodeCount")
    with closing(sqlite3.connect(path)) as file:
        for number, raw in enumerate([b"\xff\xfe", b"http://\xff/"]):
            file.execute("INSERT INTO podcasts VALUES (CAST(? AS TEXT), ?, 'en', 0, 1)", (raw, f"bad {number}"))
        file.commit()
    feeds, notes = read(path)
    assert len(feeds) + notes.left_out.total() == len(rows) + 2
    assert all(feed.url.startswith("http") for feed in feeds)
