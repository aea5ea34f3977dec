"""What one worker knows of a queue's leases: a snapshot of the listing, and lease records read when they matter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of, safe_name
from duplexforge.records import Lease, parse
from duplexforge.storage import ObjectMeta, Store


@dataclass(frozen=True)
class Seen:
    """What precedes the next attempt: the last attempt's number, how many have failed so far, and why the last did."""

    attempt: int = 0
    failures: int = 0
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Latest:
    """The last lease of a task: its number, and when and as what it was last written (times may be whole seconds)."""

    attempt: int
    modified: float
    etag: str | None = None


class LeaseView:
    """Latest lease of each task by listing; times are the store's. ``length`` is the usual lease length."""

    def __init__(self, store: Store, layout: Layout, stage: str, length: float) -> None:
        self._store, self._layout, self._stage, self._length = store, layout, stage, length
        self._latest: dict[str, Latest] = {}
        self._records: dict[str, tuple[Latest, Lease]] = {}

    def refresh(self) -> None:
        """List the leases again; what is learned meanwhile stays known."""
        before = dict(self._latest)
        latest: dict[str, Latest] = {}
        for meta in self._store.list(self._layout.queue_prefix(self._stage, "in_progress")):
            task_id, attempt = _split(meta)
            if task_id not in latest or attempt > latest[task_id].attempt:
                latest[task_id] = Latest(attempt, meta.modified, meta.etag)
        latest.pop("", None)
        for task_id, one in dict(self._latest).items():
            if before.get(task_id) is not one and (task_id not in latest or one.attempt > latest[task_id].attempt):
                latest[task_id] = one
        self._latest = latest
        self._records = {task_id: value for task_id, value in dict(self._records).items() if task_id in latest}

    @property
    def empty(self) -> bool:
        """Whether no lease is known."""
        return not self._latest

    def taken(self, task_id: str, attempt: int, now: float) -> None:
        """Remember that a lease of ``attempt`` exists, without listing; its age is a guess that gives way to a listing."""
        known = self._latest.get(task_id)
        # A listing beside the claim may know the lease already, and that it expired long ago; new it is all the same.
        self._latest[task_id] = replace(known) if known and known.attempt == attempt else Latest(attempt, now)

    def ids(self) -> set[str]:
        """Tasks that have a lease."""
        return set(self._latest)

    def by_age(self, ids: Iterable[str]) -> list[str]:
        """Those that have a lease, the one that was not written for longest first."""
        latest = self._latest
        return sorted((one for one in ids if one in latest), key=lambda one: latest[one].modified)

    def has_read(self, task_id: str) -> bool:
        """Whether the record of the last attempt, as it is, was read already."""
        latest, known = self._latest.get(task_id), self._records.get(task_id)
        return latest is not None and known is not None and _same(known[0], latest)

    def attempts(self, task_id: str) -> int:
        """Number of the last attempt seen, 0 when there is none."""
        latest = self._latest.get(task_id)
        return latest.attempt if latest else 0

    def fresh(self, task_id: str, now: float) -> bool:
        """Whether a lease was written so lately that only its record can tell more."""
        latest = self._latest.get(task_id)
        return latest is not None and now - latest.modified <= self._length

    def running(self, task_id: str, now: float) -> bool:
        """Whether an attempt holds the task now."""
        latest = self._latest.get(task_id)
        record = self._record(task_id, latest) if latest else None
        if latest is None or record is None:
            return False
        return record.outcome is None and not _expired(latest, record, now)

    def free(self, task_id: str, now: float) -> Seen | None:
        """What precedes the next attempt, or None while the task is held or waits for its time."""
        latest = self._latest.get(task_id)
        if latest is None:
            return Seen()
        record = self._record(task_id, latest)
        if record is not None and record.outcome is None and _expired(latest, record, now):
            # The listing may be old and the owner well: a look at the lease itself before it is taken over.
            latest = self._look(task_id, latest)
            record = self._record(task_id, latest) if latest else None
        if latest is None or record is None:  # removed since the listing: the task ended
            return None
        if record.outcome is None:
            if not _expired(latest, record, now):
                return None
            why = f"the worker {record.owner} stopped renewing its lease"
            return Seen(latest.attempt, record.failures + 1, "expired", why)
        if record.not_before is not None and now < record.not_before:
            return None
        counted = 1 if record.outcome == "failed" else 0
        return Seen(latest.attempt, record.failures + counted, record.reason, record.error)

    def _look(self, task_id: str, latest: Latest) -> Latest | None:
        meta = self._store.head(self._layout.lease(self._stage, task_id, latest.attempt))
        if meta is None:
            return None
        self._latest[task_id] = Latest(latest.attempt, meta.modified, meta.etag)
        return self._latest[task_id]

    def _record(self, task_id: str, latest: Latest) -> Lease | None:
        """The record of the last attempt, read again only when the lease was written again."""
        known = self._records.get(task_id)
        # A renewal writes the same bytes, and so mostly the same tag: only what changed is read again.
        if known and _same(known[0], latest):
            return known[1]
        key = self._layout.lease(self._stage, task_id, latest.attempt)
        body = self._store.find(key)
        if body is None:
            return None
        try:
            record = parse(Lease, body, key)
        except InputError:  # somebody's lease all the same: it holds until it expires
            record = Lease(owner="of an unreadable lease", nonce="-", granted=latest.modified, length=self._length)
        self._records[task_id] = (latest, record)
        return record


def _same(one: Latest, other: Latest) -> bool:
    return other.etag is not None and (one.attempt, one.etag) == (other.attempt, other.etag)


def _expired(latest: Latest, record: Lease, now: float) -> bool:
    return now - latest.modified > record.length


def _split(meta: ObjectMeta) -> tuple[str, int]:
    """Task and attempt of a lease's key; the empty task for an object that is no lease."""
    task_id, _, number = name_of(meta.key).rpartition(".")
    try:
        return (safe_name(task_id), int(number)) if number.isascii() and number.isdigit() else ("", 0)
    except ValueError:
        return "", 0
