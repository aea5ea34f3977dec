"""Data set folders as ``datasets.load_from_disk`` reads them, written with pyarrow alone and the same bytes every time.

A folder has Arrow stream files, ``dataset_info.json`` with the columns and ``state.json`` with the files' names. Rows go in
record batches of fixed size and into a new file before one grows too large, so that memory stays flat however long the
table is. The fingerprint, random elsewhere, is made of the content here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from duplexforge.loading.tables import table_files

FILE_BYTES = 500_000_000
"""A file ends once it holds so many bytes."""
BATCH_ROWS = 1_000
"""Rows of a record batch of a table without audio; a row with audio is a batch of its own."""

_INFO, _STATE = "dataset_info.json", "state.json"
_FINGERPRINT = 16


def features(schema: pa.Schema) -> dict[str, Any]:
    """The columns in the words of ``dataset_info.json``."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


class ArrowFolder:
    """Writes one data set folder; nothing reads it before :meth:`close`, which gives the files their names.

    Batches come with the columns of ``schema``. ``folder`` must not be there.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, file_bytes: int = FILE_BYTES) -> None:
        folder.mkdir(parents=True)
        self._folder, self._file_bytes = folder, file_bytes
        # Readers that meet a file without its folder find the columns here.
        described = json.dumps({"info": {"features": features(schema)}}, sort_keys=True)
        self._schema = schema.with_metadata({"huggingface": described})
        self._parts: list[Path] = []
        self._rows: list[int] = []
        self._begin()

    def _begin(self) -> None:
        part = self._folder / f"part-{len(self._parts):05d}"
        self._parts.append(part)
        self._rows.append(0)
        self._file = pa.OSFile(str(part), "wb")
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add one record batch, in a new file when the last one is full."""
        # Not behind the batch that filled it: the last file is never empty but when all are.
        if self._rows[-1] and self._file.tell() + batch.nbytes > self._file_bytes:
            self._end()
            self._begin()
        self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
        self._rows[-1] += batch.num_rows

    def _end(self) -> None:
        self._writer.close()
        self._file.close()

    def close(self) -> list[tuple[str, int]]:
        """End the last file and write what names them; name and rows of each."""
        self._end()
        files = []
        for number, part in enumerate(self._parts):
            name = f"data-{number:05d}-of-{len(self._parts):05d}.arrow"
            part.rename(self._folder / name)
            files.append(name)
        info = {"citation": "", "description": "", "features": features(self._schema), "homepage": "", "license": ""}
        (self._folder / _INFO).write_text(json.dumps(info, indent=2), encoding="utf-8")
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in files],
            "_fingerprint": self._fingerprint(files),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        (self._folder / _STATE).write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
        return list(zip(files, self._rows, strict=True))

    def _fingerprint(self, names: list[str]) -> str:
        digest = hashlib.sha256()
        for name in names:
            with (self._folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:_FINGERPRINT]

    def abandon(self) -> None:
        """Let go of the files after a failure; what lies there is of no use."""
        self._end()


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Write a stream file with a record batch for each row: rows with audio, of which two might not fit together."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for row in rows:
            writer.write_batch(pa.RecordBatch.from_pylist([row], schema=schema))


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of a stream file, one in memory at a time."""
    with closing(pa.memory_map(str(path))) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


class RowPlace(NamedTuple):
    """Where a record batch stands: its file, and the byte at which it begins."""

    path: Path
    start: int


def places_of(folder: Path) -> Iterator[tuple[RowPlace, pa.RecordBatch]]:
    """The record batches of a data set folder and their places. Of a batch only what is looked at is read."""
    for path in table_files(folder):
        with closing(pa.memory_map(str(path))) as file, pa.ipc.open_stream(file) as reader:
            while True:
                place = RowPlace(path, file.tell())
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                yield place, batch


def read_row(place: RowPlace) -> pa.RecordBatch:
    """The record batch at ``place``, read and not mapped: a page of a mapped file counts as memory until it is closed."""
    with pa.OSFile(str(place.path)) as file:
        schema = pa.ipc.open_stream(file).schema
        file.seek(place.start)
        return pa.ipc.read_record_batch(pa.ipc.read_message(file), schema)


class RowFolder:
    """A data set folder for small rows, which are gathered into record batches."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = ArrowFolder(folder, schema), schema
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self._waiting.append(row)
        if len(self._waiting) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._folder.write(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
            self._waiting.clear()

    def close(self) -> None:
        """Write the rest and what names the files."""
        self._flush()
        self._folder.close()

    def abandon(self) -> None:
        """Let go of the files after a failure."""
        self._folder.abandon()
