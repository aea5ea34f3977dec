"""A set of ids that does not grow in memory: millions of them lie in a scratch file that goes when the set does."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

# Kibibytes of pages that stay in memory; the rest is the scratch file's, which the system caches as it can afford.
_CACHE_KIB = 32 * 1024
_CHUNK = 500


class IdSet:
    """Exact membership of strings in bounded memory. For one thread; use as a context manager or close it."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        # The empty name is a file that SQLite makes in the scratch folder and has unlinked already.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        # One transaction that is never committed: else every id would be written out by itself.
        self._file.execute("BEGIN")
        self.update(ids)

    def add(self, name: str) -> bool:
        """Add an id; True when it was not there."""
        return self._file.execute("INSERT OR IGNORE INTO ids VALUES (?)", (name,)).rowcount > 0

    def update(self, ids: Iterable[str]) -> None:
        """Add ids in a stream."""
        self._file.executemany("INSERT OR IGNORE INTO ids VALUES (?)", ((name,) for name in ids))

    def discard(self, ids: Iterable[str]) -> None:
        """Take ids out; those that are not there are no error."""
        self._file.executemany("DELETE FROM ids WHERE id = ?", ((name,) for name in ids))

    def __contains__(self, name: str) -> bool:
        return self._file.execute("SELECT 1 FROM ids WHERE id = ?", (name,)).fetchone() is not None

    def known(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that are in the set, asked for in few queries."""
        found: set[str] = set()
        waiting = iter(names)
        while chunk := list(itertools.islice(waiting, _CHUNK)):
            marks = ",".join("?" * len(chunk))
            rows = self._file.execute(f"SELECT id FROM ids WHERE id IN ({marks})", chunk)  # noqa: S608 - only marks
            found.update(name for (name,) in rows)
        return found

    def __len__(self) -> int:
        return int(self._file.execute("SELECT count(*) FROM ids").fetchone()[0])

    def __iter__(self) -> Iterator[str]:
        """The ids in order."""
        with closing(self._file.execute("SELECT id FROM ids ORDER BY id")) as rows:
            for (name,) in rows:
                yield name

    def close(self) -> None:
        """Give the scratch file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
