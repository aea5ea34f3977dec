"""What listings tell of the queues, a thousand tasks a request. Only lease records are read, each once."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from duplexforge.errors import InputError
from duplexforge.layout import Layout, name_of, safe_name
from duplexforge.queues.inspecting import state_of
from duplexforge.records import Lease, parse
from duplexforge.status.overview import LeaseNow, StageNow, WorkerNow
from duplexforge.storage import ObjectMeta, Store

Bodies = Callable[[Iterable[str]], Iterator[tuple[str, bytes]]]
_ENDING = ".task"
_STATES = ("todo", "failed", "completed")


class Leases:
    """The leases of one queue. Records are remembered by tag, which a renewal mostly leaves as it is."""

    def __init__(self, store: Store, layout: Layout, stage: str, length: float, bodies: Bodies) -> None:
        self._store, self._layout, self._stage, self._length = store, layout, stage, length
        self._bodies = bodies
        self._records: dict[str, tuple[str | None, Lease]] = {}

    def last(self) -> dict[str, tuple[int, ObjectMeta, Lease]]:
        """The last attempt of each task that has one: its number, listing and record."""
        found: dict[str, tuple[int, ObjectMeta]] = {}
        for meta in self._store.list(self._layout.queue_prefix(self._stage, "in_progress")):
            task, _, number = name_of(meta.key).rpartition(".")
            if number.isascii() and number.isdigit() and int(number) > found.get(task, (0, meta))[0]:
                found[task] = (int(number), meta)
        metas = {meta.key: meta for _, meta in found.values()}
        fresh = {
            key: kept for key, kept in self._records.items() if key in metas and kept[0] and kept[0] == metas[key].etag
        }
        for key, body in self._bodies(key for key in metas if key not in fresh):
            fresh[key] = (metas[key].etag, self._parsed(key, body, metas[key]))
        self._records = fresh
        return {task: (number, meta, fresh[meta.key][1]) for task, (number, meta) in found.items() if meta.key in fresh}

    def _parsed(self, key: str, body: bytes, meta: ObjectMeta) -> Lease:
        try:
            return parse(Lease, body, key)
        except InputError:  # it holds until it expires, whoever wrote it
            return Lease(owner="of an unreadable lease", nonce="-", granted=meta.modified, length=self._length)


def look(
    store: Store,
    layout: Layout,
    stage: str,
    leases: Leases,
    *,
    failed: Callable[[ObjectMeta], None],
    beat: Callable[[], None],
) -> tuple[StageNow, list[LeaseNow]]:
    """One queue now, and its leases that no outcome has ended; ``failed`` is called with the record of each failed task.

    ``beat`` is called for each task, and may raise to end the look.
    Todos are listed before the ends: a task that ends meanwhile is seen twice rather than not at all.
    """
    last, now = leases.last(), store.now()
    counts: Counter[str] = Counter()
    held, oldest = [], _Oldest(now)
    for task, states in _by_task(store, layout, stage):
        beat()
        if end := next((name for name in ("completed", "failed") if name in states), None):
            counts[end] += 1
            oldest.see(end, states[end].modified)
            if end == "failed":
                failed(states[end])
            continue
        state, since = "waiting", states["todo"].modified
        if task in last:
            number, meta, record = last[task]
            lived = state_of(record, meta.modified, now)
            if record.outcome is None:
                ages = (max(0.0, now - record.granted), max(0.0, now - meta.modified))
                held.append(LeaseNow(stage, task, number, record.owner, *ages, lived == "expired"))
            if lived == "live":
                state, since = "running", record.granted
            counts["expired"] += lived == "expired"
            counts["delayed"] += record.outcome is not None and (record.not_before or 0.0) > now
        counts[state] += 1
        oldest.see(state, since)
    return _summed(counts, oldest), held


def _summed(counts: Counter[str], oldest: _Oldest) -> StageNow:
    return StageNow(
        **counts,
        oldest_waiting=oldest.age("waiting"),
        oldest_running=oldest.age("running"),
        oldest_failed=oldest.age("failed"),
        last_completed=oldest.latest("completed"),
    )


class _Oldest:
    """The first and the last time of each state."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def see(self, state: str, when: float) -> None:
        self._first[state] = min(self._first.get(state, when), when)
        self._last[state] = max(self._last.get(state, when), when)

    def age(self, state: str) -> float | None:
        return max(0.0, self._now - self._first[state]) if state in self._first else None

    def latest(self, state: str) -> float | None:
        return max(0.0, self._now - self._last[state]) if state in self._last else None


def _by_task(store: Store, layout: Layout, stage: str) -> Iterator[tuple[str, dict[str, ObjectMeta]]]:
    """Each task with its objects by state, in one pass over sorted listings: memory holds a page of each."""
    streams = [_named(store, layout, stage, state) for state in _STATES]
    for name, group in itertools.groupby(heapq.merge(*streams, key=lambda one: one[0]), key=lambda one: one[0]):
        yield name.removesuffix(_ENDING), {state: meta for _, state, meta in group}


def _named(store: Store, layout: Layout, stage: str, state: str) -> Iterator[tuple[str, str, ObjectMeta]]:
    prefix = layout.queue_prefix(stage, state)
    for meta in store.list(prefix):
        name = meta.key.removeprefix(prefix)
        # Anything else that lies there is no task, and no worker would take it.
        if name.endswith(_ENDING) and _is_safe(name.removesuffix(_ENDING)):
            yield name, state, meta


def _is_safe(name: str) -> bool:
    try:
        return bool(safe_name(name))
    except ValueError:
        return False


def workers(leases: Iterable[LeaseNow]) -> tuple[WorkerNow, ...]:
    """Owners of leases that have not been ended, those with expired ones first."""
    found: dict[str, list[LeaseNow]] = {}
    for lease in leases:
        found.setdefault(lease.owner, []).append(lease)
    made = (
        WorkerNow(
            owner=owner,
            stages=tuple(sorted({one.stage for one in held})),
            leases=len(held),
            expired=sum(one.expired for one in held),
            renewed=min(one.renewed for one in held),
        )
        for owner, held in found.items()
    )
    return tuple(sorted(made, key=lambda one: (-one.expired, one.owner)))
