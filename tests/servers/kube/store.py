"""What etcd and the API server keep: objects with versions, and the history of changes that watches read."""

from __future__ import annotations

import copy
import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tests.servers.kube import rules
from tests.servers.kube.kinds import KINDS, PODS, PRIORITIES, Kind, Object, key_of


class Refused(Exception):
    """A request that the API server refuses, with the status and the reason of the real one."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Change:
    """One change: the version it made, what it was, and the object before and after."""

    version: int
    type: str
    kind: Kind
    new: Object
    old: Object | None


class Objects(Protocol):
    """What the controllers of the model need of an API: ours below, or a real one (:mod:`tests.cluster.remote`)."""

    def listed(self, kind: Kind) -> list[Object]:
        """All objects of a kind, as they are: to be read, never changed in place."""

    def create(self, kind: Kind, thing: Object) -> Object:
        """Create an object."""

    def replace(self, kind: Kind, thing: Object) -> Object:
        """Replace an object; its status stays."""

    def set_status(self, kind: Kind, thing: Object) -> Object:
        """Replace an object's status."""

    def bind(self, pod: Object, node: str) -> None:
        """Give a pod its node."""

    def delete(self, kind: Kind, key: tuple[str, str], grace: int | None = None) -> Object:
        """Delete an object; a pod on a node is told first and has ``grace`` seconds."""


class Store:
    """The objects. What it gives out is its own: callers copy before they change, and hand the copy back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {kind: {} for kind in KINDS}
        self._numbers = itertools.count()
        # The same story gives the same uids: ties in rankings are broken by them.
        self._rng = random.Random(0)
        self.version = 1
        self.oldest = 0
        self.history: list[Change] = []
        self.listeners: list[Callable[[Change], None]] = []

    def get(self, kind: Kind, key: tuple[str, str]) -> Object:
        """One object; 404 when there is none."""
        found = self._objects[kind].get(key)
        if found is None:
            raise Refused(404, "NotFound", f'{kind.plural} "{key[1]}" not found')
        return found

    def listed(self, kind: Kind) -> list[Object]:
        """All objects of a kind, by namespace and name."""
        return [thing for _, thing in sorted(self._objects[kind].items())]

    def create(self, kind: Kind, thing: Object) -> Object:
        """Create an object; 409 when the name is taken."""
        made = copy.deepcopy(thing)
        made |= {"apiVersion": kind.api_version, "kind": kind.name}
        meta = made.setdefault("metadata", {})
        if "name" not in meta:
            meta["name"] = f"{meta['generateName']}{next(self._numbers):05d}"
        if key_of(made) in self._objects[kind]:
            raise Refused(409, "AlreadyExists", f'{kind.plural} "{meta["name"]}" already exists')
        meta.update(uid=str(uuid.UUID(int=self._rng.getrandbits(128))), creationTimestamp=self.stamp(), generation=1)
        if kind == PODS:
            self._admit(made)
        return self._put("ADDED", kind, made, None)

    def replace(self, kind: Kind, thing: Object) -> Object:
        """Replace all but the status; 409 when ``thing`` names a version that is not the newest."""
        old = self._current(kind, thing)
        return self._write(kind, old, {**thing, "status": old["status"]} if "status" in old else thing)

    def set_status(self, kind: Kind, thing: Object) -> Object:
        """Replace the status alone; 409 as in :meth:`replace`."""
        old = self._current(kind, thing)
        return self._write(kind, old, {**old, "status": thing.get("status", {})})

    def bind(self, pod: Object, node: str) -> None:
        """Give a pod its node, as the scheduler's binding does."""
        bound = copy.deepcopy(pod)
        bound["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self.stamp()}
        bound["status"]["conditions"] = [condition]
        bound["status"].pop("nominatedNodeName", None)
        self._write(PODS, self.get(PODS, key_of(pod)), bound)

    def delete(self, kind: Kind, key: tuple[str, str], grace: int | None = None) -> Object:
        """Delete an object. A pod that has a node is only marked: its kubelet deletes it, with ``grace`` 0, when it ended."""
        old = self.get(kind, key)
        if kind == PODS and old["spec"].get("nodeName") and grace != 0:
            return self._mark(old, grace)
        # The last word on an object has a version of its own, so that watches can go on from there.
        del self._objects[kind][key]
        return self._put("DELETED", kind, copy.deepcopy(old), old)

    def stamp(self) -> str:
        """Now, in seconds, as Kubernetes writes it."""
        return rules.stamp(self._clock())

    def since(self, kind: Kind, version: int) -> Iterator[Change]:
        """The changes of a kind after ``version``; 410 when the history does not reach back so far."""
        if version < self.oldest:
            raise Refused(410, "Expired", f"too old resource version: {version} ({self.oldest})")
        return (change for change in self.history if change.version > version and change.kind == kind)

    def compact(self) -> None:
        """Forget the history, as etcd does after minutes: older watches get 410."""
        self.version += 1
        self.oldest, self.history = self.version, []

    def _current(self, kind: Kind, thing: Object) -> Object:
        old = self.get(kind, key_of(thing))
        wanted = thing["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            text = f'Operation cannot be fulfilled on {kind.plural} "{key_of(thing)[1]}": the object has been modified'
            raise Refused(409, "Conflict", text)
        return old

    def _write(self, kind: Kind, old: Object, new: Object) -> Object:
        made = copy.deepcopy(new)
        fixed = ("uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp")
        made["metadata"] |= {name: old["metadata"][name] for name in fixed if name in old["metadata"]}
        # A write that changes nothing makes no version and wakes nobody, as in etcd.
        if made == old:
            return old
        if made.get("spec") != old.get("spec"):
            made["metadata"]["generation"] += 1
        return self._put("MODIFIED", kind, made, old)

    def _mark(self, old: Object, grace: int | None) -> Object:
        if "deletionTimestamp" in old["metadata"]:
            return old
        seconds = old["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        marked = copy.deepcopy(old)
        due = rules.stamp(self._clock() + seconds)
        marked["metadata"] |= {"deletionTimestamp": due, "deletionGracePeriodSeconds": seconds}
        return self._put("MODIFIED", PODS, marked, old)

    def _put(self, type_: str, kind: Kind, made: Object, old: Object | None) -> Object:
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        if type_ != "DELETED":
            self._objects[kind][key_of(made)] = made
        change = Change(self.version, type_, kind, made, old)
        self.history.append(change)
        for listener in list(self.listeners):
            listener(change)
        return made

    def _admit(self, pod: Object) -> None:
        spec = pod["spec"]
        if name := spec.get("priorityClassName"):
            found = self.get(PRIORITIES, ("", name))
            spec["priority"] = found["value"]
            spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))
        spec.setdefault("priority", 0)
        spec.setdefault("terminationGracePeriodSeconds", 30)
        spec.setdefault("schedulerName", "default-scheduler")
        pod["status"] = {"phase": "Pending", **pod.get("status", {})}
