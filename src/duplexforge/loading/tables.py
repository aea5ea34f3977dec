"""The rows of an HF data set on disk, read with pyarrow alone: memory-mapped, one record batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

STATE = "state.json"


def table_files(folder: Path) -> list[Path]:
    """The Arrow files of a data set folder, in order; InputError when it is none."""
    try:
        state = json.loads((folder / STATE).read_bytes())
        return [folder / one["filename"] for one in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no data set on disk: {STATE} cannot be read", reason="corrupt") from error


def batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of one file, lying in the mapped file; InputError when it is damaged."""
    import pyarrow as pa

    try:
        with closing(pa.memory_map(str(path))) as file, pa.ipc.open_stream(file) as reader:
            yield from reader
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read: {error}", reason="corrupt") from error


def rows_of(folder: Path) -> Iterator[dict[str, Any]]:
    """All rows of a data set folder in order, as Python values; InputError when a file is damaged."""
    for path in table_files(folder):
        for batch in batches_of(path):
            yield from batch.to_pylist()
