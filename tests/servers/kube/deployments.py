"""The Deployment and ReplicaSet controllers: rolling updates, and whom a ReplicaSet takes away when it shrinks."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.servers.kube import rules
from tests.servers.kube.kinds import DEPLOYMENTS, PODS, REPLICA_SETS, Object, key_of
from tests.servers.kube.store import Objects

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
REVISION = "pod-template-hash"


def owned(things: Sequence[Object], owner: Object) -> list[Object]:
    """Those of ``things`` that ``owner`` controls."""
    uid = owner["metadata"]["uid"]
    return [one for one in things if any(ref["uid"] == uid for ref in one["metadata"].get("ownerReferences", []))]


def active(pods: Sequence[Object]) -> list[Object]:
    """The pods that a ReplicaSet counts: neither ended nor told to stop."""
    return [pod for pod in pods if not rules.finished(pod) and not rules.leaving(pod)]


def ranked(pods: Sequence[Object], related: Sequence[Object], now: float) -> list[Object]:
    """The pods of a ReplicaSet, first the first to go: the order of the real controller.

    Without a node, pending, not ready, low deletion cost, many of ``related`` on the same node, ready for a short time
    (on a scale of powers of two), young. The cost counts only among pods that are equal in all that stands before it.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in active(related))

    def order(pod: Object) -> tuple[Any, ...]:
        status = pod["status"]
        return (
            bool(pod["spec"].get("nodeName")),
            {"Pending": 0, "Unknown": 1}.get(status.get("phase", ""), 2),
            rules.ready(pod),
            int(rules.annotation(pod, DELETION_COST, "0")),
            -crowd[pod["spec"].get("nodeName", "")],
            _magnitude(rules.condition(pod, "Ready").get("lastTransitionTime"), now) if rules.ready(pod) else 0,
            -sum(one["restartCount"] for one in status.get("containerStatuses", [])),
            _magnitude(pod["metadata"]["creationTimestamp"], now),
            pod["metadata"]["uid"],
        )

    return sorted(pods, key=order)


def _magnitude(since: str | None, now: float) -> int:
    age = now - rules.seconds(since) if since else 0.0
    return int(math.log2(age)) if age >= 1 else 0


