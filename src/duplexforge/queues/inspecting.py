"""One task as an operator sees it, and putting an open one back. The same objects lie behind every backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of
from duplexforge.queues.base import Requeued
from duplexforge.records import Ended, Lease, parse
from duplexforge.storage import ObjectMeta, Store

State = Literal["live", "expired", "released", "failed"]


@dataclass(frozen=True)
class Attempt:
    """One lease of a task; times are in seconds. ``state`` is how the attempt ended, or whether its lease still holds.

    ``age`` is how long ago it was granted, ``written`` how long ago it was renewed or ended, ``free_in`` for how long
    nobody may take the task over (0: now).
    """

    attempt: int
    owner: str
    state: State
    age: float
    written: float
    free_in: float = 0.0
    failures: int = 0
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Inspection:
    """What the store knows of one task. ``todo`` is its body, as text where it is no JSON; ends are records."""

    stage: str
    id: str
    state: Literal["unknown", "waiting", "running", "completed", "failed"]
    todo: Any = None
    attempts: tuple[Attempt, ...] = ()
    completed: dict[str, Any] | None = None
    failed: dict[str, Any] | None = None

    @property
    def prospect(self) -> Requeued:
        """What requeueing the task now would come to."""
        known: dict[str, Requeued] = {"unknown": "unknown", "running": "held", "waiting": "claimable"}
        return known.get(self.state, "ended")

    def to_json(self) -> dict[str, Any]:
        """As values that :mod:`json` can write."""
        return asdict(self)


def state_of(record: Lease, modified: float, now: float) -> State:
    """How an attempt stands whose lease was last written at ``modified``, both in seconds of the store's clock."""
    if record.outcome is not None:
        return record.outcome
    return "expired" if now - modified > record.length else "live"


def inspect(store: Store, layout: Layout, stage: str, task_id: str, *, length: float) -> Inspection:
    """Everything about one task. ``length`` is taken as that of a lease that cannot be read."""
    body = store.find(layout.todo(stage, task_id))
    attempts = tuple(_attempts(store, layout, stage, task_id, length))
    ends = {
        "completed": _end(store, layout.completed(stage, task_id)),
        "failed": _end(store, layout.failed(stage, task_id)),
    }
    state: Any = next((name for name, record in ends.items() if record), None)
    if state is None and body is not None:
        state = "running" if attempts and attempts[-1].state == "live" else "waiting"
    return Inspection(stage, task_id, state or "unknown", _readable(body), attempts, ends["completed"], ends["failed"])


def _attempts(store: Store, layout: Layout, stage: str, task_id: str, length: float) -> Iterator[Attempt]:
    """The task's leases in order; keys of other tasks stand between them only where ids begin alike."""
    found: list[tuple[int, ObjectMeta]] = []
    start = f"{layout.queue_prefix(stage, 'in_progress')}{task_id}."
    for meta in store.list(layout.queue_prefix(stage, "in_progress"), after=start):
        if not meta.key.startswith(start):
            break
        suffix = name_of(meta.key).removeprefix(f"{task_id}.")
        if suffix.isascii() and suffix.isdigit():
            found.append((int(suffix), meta))
    now = store.now()
    for number, meta in sorted(found, key=lambda one: one[0]):
        record = _lease(store.find(meta.key), meta.key, meta.modified, length)
        if record is not None:
            state, due = state_of(record, meta.modified, now), record.not_before or 0.0
            free_in = meta.modified + record.length - now if state == "live" else max(0.0, due - now)
            yield Attempt(
                number, record.owner, state, now - record.granted, now - meta.modified, free_in,
                record.failures, record.reason, record.error,
            )  # fmt: skip


def _lease(body: bytes | None, key: str, modified: float, length: float) -> Lease | None:
    try:
        return parse(Lease, body, key) if body is not None else None
    except InputError:
        return Lease(owner="of an unreadable lease", nonce="-", granted=modified, length=length)


def _end(store: Store, key: str) -> dict[str, Any] | None:
    body = store.find(key)
    if body is None:
        return None
    try:
        return parse(Ended, body, key).model_dump(exclude_none=True)
    except InputError as error:
        return {"unreadable": str(error)}


def _readable(body: bytes | None) -> Any:
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")[:4000]


def requeue(store: Store, layout: Layout, stage: str, task_id: str, *, length: float) -> Requeued:
    """Let an open task that waits for its time be claimed now; see ``TaskQueue.requeue``.

    Only the lease of an attempt that has ended is written: its owner is done with it, and a later attempt makes it moot.
    """
    now = inspect(store, layout, stage, task_id, length=length)
    last = now.attempts[-1] if now.attempts else None
    if now.prospect != "claimable" or last is None or last.free_in <= 0:
        return now.prospect
    key = layout.lease(stage, task_id, last.attempt)
    body = store.find(key)
    record = _lease(body, key, 0.0, length)
    if body is None or record is None or record.outcome is None:
        return "held"
    store.put(key, record.model_copy(update={"not_before": None}).to_bytes())
    if store.head(layout.todo(stage, task_id)) is None:
        # It was claimed and has ended since we looked: what we wrote is nobody's lease.
        store.delete(key)
        return "ended"
    return "claimable"
