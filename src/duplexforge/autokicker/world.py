"""What the autokicker sees of the cluster at one moment, as frozen values; nothing here talks to anybody.

Amounts are plain numbers by resource name: cores for ``cpu``, bytes for ``memory``, pieces for GPUs and for ``pods``.
Times are seconds of the same clock as ``Observation.now``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Amounts = Mapping[str, float]
# Sums of decimal quantities (0.1 core) miss by less than this.
_DUST = 1e-9


@dataclass(frozen=True)
class Taint:
    """A taint that keeps pods away (``NoSchedule`` or ``NoExecute``)."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True)
class Toleration:
    """A toleration; an empty ``key`` or ``effect`` takes any."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True)
class Requirement:
    """One expression of a selector: ``In, NotIn, Exists, DoesNotExist, Gt, Lt``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Term:
    """One term of a required node affinity: all of its expressions must hold, on labels and on fields."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class Apart:
    """A required anti-affinity between pods of one node: no pod whose labels satisfy all of ``match`` beside this one."""

    match: tuple[Requirement, ...]
    namespaces: frozenset[str]


@dataclass(frozen=True)
class Node:
    """A node as the scheduler sees it. ``guessed``: made up from our own pods, because nodes may not be listed."""

    name: str
    allocatable: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    cordoned: bool = False
    guessed: bool = False


@dataclass(frozen=True)
class Pod:
    """A pod that has not ended. ``lost_work`` is what stopping it now would waste, in seconds (ours only).

    ``leaving`` is the time by which a pod that was told to stop must be gone. ``unschedulable``: the scheduler said so,
    with ``message``. ``since`` is the time of its last change between waiting and having a node.
    """

    uid: str
    name: str
    namespace: str
    requests: Amounts
    labels: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    leaving: float | None = None
    ready: bool = False
    running: bool = False
    priority: int = 0
    created: float = 0.0
    since: float = 0.0
    unschedulable: bool = False
    message: str = ""
    nominated: str = ""
    selector: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[Term, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    apart: tuple[Apart, ...] = ()
    gang: str = ""
    gang_size: int = 0
    unknown: str = ""
    lost_work: float = 0.0
    deletion_cost: int = 0

    @property
    def full_name(self) -> str:
        """``namespace/name``, as people write it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Gang:
    """A group of pods that its scheduler starts together: at least ``size`` of them or none."""

    name: str
    namespace: str
    size: int


@dataclass(frozen=True)
class Lent:
    """A Job of ours that may be suspended while others need what its pods hold: a gang, taken whole or not at all.

    ``size`` is how many pods it wants at a time, ``pods`` are those that it has, ``template`` is one like them. ``started``
    is when it was last let run; ``put_off`` since when an autokicker has suspended it, None when none has.
    """

    name: str
    size: int
    template: Pod
    version: str = ""
    uid: str = ""
    suspended: bool = False
    started: float = 0.0
    put_off: float | None = None
    pods: tuple[Pod, ...] = ()

    @property
    def placed(self) -> tuple[Pod, ...]:
        """Its pods that have a node and were not told to stop."""
        return tuple(pod for pod in self.pods if pod.node and pod.leaving is None)


@dataclass(frozen=True)
class Target:
    """Our Deployment: its size, the version to write against, and what people wrote on it.

    ``least`` and ``most`` are annotations by which a person bounds the autokicker; ``paused`` is another.
    ``rolling``: an update of the pods is under way.
    """

    name: str
    replicas: int
    version: str = ""
    uid: str = ""
    least: int = 0
    most: int | None = None
    paused: bool = False
    rolling: bool = False
    requests: Amounts = field(default_factory=dict)
    template: Pod | None = None


@dataclass(frozen=True)
class Observation:
    """Everything that a decision rests on.

    ``nodes`` is None when they may not be listed; then ``complete`` is false as well: pods of others may be hidden, so
    what is free is not known. ``open_tasks`` is the queue's depth (waiting and running), None when it is not known.
    ``ours`` are the pods of the target, ``kin`` other pods with the label that keeps them from being guests, ``others`` all
    the rest. ``rival`` names an HPA on the target, if there is one; ``unsure`` tells what could not be read: no growth.
    ``lent`` are Jobs of ours that may be suspended; their pods are among ``kin``.
    """

    now: float
    target: Target
    ours: tuple[Pod, ...] = ()
    others: tuple[Pod, ...] = ()
    kin: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] | None = ()
    complete: bool = True
    open_tasks: int | None = None
    rival: str = ""
    unsure: str = ""
    lent: tuple[Lent, ...] = ()

    @property
    def placed(self) -> tuple[Pod, ...]:
        """Ours that have a node and were not told to stop."""
        return tuple(pod for pod in self.ours if pod.node and pod.leaving is None)

    @property
    def waiting(self) -> tuple[Pod, ...]:
        """Ours that have no node."""
        return tuple(pod for pod in self.ours if not pod.node and pod.leaving is None)


def add(one: Amounts, other: Amounts, sign: float = 1.0) -> dict[str, float]:
    """``one + sign * other``, resource by resource."""
    total = dict(one)
    for name, amount in other.items():
        total[name] = total.get(name, 0.0) + sign * amount
    return total


def total(pods: Iterable[Pod]) -> dict[str, float]:
    """What pods request together."""
    amounts: dict[str, float] = {}
    for pod in pods:
        amounts = add(amounts, pod.requests)
    return amounts


def within(wanted: Amounts, room: Amounts) -> bool:
    """Whether ``wanted`` is there; a resource that the room does not name is not there."""
    return all(amount <= room.get(name, 0.0) + _DUST for name, amount in wanted.items() if amount > 0)