class Controllers:
    """Both controllers over one store."""

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects, self._clock = objects, clock

    def tick(self) -> None:
        """One pass over all Deployments and their ReplicaSets."""
        for deployment in self._objects.listed(DEPLOYMENTS):
            self._roll(deployment)
        deployments = {one["metadata"]["uid"]: one for one in self._objects.listed(DEPLOYMENTS)}
        pods, sets = self._objects.listed(PODS), self._objects.listed(REPLICA_SETS)
        for each in sets:
            owner = next((ref["uid"] for ref in each["metadata"].get("ownerReferences", [])), "")
            if owner and owner not in deployments:
                self._orphan(each, owned(pods, each))
                continue
            family = owned(sets, deployments[owner]) if owner else [each]
            related = [pod for one in family for pod in owned(pods, one)]
            self._fill(each, owned(pods, each), related)

    # -- Deployments -----------------------------------------------------------------------------------------------

    def _roll(self, deployment: Object) -> None:
        sets = owned(self._objects.listed(REPLICA_SETS), deployment)
        wanted = int(deployment["spec"].get("replicas", 1))
        newest = self._newest(deployment, sets)
        old = [one for one in sets if one["metadata"]["name"] != newest["metadata"]["name"]]
        pods = self._objects.listed(PODS)
        strategy = deployment["spec"].get("strategy", {})
        if strategy.get("type") == "Recreate":
            for one in old:
                self._size(one, 0)
            self._size(newest, wanted if not any(owned(pods, one) for one in old) else 0)
        else:
            self._replace_step(newest, old, wanted, strategy.get("rollingUpdate", {}))
        self._report(deployment, newest, [newest, *old])

    def _replace_step(self, newest: Object, old: list[Object], wanted: int, limits: Mapping[str, Any]) -> None:
        """One step of a rolling update; with no old pods left, a plain change of size."""
        surge = _share(limits.get("maxSurge", "25%"), wanted, math.ceil)
        # Surge is rounded up and absence down, so that one of a kind is never gone.
        least = wanted - _share(limits.get("maxUnavailable", "25%"), wanted, math.floor)
        others = sum(one["spec"]["replicas"] for one in old)
        size = newest["spec"]["replicas"]
        size = min(wanted, max(size, wanted + surge - others))
        self._size(newest, size)
        pods = self._objects.listed(PODS)
        ready = {one["metadata"]["name"]: _ready(owned(pods, one)) for one in [newest, *old]}
        room = size + others - least - (size - ready[newest["metadata"]["name"]])
        spare = sum(ready.values()) - least
        for one in old if room > 0 else []:
            here, well = one["spec"]["replicas"], ready[one["metadata"]["name"]]
            # Pods that never became ready hold nothing up: they go first, and with them goes no availability.
            sick = min(here - min(well, here), room)
            fine = min(max(spare, 0), here - sick)
            room, spare = room - sick, spare - fine
            self._size(one, here - sick - fine)

    def _newest(self, deployment: Object, sets: list[Object]) -> Object:
        template = deployment["spec"]["template"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        name = f"{deployment['metadata']['name']}-{digest}"
        found = next((one for one in sets if one["metadata"]["name"] == name), None)
        if found:
            return found
        template = copy.deepcopy(template)
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[REVISION] = digest
        meta = {
            "name": name, "namespace": deployment["metadata"]["namespace"], "labels": dict(labels),
            "ownerReferences": [_reference(deployment)],
        }  # fmt: skip
        selector = {"matchLabels": dict(labels)}
        spec = {"replicas": 0, "selector": selector, "template": template}
        return self._objects.create(REPLICA_SETS, {"metadata": meta, "spec": spec, "status": {"replicas": 0}})

    def _size(self, each: Object, replicas: int) -> None:
        if each["spec"]["replicas"] != replicas:
            changed = copy.deepcopy(self._again(REPLICA_SETS, each))
            changed["spec"]["replicas"] = replicas
            self._objects.replace(REPLICA_SETS, changed)

    def _report(self, deployment: Object, newest: Object, sets: list[Object]) -> None:
        every = self._objects.listed(PODS)
        pods = [pod for one in sets for pod in active(owned(every, one))]
        ready = _ready(pods)
        told = {
            "observedGeneration": deployment["metadata"]["generation"], "replicas": len(pods), "readyReplicas": ready,
            "updatedReplicas": len(active(owned(every, newest))), "availableReplicas": ready,
            "unavailableReplicas": max(0, int(deployment["spec"].get("replicas", 1)) - ready),
        }  # fmt: skip
        self._tell(DEPLOYMENTS, deployment, told)

    # -- ReplicaSets -----------------------------------------------------------------------------------------------

    def _fill(self, each: Object, pods: list[Object], related: list[Object]) -> None:
        here = active(pods)
        missing = each["spec"]["replicas"] - len(here)
        for _ in range(missing):
            template = copy.deepcopy(each["spec"]["template"])
            meta = template["metadata"] | {
                "generateName": f"{each['metadata']['name']}-", "namespace": each["metadata"]["namespace"],
                "ownerReferences": [_reference(each)],
            }  # fmt: skip
            self._objects.create(PODS, {"metadata": meta, "spec": template["spec"]})
        if missing < 0:
            for pod in ranked(here, related, self._clock())[:-missing]:
                self._objects.delete(PODS, key_of(pod))
        ready = _ready(here)
        told = {"replicas": len(here), "readyReplicas": ready, "availableReplicas": ready}
        self._tell(REPLICA_SETS, each, told)

    def _orphan(self, each: Object, pods: list[Object]) -> None:
        """The Deployment is gone: so is all that was made for it."""
        for pod in active(pods):
            self._objects.delete(PODS, key_of(pod))
        self._objects.delete(REPLICA_SETS, key_of(each))

    def _tell(self, kind: Any, thing: Object, status: Object) -> None:
        newest = self._again(kind, thing)
        if {**newest.get("status", {}), **status} != newest.get("status"):
            self._objects.set_status(kind, {**newest, "status": {**newest.get("status", {}), **status}})

    def _again(self, kind: Any, thing: Object) -> Object:
        return next(one for one in self._objects.listed(kind) if key_of(one) == key_of(thing))


def _ready(pods: Sequence[Object]) -> int:
    return sum(rules.ready(pod) for pod in active(pods))


def _share(value: str | int, whole: int, rounded: Callable[[float], int]) -> int:
    return rounded(whole * int(value[:-1]) / 100) if isinstance(value, str) and value.endswith("%") else int(value)


def _reference(owner: Object) -> Object:
    meta = owner["metadata"]
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"],
            "controller": True, "blockOwnerDeletion": True}  # fmt: skip
