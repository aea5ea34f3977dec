"""The processed episodes of a store as readers find them: through committed manifests alone, each file checked against them.

What a reader makes of an episode is its own affair: it gives :meth:`Committed.each` a function of the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of
from duplexforge.records import Manifest, first_fault, parse
from duplexforge.storage import Store

__all__ = ["SEGMENTS", "Committed", "parse_rows", "read_file"]

SEGMENTS = "all_segments.json"
_THREADS = 8
# Read ahead at most this many episodes: a page of them is some megabytes.
_PAGE = 64

T = TypeVar("T")


def parse_rows(adapter: TypeAdapter[Any], body: bytes, what: str) -> Any:
    """Read JSON of an episode; InputError(``bad_record``) naming ``what`` and the first thing wrong otherwise."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise InputError(f"{what}: {first_fault(error)}", reason="bad_record") from error


def read_file(store: Store, manifest: Manifest, name: str) -> bytes | None:
    """A committed file's bytes, None when the manifest names none. InputError when it is not what was committed."""
    entry = next((entry for entry in manifest.files if entry.name == name), None)
    if entry is None:
        return None
    body = store.find(manifest.folder + name)
    if body is None:
        raise InputError(f"{manifest.folder}{name} is named by a manifest but is not there", reason="input_missing")
    if hashlib.sha256(body).hexdigest() != entry.sha256:
        raise InputError(f"{manifest.folder}{name} is not what its manifest says", reason="checksum")
    return body


class Committed:
    """The committed episodes of a store.

    ``left_out`` has (episode, reason) of each that is not given, once all were read: it was purged, or has no manifest yet.
    """

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self.left_out: list[tuple[str, str]] = []

    def each(self, make: Callable[[Manifest], T]) -> Iterator[tuple[str, T | InputError]]:
        """Episode id and what ``make`` gives of its manifest, by id; an InputError on the way is the episode's answer.

        ``make`` runs in several threads, ahead of the reader.
        """
        self.left_out = []
        purged = {name_of(meta.key) for meta in self._store.list(self._layout.purges())}
        names = sorted(self._names())
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(names), _PAGE):
                page = names[start : start + _PAGE]
                wanted = [name for name in page if name[0] not in purged]
                self.left_out += [(episode, "purged") for episode, _ in page if episode in purged]
                for (episode, _), found in zip(wanted, pool.map(partial(self._one, make), wanted), strict=True):
                    if found is None:
                        self.left_out.append((episode, "not_committed"))
                    else:
                        yield episode, found

    def _names(self) -> Iterator[tuple[str, str]]:
        """Episode and language of every folder; by folder, as a listing of all segments would be a hundredfold."""
        for language in self._store.folders(self._layout.processed):
            for folder in self._store.folders(language):
                _, code, episode = folder.rstrip("/").rsplit("/", 2)
                yield episode, code

    def _one(self, make: Callable[[Manifest], T], name: tuple[str, str]) -> T | InputError | None:
        episode, language = name
        try:
            key = self._layout.manifest(language, episode)
        except ValueError as error:
            return InputError(str(error), reason="bad_record")
        body = self._store.find(key)
        if body is None:
            return None
        try:
            return make(parse(Manifest, body, key))
        except InputError as error:
            return error
