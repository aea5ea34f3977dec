"""A memory of what was read: one short row for each manifest and each failed task, so that none is read twice.

Rows lie in a scratch file of SQLite, whose memory is bounded. What is there now comes as listings (cheap: a thousand keys
a request); only keys without a row are read, and rows without a key go. A manifest is never written again, so its key is
enough; a failure may be, so its tag counts too. Sums are queries, and exact after a purge or a revival.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from duplexforge import log
from duplexforge.layout import name_of
from duplexforge.records import Ended, Manifest
from duplexforge.status.overview import LONGEST, Done, Reason

_CACHE_KIB = 16 * 1024
_CHUNK = 1000
# A folder without a manifest is looked at again after a quarter of the time for which it had none, at the latest after this.
_REST = 3600.0
_MESSAGE = 200
_TABLES = """
CREATE TABLE episodes (key TEXT PRIMARY KEY, committed REAL, language TEXT, outcome TEXT, hours REAL, seconds TEXT)
  WITHOUT ROWID;
CREATE TABLE failures (key TEXT PRIMARY KEY, tag TEXT, stage TEXT, id TEXT, reason TEXT, message TEXT) WITHOUT ROWID;
CREATE TABLE absent (key TEXT PRIMARY KEY, since REAL, looked REAL, damaged INTEGER) WITHOUT ROWID;
CREATE TABLE listed (key TEXT PRIMARY KEY, tag TEXT) WITHOUT ROWID;
"""


class Tally:
    """Rows of manifests and failed tasks. For one thread; close it to give the scratch file back."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.executescript(_TABLES)
        self._file.execute("BEGIN")
        self.unsaved = 0
        """Rows that were read since the tally was last saved or loaded."""

    # -- keeping up ------------------------------------------------------------------------------------------------

    def manifests(
        self, keys: Iterable[str], read: Callable[[Iterable[str]], Iterator[tuple[str, Manifest | None]]], now: float
    ) -> None:
        """Bring the rows of manifests up to ``keys``, which may be folders without one; ``read`` gives None for damaged ones.

        ``now`` is in seconds of any clock that goes on.
        """
        self.begin()
        self._file.executemany("INSERT OR REPLACE INTO listed VALUES (?, '')", ((key,) for key in keys))
        for table in ("episodes", "absent"):
            self._file.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM listed)")  # noqa: S608
        wanted = (
            "SELECT key FROM listed WHERE key > ? AND key NOT IN (SELECT key FROM episodes) AND key NOT IN "
            "(SELECT key FROM absent WHERE looked + min((looked - since) / 4, ?) > ?) ORDER BY key LIMIT ?"
        )
        for page in self._pages(wanted, _REST, now, _CHUNK):
            # Rows at once: a thousand manifests with all their files would be much memory.
            rows = {key: _episode(key, manifest) if manifest else None for key, manifest in read(page)}
            self._file.executemany(
                "INSERT INTO absent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET looked = excluded.looked, "
                "damaged = excluded.damaged",
                ((key, now, now, key in rows) for key in page if rows.get(key) is None),
            )
            found = [row for row in rows.values() if row is not None]
            self._file.executemany("DELETE FROM absent WHERE key = ?", ((row[0],) for row in found))
            self._add("episodes", found)
            self.unsaved += len(found)
        self.begin()

    def begin(self) -> None:
        """Forget what a look saw that broke off."""
        self._file.execute("DELETE FROM listed")

    def saw(self, key: str, tag: str) -> None:
        """There is a record of a failed task; ``tag`` is another one when it was written again."""
        self._file.execute("INSERT OR REPLACE INTO listed VALUES (?, ?)", (key, tag))

    def failed(self, read: Callable[[Iterable[str]], Iterator[tuple[str, Ended | None]]]) -> None:
        """Bring the rows of failed tasks up to those that were seen; ``read`` gives None for damaged records."""
        self._file.execute(
            "DELETE FROM failures WHERE NOT EXISTS "
            "(SELECT 1 FROM listed WHERE listed.key = failures.key AND listed.tag = failures.tag)"
        )
        wanted = "SELECT key FROM listed WHERE key > ? AND key NOT IN (SELECT key FROM failures) ORDER BY key LIMIT ?"
        for page in self._pages(wanted, _CHUNK):
            rows = [_failure(key, self._tag(key), record) for key, record in read(page)]
            self._add("failures", rows)
            self.unsaved += len(rows)
        self.begin()

    def _pages(self, query: str, *values: Any) -> Iterator[list[str]]:
        """Keys in pages, each asked for only when the last one is dealt with: the tables may change in between."""
        last = ""
        while page := [str(key) for (key,) in self._file.execute(query, (last, *values))]:
            yield page
            last = page[-1]

    def _tag(self, key: str) -> str:
        return str(self._file.execute("SELECT tag FROM listed WHERE key = ?", (key,)).fetchone()[0])

    def _add(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = {"episodes": "?, ?, ?, ?, ?, ?", "failures": "?, ?, ?, ?, ?, ?", "absent": "?, ?, ?, ?"}[table]
        self._file.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608

    # -- sums ------------------------------------------------------------------------------------------------------

    def done(self, now: float) -> dict[str, Done]:
        """Processed audio by language, the one with most hours first; windows end at ``now`` (Unix time)."""
        query = (
            "SELECT language, count(*), total(hours), "
            "sum(committed >= ?1), total(hours * (committed >= ?1)), "
            "sum(committed >= ?2), total(hours * (committed >= ?2)) "
            "FROM episodes GROUP BY language ORDER BY total(hours) DESC, language"
        )
        rows = self._file.execute(query, (now - 3600, now - LONGEST))
        return {row[0]: Done(row[1], row[2], row[3] or 0, row[4], row[5] or 0, row[6]) for row in rows}

    def outcomes(self) -> dict[str, int]:
        """Episodes by outcome."""
        rows = self._file.execute(
            "SELECT outcome, count(*) FROM episodes GROUP BY outcome ORDER BY count(*) DESC, outcome"
        )
        return {str(name): int(count) for name, count in rows}

    def seconds(self) -> dict[str, float]:
        """Computing seconds by stage of the pipeline, the longest first."""
        rows = self._file.execute(
            "SELECT each.key, total(each.value) AS spent FROM episodes, json_each(episodes.seconds) AS each "
            "GROUP BY each.key ORDER BY spent DESC"
        )
        return {str(stage): float(spent) for stage, spent in rows}

    def reasons(self) -> tuple[Reason, ...]:
        """Failed tasks by stage and reason, the most frequent first."""
        # SQLite takes the other columns from the row that has the minimum.
        rows = self._file.execute(
            "SELECT stage, reason, count(*), min(id), message FROM failures GROUP BY stage, reason "
            "ORDER BY stage, count(*) DESC, reason"
        )
        return tuple(Reason(*row) for row in rows)

    @property
    def damaged(self) -> int:
        """Manifests that are there and cannot be read."""
        return int(self._file.execute("SELECT total(damaged) FROM absent").fetchone()[0])

    # -- keeping it ------------------------------------------------------------------------------------------------

    def rows(self) -> Iterator[list[Any]]:
        """Everything that was read, for :meth:`load`."""
        for table in ("episodes", "failures"):
            for row in self._file.execute(f"SELECT * FROM {table}"):  # noqa: S608
                yield [table, *row]

    def load(self, rows: Iterable[list[Any]]) -> None:
        """Take rows that were saved. ValueError when they make no sense; some of them may have been taken then."""
        try:
            for table, *row in rows:
                if table == "episodes":
                    json.loads(row[5])
                elif table != "failures":
                    raise ValueError(f"no table {table!r}")
                self._add(table, [tuple(row)])
        except (sqlite3.Error, TypeError, IndexError) as error:
            raise ValueError(str(error)) from error

    def clear(self) -> None:
        """Forget everything."""
        for table in ("episodes", "failures", "absent"):
            self._file.execute(f"DELETE FROM {table}")  # noqa: S608

    def close(self) -> None:
        """Give the scratch file back."""
        self._file.close()


def _episode(key: str, manifest: Manifest) -> tuple[Any, ...]:
    try:
        committed: float | None = datetime.fromisoformat(manifest.committed_at).timestamp()
    except ValueError:  # counted, but in no window
        committed = None
    seconds = json.dumps({stage: spent for stage, spent in manifest.seconds.items() if math.isfinite(spent)})
    hours = manifest.hours.source if math.isfinite(manifest.hours.source) else None
    return key, committed, manifest.language, manifest.outcome, hours, seconds


def _failure(key: str, tag: str, record: Ended | None) -> tuple[Any, ...]:
    stage, name = key.rsplit("/", 2)[-2].removesuffix("_failed"), name_of(key)
    if record is None:
        return key, tag, stage, name, "unreadable", "the record of the failure cannot be read"
    message = " ".join(log.redact(record.message or "").split())[:_MESSAGE]
    return key, tag, stage, record.id, record.reason or "unknown", message
