"""Whether a pod would fit on a node: the scheduler's rules as far as they can be known from outside.

Judged are resources, ``nodeSelector``, required node affinity, taints, cordons and required anti-affinity between the
pods of one node. What else a scheduler weighs (volumes, spread, its own plugins) is in its message or comes out when a
pod does not take the room that was made for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from duplexforge.autokicker.world import (
    Amounts,
    Node,
    Observation,
    Pod,
    Requirement,
    Taint,
    Toleration,
    add,
    within,
)

_CORDON = Taint("node.kubernetes.io/unschedulable")
_DEFAULT_SCHEDULER = re.compile(r"\d+/\d+ nodes are (un)?available")
_INSUFFICIENT = re.compile(r"Insufficient ([A-Za-z0-9./_-]+[A-Za-z0-9])")


@dataclass
class Places:
    """Room on the nodes while a plan is made: what is free, and who sits where. Copied for every attempt."""

    nodes: Mapping[str, Node]
    free: dict[str, Amounts]
    pods: dict[str, tuple[Pod, ...]] = field(default_factory=dict)

    def copy(self) -> Places:
        """A copy to try something on."""
        return Places(self.nodes, dict(self.free), dict(self.pods))

    def take(self, pod: Pod, node: str) -> None:
        """Put a pod on a node."""
        self.free[node] = add(self.free[node], pod.requests, -1)
        self.pods[node] = (*self.pods.get(node, ()), pod)

    def leave(self, pod: Pod) -> None:
        """Take a pod off its node."""
        if pod.node in self.free:
            self.free[pod.node] = add(self.free[pod.node], pod.requests)
            self.pods[pod.node] = tuple(one for one in self.pods.get(pod.node, ()) if one.uid != pod.uid)

    def fits(self, pod: Pod, node: str) -> bool:
        """Whether a pod fits on a node as it is."""
        here = self.nodes[node]
        if obstacle(pod, here) or not apart(pod, self.pods.get(node, ())):
            return False
        return within(known(pod.requests, here), self.free[node])


def places(seen: Observation, *, soon: bool) -> Places:
    """The room there is; with ``soon`` also what pods hold that were told to stop and are in time.

    A nominated pod's place is taken: its scheduler has made the room itself.
    """
    nodes = {node.name: node for node in seen.nodes or ()}
    found = Places(nodes, {name: node.allocatable for name, node in nodes.items()})
    for pod in (*seen.ours, *seen.kin, *seen.others):
        place = pod.node or pod.nominated
        # Past its grace a pod hangs on a lost node: it may hold its place for ever.
        going = pod.leaving is not None and pod.leaving > seen.now
        if place in nodes and not (soon and going):
            found.take(pod, place)
    return found


def known(requests: Amounts, node: Node) -> Amounts:
    """The requests that can be judged on a node: on one that we may not see, only what is told of it."""
    return {name: amount for name, amount in requests.items() if name in node.allocatable} if node.guessed else requests


def obstacle(pod: Pod, node: Node) -> str:
    """Why a pod may never sit on a node, whoever leaves it; empty when it may."""
    # Labels and taints of a node that may not be seen are in the scheduler's message, if they matter.
    if node.guessed:
        return "" if within(known(pod.requests, node), node.allocatable) else "larger than the node"
    if node.cordoned and not _tolerated(pod.tolerations, _CORDON):
        return "cordoned"
    for taint in node.taints:
        if not _tolerated(pod.tolerations, taint):
            return f"untolerated taint {taint.key}"
    if any(node.labels.get(key) != value for key, value in pod.selector.items()):
        return "its nodeSelector wants another node"
    if pod.affinity and not any(_term(term.labels, term.fields, node) for term in pod.affinity):
        return "its node affinity wants another node"
    return "" if within(pod.requests, node.allocatable) else "larger than the node"


def apart(pod: Pod, beside: Iterable[Pod]) -> bool:
    """Whether no required anti-affinity, its own or a neighbour's, keeps a pod from these neighbours."""
    return not any(_repels(pod, other) or _repels(other, pod) for other in beside)


def _repels(one: Pod, other: Pod) -> bool:
    return any(other.namespace in rule.namespaces and matches(rule.match, other.labels) for rule in one.apart)


def insufficient(message: str) -> frozenset[str] | None:
    """The resources that a scheduler says are lacking; None when the message is not in the default scheduler's words."""
    if not _DEFAULT_SCHEDULER.match(message):
        return None
    # What follows tells why preemption would not help, and repeats words of the nodes.
    return frozenset(_INSUFFICIENT.findall(message.partition("preemption:")[0]))


def matches(wanted: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy every requirement."""
    return all(_satisfied(one, labels) for one in wanted)


def _satisfied(one: Requirement, labels: Mapping[str, str]) -> bool:
    have = labels.get(one.key)
    match one.operator:
        case "In":
            return have in one.values
        case "NotIn":
            return have not in one.values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt":
            return _compared(one.operator, have, one.values)
    return False


def _compared(operator: str, have: str | None, values: tuple[str, ...]) -> bool:
    try:
        left, right = int(have or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def _term(labels: tuple[Requirement, ...], fields: tuple[Requirement, ...], node: Node) -> bool:
    # An empty term selects nothing, so the API says.
    if not labels and not fields:
        return False
    return matches(labels, node.labels) and matches(fields, {"metadata.name": node.name})


def _tolerated(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    for one in tolerations:
        # An empty effect, or key, takes every one.
        if one.effect and one.effect != taint.effect:
            continue
        if one.key and one.key != taint.key:
            continue
        if one.operator == "Exists" or (one.key and one.value == taint.value):
            return True
    return False
