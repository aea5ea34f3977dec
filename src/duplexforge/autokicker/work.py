"""What our pods are in the middle of, from the leases in the store: the price of stopping each of them."""

from __future__ import annotations

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of
from duplexforge.records import Lease, parse
from duplexforge.storage import Store


class Work:
    """Seconds of work that would be lost by pod, for one queue. Records are read once: only their times change."""

    def __init__(self, store: Store, layout: Layout, stage: str) -> None:
        self._store, self._layout, self._stage = store, layout, stage
        self._records: dict[tuple[str, str | None], Lease | None] = {}

    def by_pod(self) -> dict[str, float]:
        """Seconds since each pod's tasks began, or since their last checkpoint, added up. Raises StoreError."""
        now, saved = self._store.now(), self._checkpoints()
        lost: dict[str, float] = {}
        known: dict[tuple[str, str | None], Lease | None] = {}
        for meta in self._store.list(self._layout.queue_prefix(self._stage, "in_progress")):
            key = (meta.key, meta.etag)
            record = self._records[key] if key in self._records else self._read(meta.key)
            known[key] = record
            task = name_of(meta.key).rpartition(".")[0]
            if record is None or record.outcome is not None or now - meta.modified > record.length:
                continue
            # Leases of finished tasks are tidied up in bulk, so some outlive their task by a while.
            if self._store.head(self._layout.completed(self._stage, task)) is not None:
                known[key] = None
                continue
            since = max(record.granted, saved.get(task, 0.0))
            pod = record.owner.partition(":")[0]
            lost[pod] = lost.get(pod, 0.0) + max(0.0, now - since)
        self._records = known
        return lost

    def _checkpoints(self) -> dict[str, float]:
        """When each task was last saved."""
        found: dict[str, float] = {}
        prefix = self._layout.queue_prefix(self._stage, "checkpoints")
        for meta in self._store.list(prefix):
            task = name_of(meta.key).rpartition(".")[0]
            found[task] = max(found.get(task, 0.0), meta.modified)
        return found

    def _read(self, key: str) -> Lease | None:
        body = self._store.find(key)
        try:
            return parse(Lease, body, key) if body is not None else None
        except InputError:
            return None
