"""What a listing of the object store tells, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PAGE = 1000


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


def sorted_pages(listing: Iterator[Any]) -> list[Page]:
    """All pages of a listing that comes in no order."""
    # A folder is walked in directory order, so its pages exist only once all of it was seen.
    found = sorted((meta_of(item) for page in listing for item in page), key=lambda meta: meta.key)
    return [found[start : start + PAGE] for start in range(0, len(found), PAGE)]
