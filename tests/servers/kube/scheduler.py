"""The default scheduler: by priority, then by age; filter, spread, bind; preempt where priority allows it.

Groups (label ``scheduling.x-k8s.io/pod-group`` with a PodGroup object) are bound all or none, as coscheduling does it;
without the object their pods go one by one, as in a plain cluster.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.servers.kube import rules
from tests.servers.kube.kinds import CLAIMS, NODES, POD_GROUPS, PODS, Object, key_of
from tests.servers.kube.store import Objects

GROUP = "scheduling.x-k8s.io/pod-group"
# Kueue's way of saying on a pod how many its group has.
GROUP_SIZE = "kueue.x-k8s.io/pod-group-total-count"
Used = dict[str, Counter[str]]


def waiting(pod: Object) -> bool:
    """Whether a pod has no node yet and wants one."""
    return not pod["spec"].get("nodeName") and not rules.leaving(pod) and not rules.finished(pod)


class Scheduler:
    """Gives every pod that waits a node, or says on the pod why not."""

    def __init__(self, objects: Objects, clock: Callable[[], float]) -> None:
        self._objects, self._clock = objects, clock
        # Pods are queued as they are first seen: the time stamps of objects have whole seconds only.
        self._order: dict[str, int] = {}
        self._nodes: list[Object] = []
        self._pods: list[Object] = []
        self._used: Used = {}

    def tick(self) -> None:
        """One pass over all pods that wait."""
        self._pods, self._nodes = self._objects.listed(PODS), self._objects.listed(NODES)
        self._used = {node["metadata"]["name"]: Counter() for node in self._nodes}
        for pod in self._pods:
            if (name := pod["spec"].get("nodeName")) in self._used and not rules.finished(pod):
                self._used[name].update(rules.requests(pod))
        queue = [pod for pod in self._pods if waiting(pod) and pod["spec"]["schedulerName"] == "default-scheduler"]
        for pod in queue:
            self._order.setdefault(pod["metadata"]["uid"], len(self._order))
        bound: set[str] = set()
        for pod in sorted(queue, key=lambda one: (-one["spec"]["priority"], self._order[one["metadata"]["uid"]])):
            if pod["metadata"]["uid"] not in bound:
                bound |= self._schedule(pod, queue)

    def _schedule(self, pod: Object, queue: list[Object]) -> set[str]:
        if pod["spec"].get("schedulingGates"):
            self._tell(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
            return set()
        if lost := self._unbound(pod):
            self._tell(pod, "Unschedulable", lost)
            return set()
        members = self._members(pod, queue)
        chosen = self._together(members) if members else {}
        if chosen:
            for one in members:
                self._objects.bind(one, chosen[one["metadata"]["uid"]])
            return set(chosen)
        self._tell(pod, "Unschedulable", self._why(pod))
        if not self._group_size(pod):
            self._preempt(pod)
        return set()

    # -- groups ----------------------------------------------------------------------------------------------------

    def _group_size(self, pod: Object) -> int:
        name = pod["metadata"].get("labels", {}).get(GROUP)
        space = pod["metadata"]["namespace"]
        groups = self._objects.listed(POD_GROUPS)
        return next((int(one["spec"]["minMember"]) for one in groups if key_of(one) == (space, name)), 0)

    def _members(self, pod: Object, queue: list[Object]) -> list[Object]:
        size = self._group_size(pod)
        if not size:
            return [pod]

        def same(one: Object) -> bool:
            mine, theirs = pod["metadata"], one["metadata"]
            return theirs.get("labels", {}).get(GROUP) == mine["labels"][GROUP] and (
                theirs["namespace"] == mine["namespace"] and not rules.finished(one) and not rules.leaving(one)
            )

        here = sum(1 for one in self._pods if one["spec"].get("nodeName") and same(one))
        found = [one for one in queue if same(one)]
        return found if here + len(found) >= size else []

    def _together(self, pods: list[Object]) -> dict[str, str]:
        """A node for each pod, all or none; what they take stays taken in this pass."""
        before, chosen = copy.deepcopy(self._used), {}
        for pod in pods:
            name = self._best(pod)
            if not name:
                self._used = before
                return {}
            self._used[name].update(rules.requests(pod))
            chosen[pod["metadata"]["uid"]] = name
        return chosen

    # -- one pod ---------------------------------------------------------------------------------------------------

    def _best(self, pod: Object) -> str:
        """The node with the fewest pods of the same owner, then the most room; empty when none fits."""
        fitting = [
            node["metadata"]["name"]
            for node in self._nodes
            if not rules.obstacle(pod, node) and not rules.lacking(pod, node, self._taken(pod, node))
        ]
        owners = {one["uid"] for one in pod["metadata"].get("ownerReferences", [])}

        def crowd(name: str) -> int:
            return sum(
                1
                for one in self._pods
                if one["spec"].get("nodeName") == name
                and owners & {owner["uid"] for owner in one["metadata"].get("ownerReferences", [])}
            )

        return min(fitting, key=lambda name: (crowd(name), self._used[name][rules.GPU], name), default="")

    def _taken(self, pod: Object, node: Object) -> Counter[str]:
        """What a pod must leave alone on a node: what is held, and what pods nominated for it will hold."""
        name = node["metadata"]["name"]
        taken = Counter(self._used[name])
        for other in self._pods:
            nominated = waiting(other) and other["status"].get("nominatedNodeName") == name
            if nominated and other is not pod and other["spec"]["priority"] >= pod["spec"]["priority"]:
                taken.update(rules.requests(other))
        return taken

    def _unbound(self, pod: Object) -> str:
        """What the scheduler says of a volume that is not there; the pod waits for that and for nothing else."""
        bound = {key_of(one): one.get("status", {}).get("phase") == "Bound" for one in self._objects.listed(CLAIMS)}
        for volume in pod["spec"].get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                state = bound.get((pod["metadata"]["namespace"], claim["claimName"]))
                said = "pod has unbound immediate PersistentVolumeClaims"
                if state is None:
                    said = f'persistentvolumeclaim "{claim["claimName"]}" not found'
                if not state:
                    return f"0/{len(self._nodes)} nodes are available: {said}."
        return ""

    def _why(self, pod: Object) -> str:
        reasons: Counter[str] = Counter()
        for node in self._nodes:
            obstacle = rules.obstacle(pod, node)
            short = [f"Insufficient {name}" for name in rules.lacking(pod, node, self._taken(pod, node))]
            reasons.update([obstacle] if obstacle else short)
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        return f"0/{len(self._nodes)} nodes are available: {said or 'no nodes'}."

    def _tell(self, pod: Object, reason: str, message: str) -> None:
        known = rules.condition(pod, "PodScheduled")
        if (known.get("reason"), known.get("message")) != (reason, message):
            told = copy.deepcopy(self._newest(pod))
            since = known.get("lastTransitionTime", rules.stamp(self._clock()))
            told["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": reason, "message": message,
                 "lastTransitionTime": since}
            ]  # fmt: skip
            self._objects.set_status(PODS, told)

    def _newest(self, pod: Object) -> Object:
        return next(one for one in self._objects.listed(PODS) if key_of(one) == key_of(pod))

    # -- preemption ------------------------------------------------------------------------------------------------

    def _preempt(self, pod: Object) -> None:
        if pod["spec"].get("preemptionPolicy") == "Never":
            return
        lower = [one for one in self._pods if one["spec"]["priority"] < pod["spec"]["priority"]]
        nominated = pod["status"].get("nominatedNodeName")
        # Its victims are still stopping: it would take twice what it needs.
        if nominated and any(one["spec"].get("nodeName") == nominated and rules.leaving(one) for one in lower):
            return
        found = [(node, victims) for node in self._nodes if (victims := self._victims(pod, node, lower)) is not None]
        if not found:
            return
        node, victims = min(found, key=lambda one: (_cost(one[1]), one[0]["metadata"]["name"]))
        told = copy.deepcopy(self._newest(pod))
        told["status"]["nominatedNodeName"] = node["metadata"]["name"]
        self._objects.set_status(PODS, told)
        pod["status"]["nominatedNodeName"] = node["metadata"]["name"]
        for victim in victims:
            self._objects.delete(PODS, key_of(victim))

    def _victims(self, pod: Object, node: Object, lower: list[Object]) -> list[Object] | None:
        """The fewest pods of lower priority whose end makes room; the youngest of the least priority go first."""
        if rules.obstacle(pod, node):
            return None
        name = node["metadata"]["name"]
        here = [one for one in lower if one["spec"].get("nodeName") == name and not rules.finished(one)]
        used = self._taken(pod, node)
        for one in here:
            used.subtract(rules.requests(one))
        if rules.lacking(pod, node, used):
            return None
        victims = []
        for one in sorted(here, key=lambda one: (-one["spec"]["priority"], _age(one))):
            used.update(rules.requests(one))
            if rules.lacking(pod, node, used):
                used.subtract(rules.requests(one))
                victims.append(one)
        return [one for one in victims if not rules.leaving(one)] if victims else None


def _age(pod: Object) -> tuple[str, int]:
    return pod["status"].get("startTime", "9"), int(pod["metadata"]["resourceVersion"])


def _cost(victims: list[Object]) -> tuple[Any, ...]:
    ranks = [one["spec"]["priority"] for one in victims]
    return max(ranks, default=0), sum(ranks), len(victims)
