"""From the API's JSON to the values of ``world.py``. What is missing or odd in an object is read as the API would mean it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from duplexforge.autokicker.world import (
    Apart,
    Gang,
    Lent,
    Node,
    Pod,
    Requirement,
    Taint,
    Target,
    Term,
    Toleration,
    add,
)

Json = Mapping[str, Any]
PREFIX = "duplexforge.io/"
LOST_WORK = f"{PREFIX}lost-work-seconds"
LENT = f"{PREFIX}lent"
PUT_OFF = f"{PREFIX}autokick-suspended"
JOB_NAME = "batch.kubernetes.io/job-name"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([A-Za-z]*))")
_HOSTNAME = "kubernetes.io/hostname"
_SIZES = (
    f"{PREFIX}gang-size",
    "kueue.x-k8s.io/pod-group-total-count",
    "pod-group.scheduling.sigs.k8s.io/min-available",
)


def quantity(text: object) -> float:
    """A quantity (``250m``, ``32``, ``512Gi``, ``1e3``) as a number; ValueError when it is none."""
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None or (found[3] or "") not in _UNITS:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1] + (found[2] or "")) * _UNITS[found[3] or ""]


def instant(text: object) -> float:
    """A time of the API as seconds since 1970; 0 when there is none."""
    if not text:
        return 0.0
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()


def amounts(found: Json | None) -> dict[str, float]:
    """A list of resources as numbers."""
    return {name: quantity(value) for name, value in (found or {}).items()}


def pod(found: Json, gang_names: Iterable[str] = ()) -> Pod:
    """A pod from its JSON."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    placed, labels = conditions.get("PodScheduled", {}), meta.get("labels") or {}
    notes = meta.get("annotations") or {}
    unschedulable = placed.get("status") == "False" and placed.get("reason") == "Unschedulable"
    leaving = meta.get("deletionTimestamp")
    group = _gang(spec, labels, notes, gang_names)
    sizes = [notes.get(name) or labels.get(name) for name in _SIZES]
    return Pod(
        uid=meta.get("uid", ""),
        name=meta.get("name", ""),
        namespace=meta.get("namespace", ""),
        requests=requests(spec),
        labels=labels,
        node=spec.get("nodeName") or "",
        leaving=instant(leaving) if leaving else None,
        ready=conditions.get("Ready", {}).get("status") == "True",
        running=status.get("phase") == "Running",
        priority=int(spec.get("priority") or 0),
        created=instant(meta.get("creationTimestamp")),
        since=instant(placed.get("lastTransitionTime")),
        unschedulable=unschedulable,
        message=str(placed.get("message") or "") if unschedulable else "",
        nominated=status.get("nominatedNodeName") or "",
        selector=spec.get("nodeSelector") or {},
        affinity=_affinity(spec),
        tolerations=tuple(_toleration(one) for one in spec.get("tolerations") or ()),
        apart=tuple(_apart(spec, meta.get("namespace", ""))),
        gang=group,
        gang_size=_whole(next((size for size in sizes if size), 0)) if group else 0,
        unknown="it claims devices by resource claims" if spec.get("resourceClaims") else "",
        lost_work=_number(notes.get(LOST_WORK)),
        deletion_cost=_whole(notes.get(DELETION_COST)),
    )


def requests(spec: Json) -> dict[str, float]:
    """What the scheduler counts for a pod: containers together, or the largest start-up step, overhead, one pod place."""
    running: dict[str, float] = {}
    for container in spec.get("containers") or ():
        running = add(running, _wanted(container))
    # Sidecars start before what follows them and stay, so they count in both sums.
    sidecars: dict[str, float] = {}
    starting: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars = add(sidecars, _wanted(container))
            continue
        step = add(sidecars, _wanted(container))
        starting = {name: max(step.get(name, 0), starting.get(name, 0)) for name in {*step, *starting}}
    running = add(running, sidecars)
    largest = {name: max(running.get(name, 0), starting.get(name, 0)) for name in {*running, *starting}}
    return add(add(largest, amounts(spec.get("overhead"))), {"pods": 1.0})


