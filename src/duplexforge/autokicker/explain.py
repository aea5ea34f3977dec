"""What the autokicker sees and would do, in words for a terminal and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from duplexforge.autokicker.lending import Loan
from duplexforge.autokicker.role import Look
from duplexforge.autokicker.schedule import places
from duplexforge.autokicker.world import Observation, Pod
from duplexforge.config import AutokickSettings

_VERBS = {
    "yield": "give way",
    "trim": "keep fewer",
    "grow": "add pods",
    "hold": "change nothing",
    "passive": "keep its hands off",
}
_WORDS = {
    "helped": "gets room",
    "served": "has room",
    "beyond": "cannot be helped",
    "ignored": "is nobody to yield to",
}


def to_json(look: Look, config: AutokickSettings) -> dict[str, Any]:
    """Everything as plain values."""
    seen, action, loan = look.seen, look.action, look.loan or Loan(look.action)
    return {
        "deployment": seen.target.name,
        "leader": look.leader,
        "policy": config.policy,
        "replicas": {"wanted": seen.target.replicas, "placed": len(seen.placed), "pending": len(seen.waiting)},
        "bounds": {"least": seen.target.least, "most": seen.target.most, "paused": seen.target.paused},
        "open_tasks": seen.open_tasks,
        "unsure": seen.unsure,
        "nodes": _nodes(seen, config.resource) if seen.complete and seen.nodes is not None else None,
        "others": [asdict(verdict) for verdict in action.verdicts],
        "would": {
            "do": action.word,
            "replicas": action.replicas,
            "reason": action.reason,
            "stop": [_victim(pod) for pod in action.victims],
            "suspend": [job.name for job in loan.suspend],
            "resume": [job.name for job in loan.resume],
            "jobs_reason": loan.reason,
        },
    }


def to_text(look: Look, config: AutokickSettings) -> str:
    """The same as sentences."""
    told = to_json(look, config)
    replicas = told["replicas"]
    lines = [
        f"{told['deployment']}: {replicas['wanted']} replicas wanted, {replicas['placed']} on nodes, "
        f"{replicas['pending']} pending; policy {config.policy}; leader: {look.leader or 'nobody'}",
        _queue(look.seen),
        "",
    ]
    lines += _room(told["nodes"], config.resource)
    lines += ["", "Pods of others that wait:"] if told["others"] else ["", "No pod of others waits."]
    for one in told["others"]:
        lines.append(f"  {one['pod']} ({one['amount']:g}): {_WORDS[one['word']]}; {one['why']}")
    would = told["would"]
    change = (
        "" if would["do"] in ("hold", "passive") else f", from {replicas['wanted']} to {would['replicas']} replicas"
    )
    lines += ["", f"It would {_VERBS[would['do']]}{change}: {would['reason']}."]
    for one in would["stop"]:
        lines.append(f"  stop {one['pod']} on {one['node']} ({one['lost_work']:.0f} s of work lost)")
    for verb in ("suspend", "resume"):
        lines += [f"It would {verb} the Job {name}: {would['jobs_reason']}." for name in would[verb]]
    return "\n".join(lines)


def _queue(seen: Observation) -> str:
    if seen.unsure:
        return f"Queue: {seen.unsure}."
    if seen.open_tasks is None:
        return "Queue: not configured, so growth does not depend on it."
    return f"Queue: {seen.open_tasks} open tasks."


def _nodes(seen: Observation, resource: str) -> list[dict[str, Any]]:
    room = places(seen, soon=False)
    rows = []
    for node in seen.nodes or ():
        if node.allocatable.get(resource, 0) <= 0:
            continue
        here = [pod for pod in seen.ours if pod.node == node.name]
        ours = sum(pod.requests.get(resource, 0) for pod in here)
        free = room.free[node.name].get(resource, 0)
        size = node.allocatable[resource]
        rows.append({"node": node.name, "size": size, "ours": ours, "others": size - ours - free, "free": free})
    return rows


def _room(nodes: list[dict[str, Any]] | None, resource: str) -> list[str]:
    if nodes is None:
        return ["Nodes, or the pods of others, may not be seen: one pending probe tells when there is no more room."]
    rows = [
        f"  {row['node']}: {row['size']:g} in all, {row['ours']:g} ours, {row['others']:g} others', {row['free']:g} free"
        for row in nodes
    ]
    return [f"Nodes with {resource}:", *rows] if rows else [f"No node has {resource}."]


def _victim(pod: Pod) -> dict[str, Any]:
    return {"pod": pod.name, "node": pod.node, "ready": pod.ready, "lost_work": pod.lost_work}
