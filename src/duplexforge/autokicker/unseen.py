"""Planning where nodes or other teams' pods may not be seen: by the nodes of our own pods and the scheduler's messages.

Made up is one node for each on which something of ours sits. First it holds just what is seen on it, so that only ours
make room; when that is too little for a guest, the rest of ``NODE_GPUS`` is hoped to be free. What was freed cannot be
seen afterwards, so a guest for whom room was made gets time to take it before more is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.victims import Group, Plan, plan
from duplexforge.autokicker.world import Node, Observation, total
from duplexforge.config import AutokickSettings


def with_guesses(groups: Iterable[Group], seen: Observation, memory: Memory, config: AutokickSettings) -> Plan:
    """A plan on made-up nodes; groups for whom room was made lately count as served."""
    waiting = [group for group in groups if _lately(group, seen, memory, config.escalation_seconds)]
    asking = [group for group in groups if group not in waiting]
    found = plan(asking, _guessed(seen, config, hoped=False))
    if found.hopeless:
        # What only fits by hope without a victim is nothing that ours could help.
        hoped = plan(asking, _guessed(seen, config, hoped=True))
        helped = tuple(group for group in found.hopeless if group in hoped.cured)
        if helped:
            victims = {pod.uid: pod for pod in (*found.victims, *hoped.victims)}
            rest = tuple(group for group in found.hopeless if group not in helped)
            found = Plan(tuple(victims.values()), found.served, (*found.cured, *helped), rest)
    return replace(found, served=(*found.served, *waiting))


def _lately(group: Group, seen: Observation, memory: Memory, grace: float) -> bool:
    times = [memory.asked[pod.uid] for pod in group.pods if pod.uid in memory.asked]
    going = any(pod.leaving is not None and pod.leaving > seen.now for pod in seen.ours)
    return bool(times) and (going or seen.now - max(times) < grace)


def _guessed(seen: Observation, config: AutokickSettings, *, hoped: bool) -> Observation:
    names = sorted({pod.node for pod in seen.ours if pod.node})
    everybody = (*seen.ours, *seen.kin, *seen.others)
    nodes = []
    for name in names:
        held = total(pod for pod in everybody if pod.node == name).get(config.resource, 0.0)
        amount = max(held, float(config.node_gpus)) if hoped else held
        nodes.append(Node(name, {config.resource: amount}, guessed=True))
    return replace(seen, nodes=tuple(nodes))
