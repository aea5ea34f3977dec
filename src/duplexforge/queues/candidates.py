"""Which tasks a worker tries to claim, in an order in which many workers rarely meet.

Each worker walks in key order from a random place. It meets another one only where that one began; then it goes
elsewhere, and lists again once lost claims have cost more time than a listing. A random place must lie where ids are:
what ids look like is learned from the pages that come.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

from duplexforge import log
from duplexforge.layout import ID_KINDS, Layout, name_of
from duplexforge.queues.view import LeaseView
from duplexforge.storage import PAGE, ObjectMeta, Store

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Candidates:
    """Ids worth trying on one queue. Safe to share between the threads of one worker."""

    def __init__(self, store: Store, layout: Layout, stage: str, view: LeaseView, rng: random.Random) -> None:
        self._store, self._layout, self._stage, self._view, self._rng = store, layout, stage, view, rng
        self._page: list[str] = []
        self._places = Places(rng)
        self._lock = threading.Lock()
        self._listing_seconds = self._lost_seconds = 0.0
        self._dropped = False
        self._strangers: set[str] = set()
        self._log = log.get("queue", stage=stage)
        self.skipped: set[str] = set()

    def ids(self, now: Callable[[], float]) -> Iterator[str]:
        """What is left of the last page, then a fresh page; tasks under a fresh lease come last."""
        while task_id := self._next():
            if not self._view.fresh(task_id, now()):
                yield task_id
        held = self._refill(now())
        while (task_id := self._next()) or self._dropped:
            if task_id:
                yield task_id
            else:
                held = self._refill(now())
        # Released and failed attempts hide among the fresh leases; their records are read when nothing else waits.
        self._rng.shuffle(held)
        yield from held

    def lost(self, seconds: float) -> None:
        """A claim that took ``seconds`` was in vain: others were here. Go elsewhere, or list again when that pays."""
        with self._lock:
            self._lost_seconds += seconds
            if self._lost_seconds > self._listing_seconds:
                self._page, self._dropped = [], True
            elif self._page:
                self._page = _rotated(self._page, self._rng)

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
        try:
            todo = self._layout.todo(self._stage, task_id)
        except ValueError:
            return False
        return key.rsplit("/", 1)[-1] == f"{task_id}.task" and key.count("/") == todo.count("/")

    def _next(self) -> str | None:
        with self._lock:
            return self._page.pop() if self._page else None

    def _refill(self, now: float) -> list[str]:
        """List leases and tasks again; returns the tasks under a fresh lease."""
        began = time.monotonic()
        self._view.refresh()
        page = [name for name in self._list_some() if name not in self.skipped]
        held = [name for name in page if self._view.fresh(name, now)]
        unheld = set(held)
        with self._lock:
            self._listing_seconds, self._lost_seconds, self._dropped = time.monotonic() - began, 0.0, False
            self._page = _rotated([name for name in reversed(page) if name not in unheld], self._rng)
        return held

    def _list_some(self) -> list[str]:
        start = self._places.guess()
        page, full = self._list(start)
        if start:
            self._places.learn(start, page)
        if not full and start:
            first, full = self._list("")
            page = list(dict.fromkeys([*page, *first]))
        if not start or not full:
            self._places.whole(page if full else [])
        return page

    def _list(self, start: str) -> tuple[list[str], bool]:
        prefix = self._layout.queue_prefix(self._stage, "todo")
        metas = next(self._store.pages(prefix, after=prefix + start if start else None), [])
        return list(self.known(iter(metas))), len(metas) >= PAGE


def _rotated(page: list[str], rng: random.Random) -> list[str]:
    cut = rng.randrange(len(page)) if page else 0
    return page[cut:] + page[:cut]


class Places:
    """Random places among ids, learned from the pages seen: how ids begin, and which letters follow."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._many = False
        self._stems = {kind: list(_LETTERS) for kind in ID_KINDS if kind}

    def guess(self) -> str:
        """A place to list from; empty (the beginning) while all tasks fit into one page, or when nothing is known."""
        if not self._many or not self._stems:
            return ""
        stem = self._rng.choice(list(self._stems))
        return stem + self._rng.choice(self._stems[stem]) + self._rng.choice(_LETTERS)

    def whole(self, page: list[str]) -> None:
        """What the first page showed: ``page`` is empty when it held all there is."""
        self._many = bool(page)
        if page:
            self._add(page[0])

    def learn(self, start: str, page: list[str]) -> None:
        """Whether ids were found behind ``start``, and how they begin."""
        stem = max((one for one in self._stems if start.startswith(one)), key=len, default=None)
        if page:
            self._add(page[0])
        if stem is None or (page and page[0].startswith(stem)):
            return
        # Nothing of this kind lies so far behind.
        letters = [letter for letter in self._stems[stem] if letter < start[len(stem)]]
        if len(letters) == 1:
            del self._stems[stem]
            self._stems[stem + letters[0]] = list(_LETTERS)
        elif letters:
            self._stems[stem] = letters
        else:
            del self._stems[stem]

    def _add(self, task_id: str) -> None:
        stem = task_id[: task_id.find("-") + 1]
        if not any(one.startswith(stem) or stem.startswith(one) for one in self._stems if one):
            self._stems.setdefault(stem, list(_LETTERS))
