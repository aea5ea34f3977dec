"""Which tasks a worker tries to claim, in an order in which many workers rarely meet.

Each worker walks in key order from a random place. It meets another one only where that one began; then it goes
elsewhere in what it knows, and a fresh listing is fetched meanwhile: near the end of a queue, where workers meet all the
time, what was listed a second ago is of no use. A random place must lie where ids are: what ids look like is learned
from the pages that come.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from duplexforge import log
from duplexforge.layout import ID_KINDS, Layout, name_of, safe_name
from duplexforge.queues.view import LeaseView
from duplexforge.storage import PAGE, ObjectMeta, Store

# Lease records that one vain claim may read; the next one reads others.
_READS = 8
# A listing pays when it takes no longer than so many lost claims: on a folder those cost next to nothing.
_LOSSES = 8
# How often a place is sought among ids of a kind that was met before.
_SURE = 0.9
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Candidates:
    """Ids worth trying on one queue. Safe to share between the threads of one worker."""

    def __init__(self, store: Store, layout: Layout, stage: str, view: LeaseView, rng: random.Random) -> None:
        self._store, self._layout, self._stage, self._view, self._rng = store, layout, stage, view, rng
        self._page: list[str] = []
        self._places = Places(rng)
        self._lock = threading.Lock()
        self._depth = layout.todo(stage, "x").count("/")
        self._coming: Future[None] | None = None
        self._listed_at = self._lost_at = self._listing_seconds = self._lost_seconds = 0.0
        self._held: list[str] = []
        self._strangers: set[str] = set()
        self._log = log.get("queue", stage=stage)
        self.skipped: set[str] = set()

    def ids(self) -> Iterator[str]:
        """What is left of the last page, then fresh pages; tasks under a fresh lease come last."""
        began = time.monotonic()
        while (task_id := self._next()) or self._more(began):
            if task_id and not self._view.fresh(task_id, self._store.now()):
                yield task_id
        # Released and failed attempts hide among the fresh leases; their records are read when nothing else waits, those
        # that were not written for longest first, and never so many that idle workers would cost more than busy ones.
        held = self._held
        unread = [task_id for task_id in self._view.by_age(held) if not self._view.has_read(task_id)]
        late = set(unread[_READS:])
        yield from (task_id for task_id in held if task_id not in late)

    def lost(self, seconds: float) -> None:
        """A claim that took ``seconds`` was in vain: others were here. Go elsewhere; a listing that pays is fetched."""
        with self._lock:
            self._page = _rotated(self._page, self._rng)
            self._lost_at = time.monotonic()
            self._lost_seconds += seconds
            coming = self._coming
            if coming is None or coming.done():
                if self._lost_seconds * _LOSSES > self._listing_seconds:
                    self._coming = _beside(self._refill)
                return
        # One try in the dark while it comes: the next one had better know what was listed.
        if seconds * _LOSSES > self._listing_seconds:
            coming.exception()

    def known(self, metas: Iterator[ObjectMeta]) -> Iterator[str]:
        """Ids of the objects that are tasks; what else somebody left in the folder is told once and left alone."""
        for meta in metas:
            task_id = name_of(meta.key)
            if self._is_task(meta.key, task_id):
                yield task_id
            elif meta.key not in self._strangers:
                self._strangers.add(meta.key)
                self._log.warning("not a task: its name must be <id>.task, so it is left alone", key=meta.key)

    def _is_task(self, key: str, task_id: str) -> bool:
        if not key.endswith(f"/{task_id}.task") or key.count("/") != self._depth:
            return False
        try:
            return bool(safe_name(task_id))
        except ValueError:
            return False

    def _next(self) -> str | None:
        with self._lock:
            return self._page.pop() if self._page else None

    def _more(self, since: float) -> bool:
        """Wait for the listing that is under way, or list; False when that was done ``since`` and nothing is left.

        A lost claim wants a listing after it: whose lease stood in the way may have died long ago.
        """
        coming = self._coming
        if coming and not coming.done():
            # Should it fail, the next one does so in the caller's own thread.
            coming.exception()
            return True
        with self._lock:
            if self._page or self._listed_at >= max(since, self._lost_at):
                return bool(self._page)
        self._refill()
        return True

    def _refill(self) -> None:
        """List tasks again, and the leases unless none was met so far: a lost claim tells of them soon enough."""
        began = time.monotonic()
        # Both at once: what changes between the two listings costs a vain claim and nothing else.
        leases = None if self._view.empty else _beside(self._view.refresh)
        page = [name for name in self._list_some() if name not in self.skipped]
        if leases:
            leases.result()
        now = self._store.now()
        held = [name for name in page if self._view.fresh(name, now)]
        with self._lock:
            self._listed_at, self._listing_seconds, self._lost_seconds = began, time.monotonic() - began, 0.0
            self._held, self._page = held, _from_a_gap(page, set(held), self._rng)

    def _list_some(self) -> list[str]:
        start = self._places.guess()
        page, full = self._list(start)
        if not start:
            # The first of many pages is where everybody begins: it does until the first loss.
            self._places.whole(page if full else [])
            return page
        self._places.learn(start, page)
        if full:
            return page
        first, more = self._list("")
        self._places.whole(first if more else [])
        return sorted({*page, *first})

    def _list(self, start: str) -> tuple[list[str], bool]:
        prefix = self._layout.queue_prefix(self._stage, "todo")
        metas = next(self._store.pages(prefix, after=prefix + start if start else None), [])
        return list(self.known(iter(metas))), len(metas) >= PAGE


def _beside(work: Callable[[], None]) -> Future[None]:
    """Do ``work`` in a thread that ends with it: beside a listing its start is nothing, and idle queues keep none."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lister")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def _from_a_gap(page: list[str], held: set[str], rng: random.Random) -> list[str]:
    """What is free of a page, to be taken from the end: first the second half of what lies between two workers.

    A worker's lease stands where that worker is in its walk, so what is free behind it is what it will take next. The
    longer such a stretch, the likelier it is the one to be shared; where in its second half, two that come at the same
    moment choose differently.
    """
    free = [number for number, name in enumerate(page) if name not in held]
    if not free:
        return []
    place = rng.choice(free)
    first = place
    while first and page[first - 1] not in held:
        first -= 1
    last = place
    while last + 1 < len(page) and page[last + 1] not in held:
        last += 1
    # Nobody else in sight: any place is as good.
    start = place if last - first + 1 == len(page) else rng.randint((first + last + 1) // 2, last)
    order = [page[number] for number in free if number >= start] + [page[number] for number in free if number < start]
    return order[::-1]


def _rotated(page: list[str], rng: random.Random) -> list[str]:
    cut = rng.randrange(len(page)) if page else 0
    return page[cut:] + page[:cut]


class Places:
    """Random places among ids, learned from the pages seen: how ids begin, and which letters follow."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self._many = False
        self._stems = {kind: list(_LETTERS) for kind in ID_KINDS if kind}
        self._alphabets: dict[str, list[str]] = {}

    def guess(self) -> str:
        """A place to list from; empty (the beginning) while all tasks fit into one page, or when nothing is known."""
        with self._lock:
            if not self._many or not self._stems:
                return ""
            met = [stem for stem in self._stems if any(stem.startswith(root) for root in self._alphabets)]
            # Now and then a kind that no page has shown yet: it may lie behind all the others.
            stem = self._rng.choice(met if met and self._rng.random() < _SURE else list(self._stems))
            return stem + self._rng.choice(self._stems[stem]) + self._rng.choice(self._stems[stem])

    def whole(self, page: list[str]) -> None:
        """What the first page showed: ``page`` is empty when it held all there is."""
        with self._lock:
            self._many = bool(page)
            if page:
                # Nothing lies before the first id of all.
                self._stems = {
                    stem: kept for stem, kept in self._stems.items() if page[0].startswith(stem) or stem > page[0]
                }
                self._add(page)

    def learn(self, start: str, page: list[str]) -> None:
        """Whether ids were found behind ``start``, and how they begin."""
        with self._lock:
            stem = max((one for one in self._stems if start.startswith(one)), key=len, default=None)
            if page:
                self._add(page)
            if stem is None or (page and page[0].startswith(stem)):
                return
            # Nothing of this kind lies so far behind.
            letters = [letter for letter in self._stems.pop(stem) if letter < start[len(stem)]]
            root = next((one for one in self._alphabets if stem.startswith(one)), None)
            if len(letters) > 1:
                self._stems[stem] = letters
            elif letters:
                self._stems[stem + letters[0]] = self._alphabets[root] if root is not None else list(_LETTERS)
            elif root is not None:
                # It went too far: ids of this kind were seen, so the search begins again.
                self._stems[root] = self._alphabets[root]

    def _add(self, page: list[str]) -> None:
        kind = page[0].find("-") + 1
        shared = os.path.commonprefix([page[0], page[-1]])  # noqa: RUF071 - letters are meant, not parts of a path
        stem = shared[: max(kind, shared.rfind("-") + 1)] if len(shared) >= kind else page[0][:kind]
        if stem in self._alphabets:
            return
        # Which letters follow is seen in the rest of the ids, whatever place of the alphabet this page is from.
        letters = sorted({letter for one in page if one.startswith(stem) for letter in one[len(stem) :]} - {"."})
        if letters:
            self._alphabets[stem] = self._stems[stem] = letters
