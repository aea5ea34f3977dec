"""Lists as rows: lines, CSV, JSON lines and JSON arrays, plain or gzipped, from a file, a pipe or standard input.

Everything is read as a stream but a JSON array, which has to be held whole and is refused above a size.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from duplexforge.downloading.entries import is_header
from duplexforge.downloading.markup import MAX_DOCUMENT
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError, UsageError

START = 4096
_MAX_JSON = 256 * 1024 * 1024
_MAX_LINE = 1 << 20
MAX_MARKUP = MAX_DOCUMENT
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

# (where it stands, its value)
Rows = Iterator[tuple[str, Any]]


@dataclass(frozen=True)
class Document:
    """An open list. ``name`` is for messages and says by its ending what it is; ``start`` is how it begins."""

    name: str
    ending: str
    start: bytes
    stream: io.BufferedReader

    def text(self) -> Iterator[str]:
        """Its lines. A line above a megabyte comes in pieces, so that one without an end is no memory."""
        first = True
        while raw := self.stream.readline(_MAX_LINE):
            yield raw.removeprefix(_BOM if first else b"").decode("utf-8", "replace")
            first = False

    def body(self, limit: int) -> bytes:
        """All of it. UsageError when that is more than ``limit`` bytes."""
        found = self.stream.read(limit + 1)
        if len(found) > limit:
            raise UsageError(f"{self.name} is too large to be read at once: write it as .jsonl, one object a line")
        return found


@contextmanager
def opened(path: Path | None) -> Iterator[Document]:
    """The document at ``path`` (None: standard input), unpacked when it is gzip. InputError when it is cut short."""
    name = "standard input" if path is None else str(path)
    try:
        with _raw(path) as raw:
            stream: io.BufferedReader = io.BufferedReader(cast("Any", raw), START)
            packed = stream.peek(2).startswith(_GZIP)
            if packed:
                stream = io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=stream)), START)
            yield Document(name, _ending(path, packed), _peek(stream), stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is a broken gzip file: {error}", reason="bad_record") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from error


def _raw(path: Path | None) -> io.RawIOBase:
    # The process keeps its standard input: the descriptor is not closed with the document.
    return io.FileIO(0, "rb", closefd=False) if path is None else io.FileIO(path, "rb")


def _peek(stream: io.BufferedReader) -> bytes:
    # A pipe gives what its writer has sent so far; the first piece is enough to tell a list from a feed.
    return stream.peek(START)[:START]


def _ending(path: Path | None, packed: bool) -> str:
    endings = [ending.lower() for ending in (path.suffixes if path else [])]
    if packed and endings and endings[-1] in (".gz", ".gzip"):
        endings.pop()
    return endings[-1] if endings else ""


def lines(document: Document) -> Rows:
    """The lines of a list of addresses, without blanks and comments."""
    for number, line in enumerate(document.text(), start=1):
        wanted = line.strip()
        if wanted and not wanted.startswith("#"):
            yield f"line {number}", wanted


def json_lines(document: Document, notes: SeedReport) -> Rows:
    """The values of JSON lines; a broken line is refused and the others go on."""
    for number, line in enumerate(document.text(), start=1):
        if not line.strip():
            continue
        try:
            yield f"entry {number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            notes.refuse(f"line {number}", InputError(f"not JSON: {error}", reason="bad_record"))


def json_list(document: Document) -> Rows:
    """The values of a JSON array, or of the ``entries`` of an object (``yt-dlp -J``). InputError when it is neither."""
    try:
        found = json.loads(document.body(_MAX_JSON).decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{document.name} is not JSON: {error}", reason="bad_record") from error
    if isinstance(found, dict) and isinstance(found.get("entries"), list):
        found = found["entries"]
    if not isinstance(found, list):
        raise InputError(f"{document.name} must hold a JSON list of URLs or of objects with a url", reason="bad_record")
    return ((f"entry {number}", value) for number, value in enumerate(found, start=1))


def csv_rows(document: Document, notes: SeedReport) -> Rows:
    """The rows of a table as objects. Its first row names the columns. InputError when none of them is known."""
    delimiter = "\t" if document.ending == ".tsv" else _delimiter(document.start)
    reader = csv.reader(document.text(), delimiter=delimiter)
    names = _next_row(reader, notes)
    if names is None or not is_header(names):
        told = "a first row that names a column url, audio_url, video_id or feed_url"
        raise InputError(f"{document.name} is no table that can be read: it wants {told}", reason="bad_record")
    while (row := _next_row(reader, notes)) is not None:
        if any(cell.strip() for cell in row):
            yield f"line {reader.line_num}", dict(zip(names, row, strict=False))


def _next_row(reader: Any, notes: SeedReport) -> list[str] | None:
    while True:
        try:
            row: list[str] | None = next(reader, None)
        except csv.Error as error:
            notes.refuse(f"line {reader.line_num}", InputError(f"not CSV: {error}", reason="bad_record"))
            continue
        return row


def _delimiter(start: bytes) -> str:
    head = start.split(b"\n", 1)[0]
    return max((",", ";", "\t", "|"), key=lambda sign: head.count(sign.encode()))
