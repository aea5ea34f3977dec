"""The tally as an object in the store: whoever looks next begins with it, in another pod or on a laptop.

It is a memory and nothing more. Two that write it at once do no harm (either is right), one that is damaged or of another
version is ignored, and a store that only lets us read is no reason to stop.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from duplexforge import log
from duplexforge.errors import DuplexforgeError
from duplexforge.layout import Layout
from duplexforge.status.tally import Tally
from duplexforge.storage import Store

WORTH = 500
"""Rows that are worth writing the tally for; what is fewer is read again by the next look."""

_VERSION = 1
_NAME = "tally.jsonl.gz"


def load(tally: Tally, store: Store, layout: Layout) -> None:
    """Fill an empty tally with what was saved, if anything. Raises StoreError."""
    with tempfile.TemporaryDirectory(prefix="duplexforge-") as folder:
        path = Path(folder) / _NAME
        try:
            store.download(layout.tally(), path)
        except FileNotFoundError:
            return
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                tally.load(_rows(file, layout))
        except (OSError, EOFError, ValueError) as error:
            tally.clear()
            log.get("status").warning("the saved tally is of no use: all is read again", error=str(error))


def _rows(file: TextIO, layout: Layout) -> Iterator[list[Any]]:
    head = json.loads(next(file, "null"))
    if head != _head(layout):
        raise ValueError("another version or prefix")
    for line in file:
        row = json.loads(line)
        if not isinstance(row, list):
            raise ValueError("a row is no list")
        yield row


def _head(layout: Layout) -> dict[str, Any]:
    return {"version": _VERSION, "processed": layout.processed}


def save(tally: Tally, store: Store, layout: Layout, *, worth: int = WORTH) -> bool:
    """Write the tally when it has ``worth`` new rows. False when it was not worth it, or the store did not take it."""
    if tally.unsaved < worth:
        return False
    with tempfile.TemporaryDirectory(prefix="duplexforge-") as folder:
        path = Path(folder) / _NAME
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=4) as file:
            file.write(json.dumps(_head(layout)) + "\n")
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in tally.rows())
        try:
            store.upload(path, layout.tally())
        except DuplexforgeError as error:
            log.get("status").warning("the tally was not saved: the next one reads all again", error=str(error))
            return False
    tally.unsaved = 0
    return True
