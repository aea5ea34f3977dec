"""A file over bytes that lie elsewhere, such as in a mapped Arrow file: reading a part copies that part alone."""

from __future__ import annotations

import io
from typing import Any


class View(io.RawIOBase):
    """Read and seek in a buffer without a copy of it; ``io.BytesIO`` copies whatever is not ``bytes``."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._body, self._at = memoryview(body), 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill ``target`` (any writable buffer) with what comes next; how many bytes that were."""
        part = self._body[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._body)}[whence]
        # Behind the end there is nothing to read, and before the start nothing at all.
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """As files do."""
        return self._at
