"""What the autokicker remembers between two decisions. All of it can be learnt again: a restart forgets it without harm.

A restarted autokicker derives the last wait of a guest from the cluster itself (:func:`derive`); what it has tried for a
guest in vain it tries once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from duplexforge.autokicker.schedule import obstacle, places
from duplexforge.autokicker.world import Observation, Pod

# Kubernetes writes whole seconds: a pod that got its node within one of its creation has not waited.
_WAITED = 1.5


@dataclass(frozen=True)
class Memory:
    """``guest_at``: when a guest last waited. ``fitting``: since when a guest has had room that it does not take.

    ``refused``: nodes on which a guest did not take its room in time. ``asked``: when room was last made for a guest.
    ``abandoned``: guests whom not even all of ours could help. ``idle_since``: since when the queue is empty.
    ``lodgers``: others' pods that hold the resource, since when and how much of it. ``shorts``: until when a place is kept
    for the next of those that came and went quickly, and how large. ``sizes``: how much was held on a node that may not be
    seen (by its name), and when last. All others by uid, in seconds of ``Observation.now``.
    """

    guest_at: float | None = None
    fitting: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, frozenset[str]] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    abandoned: frozenset[str] = frozenset()
    idle_since: float | None = None
    lodgers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shorts: tuple[tuple[float, float], ...] = ()
    sizes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def reserve(self) -> float:
        """What is kept free for short pods, of which the next is likely to come soon."""
        return max((amount for _, amount in self.shorts), default=0.0)


def derive(seen: Observation, resource: str) -> Memory:
    """The memory of an autokicker that has just started: the last guest that waited is one that now runs."""
    waited = [
        pod.since
        for pod in seen.others
        if pod.node and pod.requests.get(resource) and pod.since - pod.created > _WAITED
    ]
    return Memory(guest_at=min(max(waited), seen.now) if waited else None)


def watch_guests(memory: Memory, seen: Observation, guests: Iterable[Pod], grace: float) -> Memory:
    """Note which guests have room now, and which have not taken it for ``grace`` seconds; forget those that are gone."""
    room = places(seen, soon=False)
    fitting: dict[str, float] = {}
    refused = dict(memory.refused)
    alive = {pod.uid for pod in seen.others}
    for pod in guests:
        out = refused.get(pod.uid, frozenset())
        nodes = frozenset(name for name in room.nodes if name not in out and room.fits(pod, name))
        if not nodes:
            # Another took the room: its time starts anew with the next.
            continue
        since = memory.fitting.get(pod.uid, seen.now)
        if seen.now - since >= grace:
            refused[pod.uid] = out | nodes
        else:
            fitting[pod.uid] = since
    return replace(
        memory,
        fitting=fitting,
        refused={uid: nodes for uid, nodes in refused.items() if uid in alive},
        asked={uid: at for uid, at in memory.asked.items() if uid in alive},
        abandoned=memory.abandoned & alive,
    )


def watch_lodgers(memory: Memory, seen: Observation, resource: str, quiet: float) -> Memory:
    """Note whose pods came and went within the quiet time: giving their place away would cost a stop at the next one."""
    nodes = {node.name: node for node in seen.nodes or ()}
    template = seen.target.template
    lodgers = {
        pod.uid: memory.lodgers.get(pod.uid, (pod.since or seen.now, amount))
        for pod in seen.others
        if pod.node
        and (amount := pod.requests.get(resource, 0)) > 0
        # On nodes that ours may not use there is no place to keep.
        and (pod.node not in nodes or template is None or not obstacle(template, nodes[pod.node]))
    }
    shorts = [(until, amount) for until, amount in memory.shorts if until > seen.now]
    for uid, (since, amount) in memory.lodgers.items():
        if uid not in lodgers and seen.now - since < quiet:
            shorts.append((seen.now + quiet, amount))
    return replace(memory, lodgers=lodgers, shorts=tuple(shorts))


def next_look(memory: Memory, now: float, grace: float, quiet: float) -> float | None:
    """Seconds until time alone may change a decision; None when only a change in the cluster can."""
    times = [since + grace for since in memory.fitting.values()]
    times += [at + grace for at in memory.asked.values()]
    times += [until for until, _ in memory.shorts] + [at + grace for _, at in memory.sizes.values()]
    if memory.guest_at is not None:
        times.append(memory.guest_at + quiet)
    # What lies behind has been decided on; only what is ahead can change the answer.
    ahead = [at - now for at in times if at > now]
    return min(ahead, default=None)
