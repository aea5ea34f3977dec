"""Batch definitions and the ledger: which episodes stand in which batch, and which batches are published.

A definition is frozen: it is created if absent and never written again. A ledger entry beside it says that its shard is
in the data set. Both are the only memory of the upload role.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from duplexforge.errors import InputError
from duplexforge.layout import Layout, language_subtag, name_of, shard_stem
from duplexforge.records import BatchLine, LedgerEntry, parse
from duplexforge.storage import Store

_DEFINITION = ".jsonl"
_ENTRY = ".published.json"
_THREADS = 8


class BatchId(NamedTuple):
    """``<language>-<number>``, such as ``en-000007``; the number is also the shard's."""

    language: str
    number: int

    def __str__(self) -> str:
        return f"{self.language}-{self.number:06d}"

    @property
    def stem(self) -> str:
        """Path of the shard inside the data set, without its ending."""
        return shard_stem(self.language, self.number)

    @classmethod
    def read(cls, text: str) -> BatchId:
        """The id written as ``text``; InputError(``bad_record``) when it is none."""
        language, _, number = text.rpartition("-")
        if not (number.isascii() and number.isdigit()) or language_subtag(language) != language:
            raise InputError(f"{text[:80]!r} is not a batch id such as en-000007", reason="bad_record")
        found = cls(language, int(number))
        if str(found) != text:
            raise InputError(f"{text[:80]!r} is not a batch id such as en-000007", reason="bad_record")
        return found


class Batch(NamedTuple):
    """A batch definition: its id and its episodes in order."""

    id: BatchId
    lines: list[BatchLine]

    def without(self, episodes: Container[str]) -> Batch:
        """The batch as it is published once ``episodes`` were purged; nothing may be left of it."""
        return Batch(self.id, [line for line in self.lines if line.episode_id not in episodes])


def batch_id(layout: Layout, key: str) -> BatchId:
    """The id of the batch that ``key`` defines; InputError(``bad_record``) for any other key."""
    name = key.removeprefix(layout.batches())
    found = BatchId.read(name.removeprefix("batch_").removesuffix(_DEFINITION))
    if layout.batch(str(found)) != key:
        raise InputError(f"{key[:200]!r} is not the key of a batch definition", reason="bad_record")
    return found


def read_batch(store: Store, layout: Layout, batch: BatchId) -> Batch:
    """A definition. InputError: ``input_missing`` when there is none, ``bad_record`` when it makes no sense."""
    key = layout.batch(str(batch))
    body = store.find(key)
    if body is None:
        raise InputError(f"the batch definition {key} is not in the store", reason="input_missing")
    lines = [parse(BatchLine, line, key) for line in body.splitlines() if line.strip()]
    if not lines or len({line.episode_id for line in lines}) != len(lines):
        raise InputError(f"the batch definition {key} is empty or names an episode twice", reason="bad_record")
    return Batch(batch, lines)


def definition(lines: list[BatchLine]) -> bytes:
    """The bytes of a batch definition: one JSON line an episode."""
    return b"".join(line.model_dump_json(exclude_none=True).encode() + b"\n" for line in lines)


def batches(store: Store, layout: Layout) -> Iterator[Batch]:
    """All definitions in order of id."""
    ids = sorted(batch_id(layout, key) for key in _keys(store, layout, _DEFINITION))
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        yield from pool.map(lambda batch: read_batch(store, layout, batch), ids)


def batch_ids(store: Store, layout: Layout) -> list[str]:
    """Ids of all definitions in order, by listing alone."""
    return [str(batch_id(layout, key)) for key in _keys(store, layout, _DEFINITION)]


def purged_ids(store: Store, layout: Layout) -> set[str]:
    """Ids of the episodes that were taken out of the data set, by listing alone."""
    return {name_of(meta.key) for meta in store.list(layout.purges())}


def live_batch(store: Store, layout: Layout, batch: BatchId) -> Batch:
    """A definition without the episodes that were purged: what its shard is made of."""
    return read_batch(store, layout, batch).without(purged_ids(store, layout))


def published_ids(store: Store, layout: Layout) -> set[str]:
    """Ids of the batches that have a ledger entry, by listing alone."""
    prefix = f"{layout.batches()}batch_"
    return {key.removeprefix(prefix).removesuffix(_ENTRY) for key in _keys(store, layout, _ENTRY)}


def _keys(store: Store, layout: Layout, ending: str) -> list[str]:
    return [meta.key for meta in store.list(layout.batches()) if meta.key.endswith(ending)]


class Ledger:
    """The ledger entries; one is read again only when it was written again."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self._read: dict[str, tuple[str, LedgerEntry]] = {}

    def entries(self) -> list[LedgerEntry]:
        """All entries there are now, in order of language and number."""
        listed = [meta for meta in self._store.list(self._layout.batches()) if meta.key.endswith(_ENTRY)]
        tags = {meta.key: f"{meta.etag}/{meta.modified}/{meta.size}" for meta in listed}
        stale = [key for key, tag in tags.items() if key not in self._read or self._read[key][0] != tag]
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for key, body in zip(stale, pool.map(self._store.find, stale), strict=True):
                if body is not None:
                    self._read[key] = (tags[key], parse(LedgerEntry, body, key))
        found = [self._read[key][1] for key in tags if key in self._read]
        return sorted(found, key=lambda entry: BatchId.read(entry.batch))
