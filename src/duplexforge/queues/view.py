"""What one worker knows of the leases of a queue: a snapshot of the listing, and lease records read when they matter."""

from __future__ import annotations

from dataclasses import dataclass

from duplexforge.layout import Layout, name_of
from duplexforge.records import Lease, parse
from duplexforge.storage import ObjectMeta, Store


@dataclass(frozen=True)
class Seen:
    """What precedes the next attempt: the last attempt's number, how many have failed so far, and why the last did."""

    attempt: int = 0
    failures: int = 0
    reason: str | None = None
    error: str | None = None


class LeaseView:
    """Latest lease of each task by listing; modification times are the store's."""

    def __init__(self, store: Store, layout: Layout, stage: str) -> None:
        self._store, self._layout, self._stage = store, layout, stage
        self._latest: dict[str, tuple[int, float]] = {}
        self._records: dict[str, tuple[float, Lease]] = {}

    def refresh(self) -> None:
        """List the leases again."""
        latest: dict[str, tuple[int, float]] = {}
        for meta in self._store.list(self._layout.queue_prefix(self._stage, "in_progress")):
            task_id, attempt = _split(meta)
            if attempt > latest.get(task_id, (0, 0.0))[0]:
                latest[task_id] = (attempt, meta.modified)
        self._latest = latest
        live = {self._key(task_id) for task_id in latest}
        self._records = {key: value for key, value in self._records.items() if key in live}

    def taken(self, task_id: str, attempt: int, now: float) -> None:
        """Remember that a lease of ``attempt`` exists, without listing."""
        self._latest[task_id] = (attempt, now)

    def ids(self) -> set[str]:
        """Tasks that have a lease."""
        return set(self._latest)

    def attempts(self, task_id: str) -> int:
        """Number of the last attempt seen, 0 when there is none."""
        return self._latest.get(task_id, (0, 0.0))[0]

    def fresh(self, task_id: str, now: float, length: float) -> bool:
        """Whether a lease was written so lately that only its record can tell more."""
        return task_id in self._latest and now - self._latest[task_id][1] <= length

    def running(self, task_id: str, now: float) -> bool:
        """Whether an attempt holds the task now."""
        if task_id not in self._latest:
            return False
        record = self._record(task_id)
        return record is not None and record.outcome is None and not self._expired(task_id, record, now)

    def free(self, task_id: str, now: float) -> Seen | None:
        """What precedes the next attempt, or None while the task is held or waits for its time."""
        if task_id not in self._latest:
            return Seen()
        record = self._record(task_id)
        if record is None:  # removed since the listing: the task ended
            return None
        attempt = self.attempts(task_id)
        if record.outcome is None:
            if not self._expired(task_id, record, now):
                return None
            return Seen(attempt, record.failures + 1, "expired", f"the worker {record.owner} stopped renewing its lease")
        if record.not_before is not None and now < record.not_before:
            return None
        counted = 1 if record.outcome == "failed" else 0
        return Seen(attempt, record.failures + counted, record.reason, record.error)

    def _expired(self, task_id: str, record: Lease, now: float) -> bool:
        return now - self._latest[task_id][1] > record.length

    def _key(self, task_id: str) -> str:
        return self._layout.lease(self._stage, task_id, self.attempts(task_id))

    def _record(self, task_id: str) -> Lease | None:
        """The record of the last attempt, read again only when its modification time has changed."""
        key, modified = self._key(task_id), self._latest[task_id][1]
        known = self._records.get(key)
        if known and known[0] == modified:
            return known[1]
        body = self._store.find(key)
        if body is None:
            return None
        record = parse(Lease, body, key)
        self._records[key] = (modified, record)
        return record


def _split(meta: ObjectMeta) -> tuple[str, int]:
    task_id, _, number = name_of(meta.key).rpartition(".")
    return task_id, int(number) if number.isdigit() else 0
