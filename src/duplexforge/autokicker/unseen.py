"""Planning where nodes or other teams' pods may not be seen: by the nodes of our own pods and the scheduler's messages.

Made up is one node for each on which something of ours sits. First it holds just what is seen on it, so that only ours
make room; when that is too little for a guest, the rest of ``NODE_GPUS`` is hoped to be free. What was freed lately
still counts (``Memory.sizes``): a guest gets time to take it before more is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.victims import Group, Plan, plan
from duplexforge.autokicker.world import Node, Observation
from duplexforge.config import AutokickSettings


def watch_sizes(memory: Memory, seen: Observation, config: AutokickSettings) -> Memory:
    """Note how much has been seen on each node of ours; less counts only once it has been less for the grace."""
    sizes: dict[str, tuple[float, float]] = {}
    held: dict[str, float] = {pod.node: 0.0 for pod in seen.ours if pod.node}
    held |= dict.fromkeys(memory.sizes, 0.0)
    for pod in (*seen.ours, *seen.kin, *seen.others):
        if pod.node in held:
            held[pod.node] += pod.requests.get(config.resource, 0.0)
    for name, amount in held.items():
        known, since = memory.sizes.get(name, (0.0, seen.now))
        # What is missing now was freed, by ours or by others, and may still be there to take.
        if amount >= known or seen.now - since >= config.escalation_seconds:
            known, since = amount, seen.now
        if known:
            sizes[name] = (known, since)
    return replace(memory, sizes=sizes)


def with_guesses(groups: Iterable[Group], seen: Observation, memory: Memory, config: AutokickSettings) -> Plan:
    """A plan on made-up nodes."""
    groups = tuple(groups)
    found = plan(groups, _guessed(seen, memory, config, hoped=False))
    if not found.hopeless:
        return found
    # What only fits by hope without a victim is nothing that ours could help.
    hoped = plan(groups, _guessed(seen, memory, config, hoped=True))
    helped = tuple(group for group in found.hopeless if group in hoped.cured)
    if not helped:
        return found
    victims = {pod.uid: pod for pod in (*found.victims, *hoped.victims)}
    rest = tuple(group for group in found.hopeless if group not in helped)
    return Plan(tuple(victims.values()), found.served, (*found.cured, *helped), rest)


def _guessed(seen: Observation, memory: Memory, config: AutokickSettings, *, hoped: bool) -> Observation:
    nodes = []
    for name, (known, _) in sorted(memory.sizes.items()):
        amount = max(known, float(config.node_gpus)) if hoped else known
        nodes.append(Node(name, {config.resource: amount}, guessed=True))
    return replace(seen, nodes=tuple(nodes))
