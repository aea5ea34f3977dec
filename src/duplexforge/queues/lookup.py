"""One task's leases without a listing: what precedes its next attempt, or how long it is taken."""

from __future__ import annotations

from collections.abc import Callable

from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.queues.view import Seen
from duplexforge.records import Lease, parse
from duplexforge.storage import Store


def look(store: Store, layout: Layout, stage: str, task_id: str, *, length: float) -> Seen | float:
    """What precedes the next attempt at a task, or the seconds until somebody may try it.

    Attempts are numbered without gaps until a task ends, so a few requests find the last one. ``length`` is taken as that
    of a lease that cannot be read.
    """
    last = last_attempt(lambda number: store.head(layout.lease(stage, task_id, number)) is not None)
    if last == 0:
        return Seen()
    key = layout.lease(stage, task_id, last)
    body, meta = store.find(key), store.head(key)
    if body is None or meta is None:  # the task has ended in this very moment
        return 0.0
    now = store.now()
    try:
        record = parse(Lease, body, key)
    except InputError:
        record = Lease(owner="of an unreadable lease", nonce="-", granted=meta.modified, length=length)
    if record.outcome is None:
        left = meta.modified + record.length - now
        why = f"the worker {record.owner} stopped renewing its lease"
        return left if left >= 0 else Seen(last, record.failures + 1, "expired", why)
    if record.not_before is not None and record.not_before > now:
        return record.not_before - now
    counted = 1 if record.outcome == "failed" else 0
    return Seen(last, record.failures + counted, record.reason, record.error)


def last_attempt(exists: Callable[[int], bool]) -> int:
    """The greatest number that exists, of numbers without gaps from 1; 0 when there is none."""
    if not exists(1):
        return 0
    low, high = 1, 2
    while exists(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exists(middle) else (low, middle)
    return low
