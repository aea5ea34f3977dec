"""Kubernetes' own rules, on plain objects: quantities, selectors, taints, and whether a pod may sit on a node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.servers.kube.kinds import Object

GPU = "nvidia.com/gpu"
_SUFFIXES = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)
}


def stamp(at: float) -> str:
    """A time in seconds as Kubernetes writes it: whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """The time that a time stamp means, in seconds."""
    return datetime.fromisoformat(text).timestamp()


def quantity(text: str | float) -> float:
    """A quantity such as ``500m``, ``32`` or ``512Gi`` as a number; ValueError for anything else."""
    found = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", str(text))
    if not found or found[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * _SUFFIXES[found[2]]


def requests(pod: Object) -> Counter[str]:
    """What a pod asks for: its containers together, or its largest init container, and one of the node's pod places."""
    total: Counter[str] = Counter()
    for container in pod["spec"].get("containers", []):
        total.update(_asked(container))
    for container in pod["spec"].get("initContainers", []):
        total |= _asked(container)
    total["pods"] = 1  # type: ignore[assignment]
    return total


def _asked(container: Object) -> Counter[str]:
    resources = container.get("resources", {})
    # A limit without a request is a request: so it is written for GPUs.
    asked = {**resources.get("limits", {}), **resources.get("requests", {})}
    return Counter({name: quantity(value) for name, value in asked.items()})  # type: ignore[misc]


def gpus(pod: Object) -> int:
    """How many GPUs a pod asks for."""
    return int(requests(pod)[GPU])


def finished(pod: Object) -> bool:
    """Whether a pod has ended: it is still listed and holds nothing."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def leaving(pod: Object) -> bool:
    """Whether a pod was told to stop."""
    return "deletionTimestamp" in pod["metadata"]


def condition(thing: Object, name: str) -> dict[str, Any]:
    """One of an object's conditions; empty when it has none such."""
    return next((one for one in thing.get("status", {}).get("conditions", []) if one["type"] == name), {})


def ready(pod: Object) -> bool:
    """Whether a pod is ready."""
    return condition(pod, "Ready").get("status") == "True"


def annotation(thing: Object, name: str, default: str = "") -> str:
    """One annotation's text."""
    return str((thing["metadata"].get("annotations") or {}).get(name, default))


def held(pods: Iterable[Object], node: str) -> Counter[str]:
    """What the pods of a node hold; those told to stop hold theirs until they are gone."""
    total: Counter[str] = Counter()
    for pod in pods:
        if pod["spec"].get("nodeName") == node and not finished(pod):
            total.update(requests(pod))
    return total


def lacking(pod: Object, node: Object, used: Mapping[str, float]) -> list[str]:
    """The resources of which a node has not enough left for a pod."""
    room = {"pods": "110", **node["status"].get("allocatable", {})}
    wanted = requests(pod)
    return sorted(
        name for name, amount in wanted.items() if amount > quantity(room.get(name, 0)) - used.get(name, 0) + 1e-9
    )


def obstacle(pod: Object, node: Object) -> str:
    """Why a pod may never sit on a node whatever leaves it, in the scheduler's words; empty when it may.

    The annotation ``sim/volume-on`` stands for a volume that is bound to one node: no field of the pod shows it.
    """
    if annotation(pod, "sim/volume-on", node["metadata"]["name"]) != node["metadata"]["name"]:
        return "node(s) had volume node affinity conflict"
    if node["spec"].get("unschedulable") and not _tolerated(pod, _CORDON):
        return "node(s) were unschedulable"
    for taint in node["spec"].get("taints", []):
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    labels, selector = node["metadata"].get("labels", {}), pod["spec"].get("nodeSelector", {})
    if any(labels.get(name) != value for name, value in selector.items()) or not _attracted(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


_CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _tolerated(pod: Object, taint: Mapping[str, str]) -> bool:
    for one in pod["spec"].get("tolerations", []):
        if one.get("effect") not in (None, "", taint["effect"]) or one.get("key") not in (None, "", taint["key"]):
            continue
        if one.get("operator", "Equal") == "Exists" or one.get("value", "") == taint.get("value", ""):
            return True
    return False


def _attracted(pod: Object, node: Object) -> bool:
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    labels, fields = node["metadata"].get("labels", {}), {"metadata.name": node["metadata"]["name"]}
    return any(
        all(_expressed(one, labels) for one in term.get("matchExpressions", []))
        and all(_expressed(one, fields) for one in term.get("matchFields", []))
        and bool(term.get("matchExpressions") or term.get("matchFields"))
        for term in required["nodeSelectorTerms"]
    )


def _expressed(wanted: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    have, values, operator = labels.get(wanted["key"]), wanted.get("values", []), wanted["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return (have is not None) == (operator == "Exists")
    if operator in ("Gt", "Lt"):
        return have is not None and (int(have) > int(values[0]) if operator == "Gt" else int(have) < int(values[0]))
    return (have in values) == (operator == "In")


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector as an object (``matchLabels``, ``matchExpressions``) takes these labels."""
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items()) and all(
        _expressed(one, labels) for one in selector.get("matchExpressions", [])
    )


_REQUIREMENT = re.compile(r"\s*(!?)([^\s,=!()]+)\s*(?:(==|=|!=|\bnotin\b|\bin\b)\s*(\([^)]*\)|[^,]*))?\s*(?:,|$)")


def selected(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector as text (``a=b,c in (d,e),!f``) takes these labels; ValueError when it cannot be read."""
    at = 0
    while at < len(selector):
        found = _REQUIREMENT.match(selector, at)
        if not found:
            raise ValueError(f"unable to parse requirement: {selector!r}")
        at = found.end()
        absent, name, operator, text = found.groups()
        values = [one.strip() for one in (text or "").strip("() ").split(",")]
        have = labels.get(name)
        fits = (have is None) == bool(absent)
        if operator is not None:
            fits = (have in values) == (operator in ("=", "==", "in"))
        if not fits:
            return False
    return True


def fielded(selector: str, thing: Object) -> bool:
    """Whether a field selector (``spec.nodeName=,status.phase!=Running``) takes an object; ValueError as above."""
    for part in filter(None, selector.split(",")):
        found = re.fullmatch(r"([\w.]+)(!=|==|=)(.*)", part)
        if not found:
            raise ValueError(f"invalid field selector: {part!r}")
        value: Any = thing
        for step in found[1].split("."):
            value = value.get(step, "") if isinstance(value, dict) else ""
        if (str(value or "") == found[3]) == (found[2] == "!="):
            return False
    return True
