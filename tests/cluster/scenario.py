"""What a scenario is, and what its timeline must show."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.servers.kube import objects
from tests.servers.kube.kinds import Object
from tests.servers.kube.timeline import Timeline

STOP, LOAD = 3.0, 1.0
# What the autokicker is told unless a scenario says otherwise; times in seconds of the scenario.
SETTINGS: dict[str, float | str] = {
    "QUIET_SECONDS": 20.0, "ESCALATION_SECONDS": 8.0, "GROWTH_STEP": 4, "INTERVAL": 15.0, "IDLE_SECONDS": 300.0,
}  # fmt: skip
_TIMES = {"QUIET_SECONDS": 0.0, "ESCALATION_SECONDS": 1.0, "INTERVAL": 1.0, "IDLE_SECONDS": 0.0}
Verb = Literal["create", "delete", "patch"]


@dataclass(frozen=True)
class Step:
    """Something that other people do ``at`` seconds after the start."""

    at: float
    verb: Verb
    thing: Object


@dataclass(frozen=True)
class Scenario:
    """A cluster, our Deployment, what others do, and what must come of it.

    ``kills``: least and most of ours that are told to stop while they have a node. ``ran`` and ``never``: guests.
    ``one_node``: all victims on one. ``lost``: work that each of ours would lose, in the order of their names.
    ``yields_in``: the longest that a guest may wait for what ours hold. ``busy``: fewest of ours on nodes at the end.
    ``free_rein``: others end our pods too, so that a kill need not be for a guest.
    """

    name: str
    story: str
    kills: tuple[int, int]
    steps: tuple[Step, ...] = ()
    nodes: tuple[Object, ...] = field(default_factory=lambda: (objects.node("node-a"), objects.node("node-b")))
    ours: Object = field(default_factory=lambda: ours(17))
    more: tuple[Object, ...] = ()
    settings: dict[str, float | str] = field(default_factory=dict)
    lost: tuple[float, ...] = ()
    open_tasks: int | None = None
    length: float = 60.0
    ran: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    one_node: bool = False
    cheapest: bool = False
    yields_in: float = STOP + 0.5
    settles_in: float = 0.5
    probe: bool = True
    busy: int = 0
    least: int = 0
    free_rein: bool = False

    def all_settings(self) -> dict[str, float | str]:
        """The autokicker's variables."""
        return {**SETTINGS, **self.settings}

    def paced(self, pace: float) -> Scenario:
        """The same story with every time multiplied by ``pace``; settings keep to the least that is allowed."""
        told = self.all_settings()
        for name, least in _TIMES.items():
            told[name] = max(least, float(told[name]) * pace)
        values = vars(self) | {
            "settings": told, "length": self.length * pace, "yields_in": self.yields_in * pace,
            "steps": tuple(Step(step.at * pace, step.verb, _paced(step.thing, pace)) for step in self.steps),
            "ours": _paced(self.ours, pace), "more": tuple(_paced(one, pace) for one in self.more),
        }  # fmt: skip
        return Scenario(**values)

    def problems(self, timeline: Timeline, *, slack: float = 0.0) -> list[str]:
        """What did not come out as it must, in words; ``slack`` seconds are granted for a real process to notice."""
        kills, found = timeline.kills(), []
        if not self.kills[0] <= len(kills) <= self.kills[1]:
            found.append(f"{len(kills)} kills, not {self.kills[0]} to {self.kills[1]}: {sorted(kills.values())}")
        if self.one_node and len({node for _, node in kills.values()}) > 1:
            found.append(f"victims on several nodes: {sorted(kills.values())}")
        found += [f"{name} never got its node" for name in self.ran if timeline.ran(name) is None]
        found += [f"{name} got a node" for name in self.never if timeline.ran(name) is not None]
        quiet = float(self.all_settings()["QUIET_SECONDS"])
        found += timeline.breaches(
            yields_in=self.yields_in + slack, settles_in=self.settles_in + slack,
            probe_in=quiet + self.settles_in + 2 * slack if self.probe else None,
            idle_in=quiet + STOP + self.settles_in + 2 * slack if self.probe else None,
        )  # fmt: skip
        if not self.free_rein:
            found += timeline.needless(allowed=0.1 + slack)
        last = timeline.moments[-1]
        if len(last.placed) < self.busy:
            found.append(f"only {len(last.placed)} of ours run at the end, not {self.busy}")
        if fewest := min(moment.replicas for moment in timeline.moments):
            found += [f"replicas went down to {fewest}"] if fewest < self.least else []
        return found + (self._dear(timeline) if self.cheapest else [])

    def _dear(self, timeline: Timeline) -> list[str]:
        """Whether another choice of as many pods on one node would have lost less work."""
        first = timeline.moments[0]
        costs = dict(zip(sorted(pod.name for pod in first.ours), self.lost, strict=False))
        kills = timeline.kills()
        paid = sum(costs[name] for name in kills)
        by_node: dict[str, list[float]] = {}
        for pod in first.placed:
            by_node.setdefault(pod.node, []).append(costs[pod.name])
        best = min(sum(sorted(values)[: len(kills)]) for values in by_node.values())
        return [f"the victims lost {paid} s of work, {best} would have done"] if paid > best else []


def ours(replicas: int, **changes: Any) -> Object:
    """Our Deployment, with pods that load for a second and stop three after SIGTERM."""
    return objects.deployment(replicas=replicas, sim={"load": LOAD, "stop": STOP}, **changes)


def comes(at: float, *things: Object) -> tuple[Step, ...]:
    """Objects that are created at a time."""
    return tuple(Step(at, "create", thing) for thing in things)


def steps(*parts: Sequence[Step]) -> tuple[Step, ...]:
    """Several sequences as one."""
    return tuple(step for part in parts for step in part)


def _paced(thing: Object, pace: float) -> Object:
    """An object with the times in its ``sim/`` annotations, and its pods', multiplied."""
    found = copy.deepcopy(thing)
    template = found.get("spec", {}).get("template", {}).get("metadata", {})
    for meta in (found["metadata"], template):
        notes = meta.get("annotations") or {}
        for name in ("sim/start", "sim/load", "sim/run", "sim/stop"):
            if name in notes:
                notes[name] = str(float(notes[name]) * pace)
    return found
