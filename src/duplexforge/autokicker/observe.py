"""One observation out of the mirrored pods, nodes and the Deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from duplexforge.autokicker.parse import JOB_NAME, Json, chooses
from duplexforge.autokicker.parse import target as read_target
from duplexforge.autokicker.world import Gang, Lent, Node, Observation, Pod, Target
from duplexforge.config import AutokickSettings


@dataclass(frozen=True)
class Ours:
    """Our Deployment: its size and bounds, and how its pods are told from others."""

    target: Target
    namespace: str
    selector: Json

    def has(self, pod: Pod) -> bool:
        """Whether a pod is the Deployment's."""
        return pod.namespace == self.namespace and chooses(self.selector, pod.labels)


def ours(found: Json) -> Ours:
    """The Deployment from its JSON."""
    return Ours(
        read_target(found), str(found["metadata"]["namespace"]), (found.get("spec") or {}).get("selector") or {}
    )


def observe(
    mine: Ours,
    pods: Iterable[Pod],
    nodes: Sequence[Node] | None,
    config: AutokickSettings,
    *,
    now: float,
    complete: bool = True,
    open_tasks: int | None = None,
    lost_work: Mapping[str, float] | None = None,
    gangs: Iterable[Gang] = (),
    lent: Iterable[Lent] = (),
    rival: str = "",
    unsure: str = "",
) -> Observation:
    """Sort the pods into ours, kin and others.

    ``lost_work`` by pod name adds to what the pods say of themselves, ``gangs`` tell how many belong together, ``lent`` are
    the Jobs that may be suspended.
    """
    sizes = {(gang.namespace, gang.name): gang.size for gang in gangs}
    own, kin, others = [], [], []
    for pod in pods:
        if mine.has(pod):
            lost = (lost_work or {}).get(pod.name, 0.0)
            own.append(replace(pod, lost_work=max(pod.lost_work, lost)) if lost else pod)
        elif pod.labels.get(config.exclude_label) == config.exclude_value:
            kin.append(pod)
        else:
            size = sizes.get((pod.namespace, pod.gang), 0) if pod.gang else 0
            others.append(replace(pod, gang_size=size) if size else pod)
    return Observation(
        now=now,
        target=mine.target,
        ours=tuple(sorted(own, key=lambda pod: pod.name)),
        kin=tuple(kin),
        others=tuple(sorted(others, key=lambda pod: pod.full_name)),
        nodes=None if nodes is None else tuple(sorted(nodes, key=lambda node: node.name)),
        complete=complete,
        open_tasks=open_tasks,
        rival=rival,
        unsure=unsure,
        lent=tuple(replace(job, pods=_pods_of(job, (*kin, *others), mine.namespace)) for job in lent),
    )


def _pods_of(job: Lent, pods: Iterable[Pod], namespace: str) -> tuple[Pod, ...]:
    mine = [pod for pod in pods if pod.namespace == namespace and pod.labels.get(JOB_NAME) == job.name]
    return tuple(sorted(mine, key=lambda pod: pod.name))
