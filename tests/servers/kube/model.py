"""The cluster: objects, controllers, scheduler and kubelets on one clock, which its owner turns.

>>> cluster = Cluster()
>>> cluster.load(objects.node("node-a"), objects.deployment("emiliapipe", replicas=8))
>>> cluster.advance(5.0)
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

from tests.servers.kube.deployments import Controllers
from tests.servers.kube.jobs import Jobs
from tests.servers.kube.kinds import NAMESPACES, PODS, Object, kind_of
from tests.servers.kube.kubelet import Kubelet
from tests.servers.kube.scheduler import Scheduler
from tests.servers.kube.store import Refused, Store
from tests.servers.kube.timeline import Timeline

# Saturday, 3 January 2026, 00:00 UTC: virtual time starts somewhere.
EPOCH = 1_767_398_400.0
# Controllers answer each other; more rounds than this and two of them would be at war.
_ROUNDS = 200


class Ticking(Protocol):
    """A part of the cluster that brings the objects to where they should be."""

    def tick(self) -> None:
        """One pass."""


class Cluster:
    """A cluster in virtual time. ``bare``: the API server alone, as envtest starts it, with nobody behind it."""

    def __init__(self, *, epoch: float = EPOCH, bare: bool = False) -> None:
        self.epoch, self.now = epoch, 0.0
        self.store = Store(self.clock)
        self.kubelet = Kubelet(self.store, self.clock)
        self._parts: list[Ticking] = []
        if not bare:
            owners = [Controllers(self.store, self.clock), Jobs(self.store, self.clock)]
            self._parts = [*owners, Scheduler(self.store, self.clock), self.kubelet]
        self.timeline = Timeline()
        self._settled = 0
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        """Seconds since 1970, for time stamps."""
        return self.epoch + self.now

    def load(self, *things: Object) -> None:
        """Create objects, with their namespaces, and let the cluster settle."""
        for thing in things:
            self._create(thing)
        self.settle()

    def _create(self, thing: Object) -> None:
        kind = kind_of(thing)
        if kind.namespaced:
            space = thing["metadata"].setdefault("namespace", "default")
            try:
                self.store.get(NAMESPACES, ("", space))
            except Refused:
                self.store.create(NAMESPACES, {"metadata": {"name": space}})
        self.store.create(kind, thing)

    def plan(self, at: float, *things: Object) -> None:
        """Create objects at a time to come."""
        self.do(at, lambda: [self._create(thing) for thing in things] and None)

    def do(self, at: float, action: Callable[[], None]) -> None:
        """Do something at a time to come."""
        heapq.heappush(self._plans, (at, next(self._numbers), action))

    def settle(self) -> None:
        """Let all parts answer each other until nobody has anything to change."""
        # When nothing has changed but, perhaps, the time: only the kubelets go by that.
        if self._parts and self.store.version == self._settled:
            self.kubelet.tick()
        if self.store.version == self._settled:
            return
        for _ in range(_ROUNDS):
            before = self.store.version
            for part in self._parts:
                part.tick()
            if self.store.version == before:
                self.timeline.record(self.now, self.store)
                self._settled = before
                return
        raise RuntimeError("the controllers do not come to rest")

    @property
    def next_at(self) -> float:
        """When the next thing happens by itself."""
        planned = self._plans[0][0] if self._plans else float("inf")
        return min(planned, self.kubelet.next_at - self.epoch)

    def advance(self, to: float) -> None:
        """Turn the clock to ``to`` through everything that happens until then."""
        self.settle()
        while self.next_at <= to:
            self.now = max(self.now, self.next_at)
            while self._plans and self._plans[0][0] <= self.now:
                heapq.heappop(self._plans)[2]()
            self.settle()
        self.now = max(self.now, to)
        self.timeline.record(self.now, self.store)

    def pods(self) -> list[Object]:
        """All pods."""
        return self.store.listed(PODS)
