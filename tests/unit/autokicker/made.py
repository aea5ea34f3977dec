"""Observations made by hand, for tests of single rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from duplexforge.autokicker.world import Node, Observation, Pod, Target

GPU = "nvidia.com/gpu"
NOW = 1000.0
LACKS = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: no victims found."


def node(name: str, gpus: int = 8, **changes: Any) -> Node:
    return Node(name, {GPU: gpus, "cpu": 64, "pods": 110}, **changes)


def pod(name: str, gpus: float = 1, **changes: Any) -> Pod:
    requests = {GPU: gpus, "cpu": 1.0, "pods": 1.0}
    fields = {"uid": name, "name": name, "namespace": "research", "requests": requests, "created": NOW - 100}
    return Pod(**{**fields, **changes})


def ours(name: str, place: str, lost: float = 0.0, *, gpus: float = 1, **changes: Any) -> Pod:
    fields = {"namespace": "factory", "node": place, "lost_work": lost, "ready": True, "running": True}
    return pod(name, gpus, **{**fields, **changes})


def guest(name: str, gpus: float = 1, **changes: Any) -> Pod:
    return pod(name, gpus, **{"unschedulable": True, "message": LACKS, **changes})


def many(count: int, place: str, start: int = 0) -> tuple[Pod, ...]:
    return tuple(ours(f"own-{number:02d}", place, lost=float(number)) for number in range(start, start + count))


def seen(
    mine: Iterable[Pod] = (), others: Iterable[Pod] = (), nodes: Iterable[Node] | None = None, **changes: Any
) -> Observation:
    mine = tuple(mine)
    template = replace(pod("template", 1), namespace="factory")
    target = Target("emiliapipe", len(mine), requests=template.requests, template=template)
    given = (node("a"), node("b")) if nodes is None else tuple(nodes)
    base = Observation(now=NOW, target=target, ours=mine, others=tuple(others), nodes=given)
    wanted = {name: changes.pop(name) for name in ("replicas", "least", "most", "paused", "rolling") if name in changes}
    return replace(base, target=replace(target, **wanted), **changes)
