"""A stream in random order, whatever its length: the items wait in a scratch file, not in memory."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from duplexforge.records import DownloadTask


def shuffled(tasks: Iterable[DownloadTask], seed: int | None) -> Iterator[DownloadTask]:
    """``tasks`` in random order; the same ``seed`` gives the same order of the same tasks (None: another each time)."""
    chance = random.Random(seed)
    # The empty name is a file that SQLite unlinks at once, as in ``IdSet``.
    with closing(sqlite3.connect("", isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = OFF")
        file.execute("CREATE TABLE waiting (place REAL, number INTEGER, body TEXT)")
        file.execute("BEGIN")
        rows = ((chance.random(), number, task.model_dump_json(exclude_none=True)) for number, task in enumerate(tasks))
        file.executemany("INSERT INTO waiting VALUES (?, ?, ?)", rows)
        file.execute("CREATE INDEX places ON waiting (place, number)")
        for (body,) in file.execute("SELECT body FROM waiting ORDER BY place, number"):
            yield DownloadTask.model_validate_json(body)
