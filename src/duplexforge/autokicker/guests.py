"""Who is a guest: a pod of somebody else that waits for what ours hold, and that freeing it could help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.schedule import insufficient, obstacle
from duplexforge.autokicker.victims import Group
from duplexforge.autokicker.world import Observation, Pod


@dataclass(frozen=True)
class Verdict:
    """What the autokicker makes of one waiting pod: ``word`` is guest, served, helped, beyond or ignored; ``why`` in words."""

    pod: str
    amount: float
    word: str
    why: str


def sift(seen: Observation, memory: Memory, resource: str) -> tuple[tuple[Group, ...], list[Verdict]]:
    """The guests by gang, and a verdict on everybody else who waits."""
    groups: list[Group] = []
    ignored: list[Verdict] = []
    for group in _gangs(pod for pod in seen.others if not pod.node and pod.leaving is None):
        why = _no_guest(group, seen, memory, resource)
        if why:
            ignored += [Verdict(pod.full_name, pod.requests.get(resource, 0), "ignored", why) for pod in group.pods]
        else:
            groups.append(group)
    return tuple(groups), ignored


def _gangs(pods: Iterable[Pod]) -> list[Group]:
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        found.setdefault(f"{pod.namespace}/{pod.gang}" if pod.gang else pod.uid, []).append(pod)
    return [Group(pods[0].gang or pods[0].full_name, tuple(pods)) for pods in found.values()]


def _no_guest(group: Group, seen: Observation, memory: Memory, resource: str) -> str:
    """Why nobody has to yield to these pods; empty for guests."""
    waiting = [pod for pod in group.pods if pod.unschedulable]
    if not any(pod.requests.get(resource, 0) > 0 for pod in group.pods):
        return f"asks for no {resource}"
    if not waiting:
        return "its scheduler has not found it unschedulable"
    # Its scheduler is stopping others for it (perhaps ours): a second choice of victims would double the price.
    if all(pod.nominated for pod in waiting):
        return f"is being served already: its scheduler makes room on {waiting[0].nominated}"
    if unknown := next((pod.unknown for pod in group.pods if pod.unknown), ""):
        return f"we cannot tell whether freeing {resource} would help: {unknown}"
    if memory.abandoned & {pod.uid for pod in group.pods}:
        return "all of ours were gone and it did not start: what it lacks is something else"
    if size := max(pod.gang_size for pod in group.pods):
        gang = (group.pods[0].namespace, group.pods[0].gang)
        members = sum(1 for pod in seen.others if (pod.namespace, pod.gang) == gang and pod.leaving is None)
        if members < size:
            return f"its gang has {members} of {size} pods"
    # One member's message is enough: a gang scheduler says of the others only that they wait for it.
    if not any(_lacks_ours(pod, seen, resource) for pod in waiting):
        return f"does not wait for {resource}: {_short(waiting[0].message)}"
    return ""


def _lacks_ours(pod: Pod, seen: Observation, resource: str) -> bool:
    """Whether the scheduler's message speaks of something that our pods hold; one that says nothing may."""
    # Our pods hold cores and memory too, and a guest that lacks only those waits for ours all the same.
    lacking = insufficient(pod.message)
    return lacking is None or bool(lacking & {resource, *seen.target.requests})


def beyond(group: Group, seen: Observation, resource: str) -> str:
    """Why not even all of ours gone would help, in words."""
    if seen.nodes is None or not seen.complete:
        return f"ours hold too little {resource} on any one node"
    if len(group.pods) > 1:
        return f"its {len(group.pods)} pods start together, and not all of them would fit with all of ours gone"
    reasons = sorted({obstacle(group.pods[0], node) for node in seen.nodes} - {""})
    if reasons and all(obstacle(group.pods[0], node) for node in seen.nodes):
        return f"no node takes it: {'; '.join(reasons)}"
    return "others hold what it needs on the nodes that would take it"


def _short(message: str) -> str:
    text = message.partition(" preemption:")[0]
    return text if len(text) <= 160 else f"{text[:159]}…"
