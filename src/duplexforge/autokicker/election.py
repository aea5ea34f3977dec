"""One leader among the autokickers of a Deployment, by a Lease as Kubernetes' own controllers use it.

A Lease counts as abandoned when it has not changed for its length on *our* clock: clocks of other machines are not
compared. A leader that could not renew in time stops leading by itself before anybody may take over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from duplexforge import log
from duplexforge.autokicker.cluster import CONFLICT, FORBIDDEN, MERGE, MISSING, Cluster, ClusterError, Json, leases

# A leader gives up after this share of the length without a renewal, so that two never overlap.
_SURE = 2 / 3


class Election:
    """Holds, or waits for, the Lease ``name``. ``length`` is in seconds; ``changed`` is called when the leader changes."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, *, me: str, length: float, changed: Callable[[], None]
    ) -> None:
        self.me, self._length, self._changed = me, length, changed
        self._cluster, self._path, self._name = cluster, leases(namespace), name
        self._namespace = namespace
        self._renewed = float("-inf")
        self._seen: tuple[str, float] = ("", 0.0)
        self._holder = ""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._log = log.get("autokick", lease=name)
        self._said = False

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return time.monotonic() - self._renewed < self._length * _SURE and not self._stopping.is_set()

    @property
    def holder(self) -> str:
        """Who leads, as far as is known; empty when nobody does."""
        return self._holder

    def start(self) -> None:
        """Take part, in a thread."""
        threading.Thread(target=self._run, name="election", daemon=True).start()

    def stop(self) -> None:
        """Step down, so that another can take over at once."""
        with self._lock:
            was = self.leading
            self._stopping.set()
            if was:
                try:
                    self._write({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()})
                except ClusterError as error:
                    self._log.warning("lease not given up; it will expire", error=str(error))

    def note(self, notes: dict[str, str]) -> None:
        """Write annotations on the Lease, for ``status``."""
        with self._lock:
            self._cluster.annotate(f"{self._path}/{quote(self._name)}", dict(notes))

    def notes(self) -> dict[str, str]:
        """The annotations of the Lease; none when it is not there."""
        try:
            found = self._cluster.call("GET", f"{self._path}/{quote(self._name)}")
        except ClusterError as error:
            if error.status != MISSING:
                raise
            return {}
        return dict(found["metadata"].get("annotations") or {})

    def _run(self) -> None:
        while not self._stopping.is_set():
            before = self.leading
            try:
                self.once()
                self._said = False
            except ClusterError as error:
                if not self._said:
                    self._log.warning("cannot reach the lease", error=str(error), leading=self.leading)
                self._said = True
            if self.leading != before:
                self._log.info("leads now" if self.leading else "leads no more", me=self.me, holder=self._holder)
                self._changed()
            self._stopping.wait(self._length / 6 if self.leading else self._length / 10)

    def once(self) -> None:
        """Renew the Lease or try to take it."""
        with self._lock:
            if self._stopping.is_set():
                return
            # Taken before the request: the answer may be long on its way.
            asked = time.monotonic()
            try:
                found = self._cluster.call("GET", f"{self._path}/{quote(self._name)}")
            except ClusterError as error:
                if error.status != MISSING:
                    raise
                found = None
            try:
                if found is None:
                    self._create()
                elif self._free(found):
                    self._take(found)
                else:
                    return
            except ClusterError as error:
                if error.status != CONFLICT:  # somebody was faster
                    raise
                return
            # Counted from before the request: nobody may think us gone sooner than we do ourselves.
            self._renewed, self._holder = asked, self.me

    def once_seen(self) -> None:
        """Learn who leads, without taking part."""
        try:
            found = self._cluster.call("GET", f"{self._path}/{quote(self._name)}")
        except ClusterError as error:
            if error.status not in (MISSING, FORBIDDEN):
                raise
            return
        self._free(found)

    def _free(self, found: Json) -> bool:
        """Whether the Lease is ours, nobody's, or has not changed for its length."""
        spec, version = found.get("spec") or {}, str(found["metadata"]["resourceVersion"])
        self._holder = str(spec.get("holderIdentity") or "")
        record = f"{self._holder} {spec.get('renewTime')}"
        if record != self._seen[0]:
            self._seen = record, time.monotonic()
        # A pod that was restarted under its name finds its own Lease and goes on at once.
        if self._holder in ("", self.me):
            return bool(version)
        return time.monotonic() - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self._length)

    def _create(self) -> None:
        meta = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": self._spec(0)}
        self._cluster.call("POST", self._path, body=body)

    def _take(self, found: Json) -> None:
        spec = found.get("spec") or {}
        changes = int(spec.get("leaseTransitions") or 0) + (spec.get("holderIdentity") != self.me)
        fresh = self._spec(changes)
        if spec.get("holderIdentity") == self.me and spec.get("acquireTime"):
            fresh["acquireTime"] = spec["acquireTime"]
        self._cluster.call("PUT", f"{self._path}/{quote(self._name)}", body={**found, "spec": fresh})

    def _spec(self, changes: int) -> dict[str, Any]:
        now = _now()
        return {
            "holderIdentity": self.me,
            "leaseDurationSeconds": max(1, round(self._length)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": changes,
        }

    def _write(self, spec: dict[str, Any]) -> None:
        self._cluster.call("PATCH", f"{self._path}/{quote(self._name)}", body={"spec": spec}, kind=MERGE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