def _wanted(container: Json) -> dict[str, float]:
    # A limit without a request is a request: so GPUs are mostly written.
    resources = container.get("resources") or {}
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def ended(found: Json) -> bool:
    """Whether a pod has ended: it is still listed and holds nothing."""
    return (found.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def gang(found: Json) -> Gang:
    """A PodGroup of coscheduling or Volcano: both name the least number of members alike."""
    meta, spec = found["metadata"], found.get("spec") or {}
    return Gang(meta["name"], meta.get("namespace", ""), _whole(spec.get("minMember")))


def node(found: Json) -> Node:
    """A node from its JSON; one that is not ready takes nobody, as its taints say in a real cluster."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    conditions = {one["type"]: one.get("status") for one in status.get("conditions") or ()}
    taints = [Taint(one["key"], one.get("value") or "", one["effect"]) for one in spec.get("taints") or ()]
    return Node(
        name=meta["name"],
        allocatable={"pods": 110.0, **amounts(status.get("allocatable"))},
        labels=meta.get("labels") or {},
        taints=tuple(one for one in taints if one.effect != "PreferNoSchedule"),
        cordoned=bool(spec.get("unschedulable")) or conditions.get("Ready", "True") != "True",
    )


def target(found: Json) -> Target:
    """Our Deployment from its JSON."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    notes = meta.get("annotations") or {}
    replicas = int(spec.get("replicas", 1))
    inside = spec.get("template") or {}
    # Until the controller has seen a new specification its counts are about the old one.
    stated = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
    template = pod(
        {"metadata": {**(inside.get("metadata") or {}), "namespace": meta["namespace"]}, **inside_spec(inside)}
    )
    most = notes.get(f"{PREFIX}autokick-max")
    return Target(
        name=meta["name"],
        replicas=replicas,
        version=str(meta.get("resourceVersion") or ""),
        uid=meta.get("uid", ""),
        least=_whole(notes.get(f"{PREFIX}autokick-min")),
        most=_whole(most) if most else None,
        paused=str(notes.get(f"{PREFIX}autokick-paused", "")).lower() in ("1", "true", "yes"),
        rolling=stated and int(status.get("updatedReplicas") or 0) < int(status.get("replicas") or 0),
        requests=template.requests,
        template=template,
    )


def lent(found: Json) -> Lent | None:
    """A Job that may be suspended, from its JSON; None for one that has ended, or that Kueue suspends and resumes."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    over = {one["type"] for one in status.get("conditions") or () if one.get("status") == "True"}
    if over & {"Complete", "Failed"} or labels.get(LENT) != "true" or "kueue.x-k8s.io/queue-name" in labels:
        return None
    inside, left = spec.get("template") or {}, int(spec.get("completions") or 1) - int(status.get("succeeded") or 0)
    about = {"metadata": {**(inside.get("metadata") or {}), "namespace": meta["namespace"]}, **inside_spec(inside)}
    return Lent(
        name=meta["name"],
        size=max(0, min(int(spec.get("parallelism", 1)), left)),
        template=pod(about),
        version=str(meta.get("resourceVersion") or ""),
        uid=meta.get("uid", ""),
        suspended=bool(spec.get("suspend")),
        started=instant(status.get("startTime") or meta.get("creationTimestamp")),
        put_off=instant(notes[PUT_OFF]) if notes.get(PUT_OFF) else None,
    )


def inside_spec(template: Json) -> dict[str, Any]:
    """The specification of a pod template."""
    return {"spec": template.get("spec") or {}}


def chooses(selector: Json, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (``matchLabels``, ``matchExpressions``) takes these labels; an empty one takes none here."""
    from duplexforge.autokicker.schedule import matches

    wanted = _requirements(selector)
    return bool(wanted) and matches(wanted, labels)


def _requirements(selector: Json) -> tuple[Requirement, ...]:
    equal = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    return (*equal, *_expressions(selector.get("matchExpressions")))


def _expressions(found: Iterable[Json] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(one["key"], one["operator"], tuple(one.get("values") or ())) for one in found or ())


def _affinity(spec: Json) -> tuple[Term, ...]:
    rules = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = (rules or {}).get("nodeSelectorTerms") or ()
    return tuple(Term(_expressions(one.get("matchExpressions")), _expressions(one.get("matchFields"))) for one in terms)


def _apart(spec: Json, namespace: str) -> Iterable[Apart]:
    rules = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    for one in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        # Over zones and racks the scheduler's message has to do; and an unseen namespace selector may choose any.
        if one.get("topologyKey") == _HOSTNAME and not one.get("namespaceSelector"):
            wanted = _requirements(one.get("labelSelector") or {})
            if wanted:
                yield Apart(wanted, frozenset(one.get("namespaces") or (namespace,)))


def _toleration(found: Json) -> Toleration:
    names = ("key", "operator", "value", "effect")
    return Toleration(**{name: str(found[name]) for name in names if found.get(name) is not None})


def _gang(spec: Json, labels: Json, notes: Json, names: Iterable[str]) -> str:
    group = spec.get("schedulingGroup") or {}
    if group.get("podGroupName"):
        return str(group["podGroupName"])
    return next((str(found) for name in names if (found := labels.get(name) or notes.get(name))), "")


def _number(text: object) -> float:
    try:
        return max(0.0, float(str(text or 0)))
    except ValueError:  # somebody else's annotation: no reason to stop
        return 0.0


def _whole(text: object) -> int:
    try:
        return int(str(text or 0))
    except ValueError:
        return 0
