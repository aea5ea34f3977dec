"""A mirror of one collection of the API server: listed, then kept up by watching, and listed afresh every now and then.

What was missed, doubled or came out of order is put right by the next listing. While a listing fails the mirror says so
(:attr:`Mirror.fault`): nobody may decide on what it shows.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from duplexforge import log
from duplexforge.autokicker.cluster import GONE, Cluster, ClusterError, Json

V = TypeVar("V")
_SHORTEST, _LONGEST = 0.2, 30.0


@dataclass(frozen=True)
class Collection(Generic[V]):
    """What to mirror: where it is, how an object is read; ``read`` gives None for one that does not matter."""

    name: str
    path: str
    read: Callable[[Json], V | None]
    query: dict[str, Any] = field(default_factory=dict)


NOT_YET = "not listed yet"
"""Fault of a mirror that has neither been listed nor refused so far."""


class Mirror(Generic[V]):
    """Keeps the values of a collection by uid in a thread; calls ``changed`` after each change."""

    def __init__(self, cluster: Cluster, what: Collection[V], interval: float, changed: Callable[[], None]) -> None:
        self.what = what
        self.fault = NOT_YET
        self._cluster, self._interval, self._changed = cluster, interval, changed
        self._lock = threading.Lock()
        self._values: dict[str, V] = {}
        self._stopping = threading.Event()
        self._log = log.get("autokick", collection=what.name)
        self._failures = 0

    def start(self) -> None:
        """Begin to list and watch, in a thread that ends with the process."""
        threading.Thread(target=self._run, name=f"mirror-{self.what.name}", daemon=True).start()

    def stop(self) -> None:
        """Watch no more, soon."""
        self._stopping.set()

    def values(self) -> list[V]:
        """The values as they are now."""
        with self._lock:
            return list(self._values.values())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                version = self._list()
                self._watch(version)
            except ClusterError as error:
                if error.status != GONE:
                    self._back_off(error)
            except Exception as error:  # noqa: BLE001 - the thread's boundary: an odd object must not end the watch
                self._back_off(error)

    def _list(self) -> str:
        items, version = self._cluster.listing(self.what.path, **self.what.query)
        fresh = {item["metadata"]["uid"]: value for item in items if (value := self.what.read(item)) is not None}
        # An equal listing wakes nobody: it comes every INTERVAL, for each collection.
        with self._lock:
            different = fresh != self._values or bool(self.fault)
            self._values = fresh
            if self.fault and self._failures:
                self._log.info("listed again")
            self.fault, self._failures = "", 0
        if different:
            self._changed()
        return version

    def _watch(self, version: str) -> None:
        """Follow changes until it is time to list again."""
        until = time.monotonic() + self._interval
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            for kind, item in self._cluster.changes(self.what.path, version, max(1, round(left)), **self.what.query):
                # Bookmarks carry nothing but a version, so that a quiet watch does not fall behind.
                version = item["metadata"].get("resourceVersion") or version
                if kind != "BOOKMARK":
                    self._apply(kind, item)

    def _apply(self, kind: str, item: Json) -> None:
        uid = item["metadata"]["uid"]
        value = None if kind == "DELETED" else self.what.read(item)
        with self._lock:
            before = self._values.get(uid)
            if value is None:
                self._values.pop(uid, None)
            else:
                self._values[uid] = value
        if value != before:
            self._changed()

    def _back_off(self, error: Exception) -> None:
        """Wait, longer each time. A watch that breaks once is no reason for doubt: the listing after it tells."""
        self._failures += 1
        if self._failures > 1:
            self.fault = str(error)
            self._log.warning("cannot see it; the scale stays as it is", error=str(error), failures=self._failures)
            self._changed()
        wanted = min(_LONGEST, _SHORTEST * 2 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)
        self._stopping.wait(max(wanted, getattr(error, "after", None) or 0.0))
