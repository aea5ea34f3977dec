"""What a listing of the object store tells, in pages, and the listing of a folder in key order."""

from __future__ import annotations

import heapq
import itertools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge.idset import IdSet

PAGE = 1000
# Names of one folder that are sorted in memory; a longer one puts the rest on disk, and only once somebody asks for it.
_IN_MEMORY = 20 * PAGE
# No key has such a name: the client's own half-written files, and what is no text.
_NO_KEY = re.compile(r"#\d+$|[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class ObjectMeta:
    """What a listing tells: key, size in bytes, entity tag, modification time in seconds of the store's clock."""

    key: str
    size: int
    etag: str | None
    modified: float


Page = list[ObjectMeta]


def meta_of(raw: Any) -> ObjectMeta:
    """The entry of obstore's own record."""
    return ObjectMeta(raw["path"], raw["size"], raw.get("e_tag"), raw["last_modified"].timestamp())


def folder_pages(root: Path, prefix: str, after: str | None, *, in_memory: int = _IN_MEMORY) -> Iterator[Page]:
    """The files of a folder store below ``prefix`` (a folder) in key order, from behind ``after``.

    Memory stays flat: of a folder at most ``in_memory`` names are sorted there.
    """
    metas = _walk(f"{root}/", prefix, after or "", in_memory)
    while page := list(itertools.islice(metas, PAGE)):
        yield page


def _walk(root: str, prefix: str, after: str, in_memory: int) -> Iterator[ObjectMeta]:
    # What lies before the entry that holds `after` is not even sorted.
    least = after.removeprefix(prefix).partition("/")[0] if after.startswith(prefix) else ""
    for name in _sorted_names(root + prefix, least, in_memory):
        key = prefix + name
        if name.endswith("/"):
            # All keys of a folder lie before `after`, or all behind it, or `after` is among them.
            if key > after or after.startswith(key):
                yield from _walk(root, key, after, in_memory)
        elif key > after and (meta := _meta_of_file(root + key, key)):
            yield meta


def _sorted_names(folder: str, least: str, in_memory: int) -> Iterator[str]:
    """Names in key order from ``least`` on, a folder's with its ``/``."""
    first = heapq.nsmallest(in_memory + 1, _names(folder, least))
    yield from first[:in_memory]
    if len(first) > in_memory:
        last = first[in_memory - 1]
        with IdSet(name for name in _names(folder, least) if name > last) as rest:
            yield from rest


def _names(folder: str, least: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{entry.name}/" if entry.is_dir() else entry.name
                if name >= least and not _NO_KEY.search(entry.name):
                    yield name
    except (FileNotFoundError, NotADirectoryError):
        return


def _meta_of_file(path: str, key: str) -> ObjectMeta | None:
    """Size, tag and time as the client itself tells them; None for a file that has gone since, or that is none."""
    try:
        told = os.stat(path)  # noqa: PTH116 - millions of them, and a Path costs more than the call
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(told.st_mode):
        return None
    micros = told.st_mtime_ns // 1000
    return ObjectMeta(key, told.st_size, f'"{told.st_ino:x}-{micros:x}-{told.st_size:x}"', micros / 1e6)
