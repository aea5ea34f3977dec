"""What the S3 stand-in keeps: buckets of objects in key order, unfinished multipart uploads."""

from __future__ import annotations

import bisect
import hashlib
import time
import uuid
from dataclasses import dataclass, field

_FEW = 1000
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class Object:
    """One object; ``modified`` is in whole seconds, as S3 tells it."""

    body: bytes
    etag: str
    modified: float


@dataclass
class Upload:
    """An unfinished multipart upload."""

    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Page:
    """One page of a listing."""

    keys: list[str]
    prefixes: list[str]
    next_token: str | None


def tag(body: bytes) -> str:
    """The ETag of a body sent at once."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class Bucket:
    """Objects of one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self.written: dict[str, float] = {}
        self._keys: list[str] = []
        self._unsorted: list[str] = []

    def put(self, key: str, body: bytes, etag: str | None = None) -> Object:
        """Create or replace."""
        if key not in self.objects:
            self._unsorted.append(key)
        self.objects[key] = Object(body, etag or tag(body), float(int(time.time())))
        return self.objects[key]

    def copy(self) -> Bucket:
        """Another bucket with the same objects."""
        self._sort()
        other = Bucket()
        other.objects, other._keys = dict(self.objects), list(self._keys)
        return other

    def _sort(self) -> None:
        # Millions of keys one by one into a sorted list would take hours; a handful that way is cheaper than a sort.
        if len(self._unsorted) > _FEW:
            self._keys = sorted([*self._keys, *self._unsorted])
        else:
            for key in self._unsorted:
                bisect.insort(self._keys, key)
        self._unsorted = []

    def delete(self, key: str) -> None:
        """Remove; a key that is not there is no error."""
        self._sort()
        if self.objects.pop(key, None) is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Keys and common prefixes greater than ``after``, at most ``limit`` together."""
        self._sort()
        at = bisect.bisect_left(self._keys, prefix)
        if after:
            at = max(at, bisect.bisect_right(self._keys, after))
        keys: list[str] = []
        prefixes: list[str] = []
        last = after
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            if len(keys) + len(prefixes) >= limit:
                return Page(keys, prefixes, last)
            key = self._keys[at]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                keys.append(key)
                last, at = key, at + 1
            else:
                prefixes.append(key[: cut + len(delimiter)])
                last = prefixes[-1] + _LAST
                at = bisect.bisect_left(self._keys, last)
        return Page(keys, prefixes, None)

    def begin(self, key: str) -> str:
        """Start a multipart upload; its id."""
        upload = uuid.uuid4().hex
        self.uploads[upload] = Upload(key)
        return upload

    def assemble(self, upload: str, numbers: list[int]) -> tuple[bytes, str]:
        """Body and ETag of the parts in the order asked for; KeyError when one is missing."""
        parts = [self.uploads[upload].parts[number] for number in numbers]
        digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
        return b"".join(parts), f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
