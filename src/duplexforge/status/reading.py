"""Reads the store's records for status: many at a time, in key order, never all in memory.

Nothing is skipped in silence. A record that cannot be read is noted as a difference, so a report about a damaged store
is still written and says what is damaged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of
from duplexforge.records import AudioRecord, LedgerEntry, Manifest, Record, parse
from duplexforge.status.snapshot import Difference
from duplexforge.storage import Store

_THREADS = 16
_AHEAD = 64
_EXAMPLES = 5
LEDGER_ENDING = ".published.json"

R = TypeVar("R", bound=Record)


class Differences:
    """Collects what does not add up, by kind, keeping the first few names of each."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def note(self, what: str, name: str) -> None:
        """Count ``name`` under the kind ``what``."""
        self._counts[what] = self._counts.get(what, 0) + 1
        examples = self._found.setdefault(what, [])
        if len(examples) < _EXAMPLES:
            examples.append(name)

    def all(self) -> tuple[Difference, ...]:
        """What was noted, in the order in which each kind was first seen."""
        return tuple(Difference(what, self._counts[what], tuple(names)) for what, names in self._found.items())


class Reader:
    """The records of one store below one layout. Iterators may be left early; each opens its own threads."""

    def __init__(self, store: Store, layout: Layout, differences: Differences) -> None:
        self._store, self._layout, self._differences = store, layout, differences

    def bodies(self, keys: Iterable[str], *, ahead: int = _AHEAD) -> Iterator[tuple[str, bytes]]:
        """Key and bytes of the objects that exist, in the order of ``keys``, at most ``ahead`` read in advance."""
        waiting: deque[tuple[str, Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(max_workers=min(_THREADS, ahead)) as pool:
            for key in keys:
                waiting.append((key, pool.submit(self._store.find, key)))
                if len(waiting) >= ahead:
                    yield from _arrived(*waiting.popleft())
            while waiting:
                yield from _arrived(*waiting.popleft())

    def names(self, stage: str, state: str) -> set[str]:
        """Ids of a queue's tasks that have a record in ``state`` (todo, completed, failed)."""
        return {name_of(meta.key) for meta in self._store.list(self._layout.queue_prefix(stage, state))}

    def raw_records(self) -> Iterator[AudioRecord]:
        """Records of downloaded episodes."""
        keys = (meta.key for meta in self._store.list(self._layout.raw) if meta.key.endswith(".json"))
        return self._records(AudioRecord, keys)

    def manifests(self) -> Iterator[Manifest]:
        """Committed manifests, found by folder: a listing of all segments of all episodes would be a hundredfold."""
        return self._records(Manifest, self.manifest_keys())

    def manifest_keys(self) -> Iterator[str]:
        """Where manifests are, or will be: one key for each folder of an episode."""
        for language in self._store.folders(self._layout.processed):
            for folder in self._store.folders(language):
                parts = folder.rstrip("/").rsplit("/", 2)
                try:
                    yield self._layout.manifest(parts[-2], parts[-1])
                except ValueError:
                    # The pipeline writes no such name, so nothing that it counts can be in there.
                    self._differences.note("A processed folder has a name that is no episode id", folder)

    def ledger(self) -> Iterator[LedgerEntry]:
        """Records of published batches."""
        keys = (meta.key for meta in self._store.list(self._layout.batches()) if meta.key.endswith(LEDGER_ENDING))
        return self._records(LedgerEntry, keys)

    def _records(self, model: type[R], keys: Iterable[str]) -> Iterator[R]:
        for key, body in self.bodies(keys):
            try:
                yield parse(model, body, key)
            except InputError as error:
                self._differences.note(f"A record cannot be read ({error.reason})", key)


def _arrived(key: str, future: Future[bytes | None]) -> Iterator[tuple[str, bytes]]:
    body = future.result()
    if body is not None:
        yield key, body
