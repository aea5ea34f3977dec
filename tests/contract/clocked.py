"""A store on an artificial clock, for tests in which leases expire."""

from __future__ import annotations

from collections.abc import Iterator

from obstore.store import MemoryStore

from duplexforge.storage import ObjectMeta, Page, Store


class ClockedStore(Store):
    """A memory store that tells times of a clock which the test moves."""

    def __init__(self) -> None:
        super().__init__("memory://", MemoryStore())
        self.clock = 1000.0
        self._written: dict[str, float] = {}

    def now(self) -> float:
        return self.clock

    def put(self, key: str, body: bytes) -> None:
        self._written[key] = self.clock
        super().put(key, body)

    def put_if_absent(self, key: str, body: bytes) -> bool:
        created = super().put_if_absent(key, body)
        if created:
            self._written[key] = self.clock
        return created

    def head(self, key: str) -> ObjectMeta | None:
        meta = super().head(key)
        return self._timed(meta) if meta else None

    def pages(self, prefix: str, *, after: str | None = None) -> Iterator[Page]:
        for page in super().pages(prefix, after=after):
            yield [self._timed(meta) for meta in page]

    def _timed(self, meta: ObjectMeta) -> ObjectMeta:
        return ObjectMeta(meta.key, meta.size, meta.etag, self._written[meta.key])
