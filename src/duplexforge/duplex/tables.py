"""The tables of a data set while it is built: ``storage``, and the index of each split beside it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from duplexforge.duplex.windows import Windows
from duplexforge.duplex.writing import ArrowFolder, RowFolder, read_batches
from duplexforge.loading.schema import SPLITS, STORAGE, StorageFile, storage_schema, window_schema


class Tables:
    """Takes built sides in the order of their session ids. Use as a context manager, and :meth:`close` at the end."""

    def __init__(self, out: Path, windows: Windows) -> None:
        self._windows = windows
        self._storage = ArrowFolder(out / STORAGE, storage_schema())
        self._indexes = {split: RowFolder(out / split, window_schema()) for split in SPLITS}
        self._sessions: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._storage.abandon()
            for index in self._indexes.values():
                index.abandon()

    def add(self, path: Path, session_id: str, split: str, chunks: int) -> int:
        """Move the row in the file ``path`` into storage and its windows into the index; how many windows it has."""
        for batch in read_batches(path):
            self._storage.write(batch)
        path.unlink()
        self._sessions.append(session_id)
        rows = list(self._windows.rows(session_id, chunks))
        for row in rows:
            self._indexes[split].write(row)
        return len(rows)

    def close(self) -> list[StorageFile]:
        """End all tables; which sides each file of storage holds."""
        for index in self._indexes.values():
            index.close()
        return list(_files(self._storage.close(), self._sessions))


def _files(written: Iterable[tuple[str, int]], sessions: Iterable[str]) -> Iterable[StorageFile]:
    rest = iter(sessions)
    for name, rows in written:
        if held := list(islice(rest, rows)):
            yield StorageFile(name=f"{STORAGE}/{name}", rows=rows, first=held[0], last=held[-1])
