"""Lists as rows: every kind of file, gzipped or piped, streams that do not grow, and rubbish that stops nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading import tables
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError, UsageError


def rows_of(path: Path, how: str) -> tuple[list[Any], SeedReport]:
    """The values of a document, read one way."""
    notes = SeedReport()
    with tables.opened(path) as document:
        rows = {
            "lines": lambda: tables.lines(document),
            "jsonl": lambda: tables.json_lines(document, notes),
            "json": lambda: tables.json_list(document),
            "csv": lambda: tables.csv_rows(document, notes),
        }[how]()
        return [value for _, value in rows], notes


def test_lines_leave_blanks_and_comments_out(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\n # two\n  three  \n\xff")
    assert rows_of(path, "lines")[0] == ["one", "three", "\ufffd"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'URL,Title\nhttps://a.example/1.mp3,"One, or\n two"\n\n,\nhttps://a.example/2.mp3,Two,more\n'),
        ("t.csv", "url;title\nhttps://a.example/1.mp3;One, or\\n two\nhttps://a.example/2.mp3;Two\n"),
        ("t.tsv", "audio-url\ttitle\nhttps://a.example/1.mp3\tOne\nhttps://a.example/2.mp3\tTwo\n"),
        ("t", "video_id|x\ndQw4w9WgXcQ|1\ndQw4w9WgXcZ|2\n"),
    ],
)
def test_tables_of_every_tongue(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, newline="")
    rows, notes = rows_of(path, "csv")
    assert len(rows) == 2
    assert notes.refused == []
    assert all(isinstance(row, dict) and len(row) == 2 for row in rows)


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "https://a.example/1.mp3\n", "\x00"])
def test_a_table_without_a_known_column_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="names a column"):
        rows_of(tmp_path / "t.csv", "csv")


def test_a_broken_row_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    giant = "x" * (csv.field_size_limit() + 1)
    (tmp_path / "t.csv").write_text(f"url\nhttps://a.example/1.mp3\n{giant}\nhttps://a.example/2.mp3\n")
    rows, notes = rows_of(tmp_path / "t.csv", "csv")
    assert [row["url"][-5:] for row in rows] == ["1.mp3", "2.mp3"]
    assert notes.left_out == {"bad_record": 1}


def test_gzip_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    body = b'{"url": "https://a.example/1.mp3"}\n' * 3
    for name in ("list.jsonl.gz", "list.jsonl"):
        (tmp_path / name).write_bytes(gzip.compress(body))
        with tables.opened(tmp_path / name) as document:
            assert document.ending == ".jsonl"
            assert document.start.startswith(b"{")
        assert len(rows_of(tmp_path / name, "jsonl")[0]) == 3


def test_a_gzip_that_is_cut_short_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(50_000).hex().encode())[:-100])
    with pytest.raises(InputError, match="broken gzip"):
        rows_of(path, "lines")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = [f"https://a.example/{number}.mp3" for number in range(5000)]
    writer = threading.Thread(target=lambda: path.write_text("\n".join(lines)))
    writer.start()
    assert rows_of(path, "lines")[0] == lines
    writer.join()


@pytest.mark.parametrize("body", ['["a", 1]', '{"entries": ["a", 1], "title": "yt-dlp -J"}', '\ufeff [\n "a",1]'])
def test_json_lists(tmp_path: Path, body: str) -> None:
    (tmp_path / "l.json").write_text(body, encoding="utf-8")
    assert rows_of(tmp_path / "l.json", "json")[0] == ["a", 1]


def test_a_json_list_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MAX_JSON", 10)
    (tmp_path / "l.json").write_text('["0123456789"]')
    with pytest.raises(UsageError, match="jsonl"):
        rows_of(tmp_path / "l.json", "json")


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"), tables.opened(tmp_path / "none"):
        pass


def test_a_long_list_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("w") as file:
        file.write("url,title\n")
        file.writelines(f"https://a.example/{number}.mp3,Title {number}\n" for number in range(30_000))
    tracemalloc.start()
    with tables.opened(path) as document:
        count = sum(1 for _ in tables.csv_rows(document, SeedReport()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 500_000 < path.stat().st_size


def test_a_line_without_an_end_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"x" * 5_000_000)
    assert max(len(line) for line in rows_of(path, "lines")[0]) <= 1 << 20


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    notes = SeedReport()
    for prefix, how in ((b"", tables.json_lines), (b"url,title\n", tables.csv_rows)):
        document = tables.Document("x", "", (prefix + body)[:20], io.BufferedReader(io.BytesIO(prefix + body)))  # type: ignore[type-var]
        for place, _ in how(document, notes):
            assert place.startswith(("line", "entry"))


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["url", "title"]), st.text(st.characters(exclude_categories=["Cs"])), min_size=2
        )
    )
)
def test_what_a_table_holds_comes_back(rows: list[dict[str, str]]) -> None:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, ["url", "title"])
    table.writeheader()
    table.writerows(rows)
    body = file.getvalue().encode()
    document = tables.Document("x", ".csv", body[:9], io.BufferedReader(io.BytesIO(body)))  # type: ignore[type-var]
    read = [value for _, value in tables.csv_rows(document, SeedReport())]
    assert read == [row for row in rows if any(cell.strip() for cell in row.values())]


def test_json_lines_and_lists_agree(tmp_path: Path) -> None:
    values: list[Any] = ["a", {"url": "b"}, 17, None, [1]]
    (tmp_path / "l.json").write_text(json.dumps(values))
    (tmp_path / "l.jsonl").write_text("\n".join(json.dumps(value) for value in values))
    assert rows_of(tmp_path / "l.json", "json")[0] == rows_of(tmp_path / "l.jsonl", "jsonl")[0] == values
