"""What ran where and what waited, at every change, and the two invariants of the autokicker over all of it.

A moment holds until the next one: a bound on every moment is a bound on all time between them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.servers.kube import rules
from tests.servers.kube.kinds import DEPLOYMENTS, NODES, PODS, Object
from tests.servers.kube.scheduler import GROUP, GROUP_SIZE, waiting
from tests.servers.kube.store import Objects

OURS = {"lowprio": "true"}


@dataclass(frozen=True)
class Seen:
    """One pod at one moment; ``node`` is empty while it waits."""

    name: str
    node: str
    gpus: int
    phase: str
    ready: bool
    leaving: bool


@dataclass(frozen=True)
class Moment:
    """The cluster from ``at`` until the next moment.

    ``curable``: guests that wait for what our pods hold. ``free``: GPUs that nobody holds, on nodes that ours may use.
    """

    at: float
    ours: tuple[Seen, ...]
    others: tuple[Seen, ...]
    curable: tuple[str, ...]
    replicas: int
    free: int

    @property
    def waiting(self) -> list[str]:
        """Our pods without a node."""
        return [pod.name for pod in self.ours if not pod.node and not pod.leaving]

    @property
    def placed(self) -> list[Seen]:
        """Our pods on nodes, those told to stop included."""
        return [pod for pod in self.ours if pod.node]


@dataclass
class Timeline:
    """All moments so far, oldest first."""

    ours: Mapping[str, str] = field(default_factory=lambda: dict(OURS))
    moments: list[Moment] = field(default_factory=list)
    end: float = 0.0
    _version: int = -1

    def record(self, at: float, objects: Objects) -> None:
        """Add a moment if anything is different from the last one."""
        self.end = at
        if (version := getattr(objects, "version", -2)) == self._version:
            return
        self._version = version
        moment = seen(at, objects, self.ours)
        if self.moments and _same(self.moments[-1], moment):
            return
        # Of several states at one instant only the last one lasts.
        if self.moments and self.moments[-1].at == at:
            self.moments.pop()
        self.moments.append(moment)

    def spans(self) -> Iterator[tuple[Moment, float]]:
        """Every moment with the seconds that it lasted."""
        ends = [moment.at for moment in self.moments[1:]] + [max(self.end, self.moments[-1].at)]
        return ((moment, end - moment.at) for moment, end in zip(self.moments, ends, strict=True))

    def after(self, at: float) -> Timeline:
        """What came after a time, beginning with how things stood then."""
        first = max(n for n, moment in enumerate(self.moments) if n == 0 or moment.at <= at)
        rest = [replace(moment, at=max(moment.at, at)) for moment in self.moments[first:]]
        return Timeline(self.ours, rest, self.end)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the control page."""
        return {"end": self.end, "moments": [asdict(moment) for moment in self.moments]}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Timeline:
        """The inverse of :meth:`to_json`."""
        moments = [
            Moment(**{
                **one, "curable": tuple(one["curable"]),
                "ours": tuple(Seen(**pod) for pod in one["ours"]),
                "others": tuple(Seen(**pod) for pod in one["others"]),
            })
            for one in told["moments"]
        ]  # fmt: skip
        return cls(moments=moments, end=told["end"])

    # -- what happened ---------------------------------------------------------------------------------------------

    def kills(self) -> dict[str, tuple[float, str]]:
        """Our pods that were told to stop while they had a node: when, and where."""
        found: dict[str, tuple[float, str]] = {}
        before: dict[str, Seen] = {}
        for moment in self.moments:
            now = {pod.name: pod for pod in moment.ours}
            for name, pod in before.items():
                stopped = name not in now or now[name].leaving
                if pod.node and stopped and name not in found:
                    found[name] = (moment.at, pod.node)
            before = now
        return found

    def ran(self, name: str) -> float | None:
        """When a guest got its node; None if it never did."""
        return next((m.at for m in self.moments if any(pod.name == name and pod.node for pod in m.others)), None)

    def waited(self, name: str) -> float:
        """How long a guest waited for a node, in seconds."""
        return sum(span for moment, span in self.spans() if any(p.name == name and not p.node for p in moment.others))

    def gpu_seconds(self) -> Counter[str]:
        """GPU-seconds held by ``ours`` and ``others``, and ``idle`` ones."""
        total: Counter[str] = Counter()
        for moment, span in self.spans():
            for whose, pods in (("ours", moment.ours), ("others", moment.others)):
                total[whose] += sum(pod.gpus for pod in pods if pod.node and pod.phase != "Succeeded") * span  # type: ignore[assignment]
            total["idle"] += moment.free * span  # type: ignore[assignment]
        return total

    # -- the invariants --------------------------------------------------------------------------------------------

    def breaches(
        self, *, yields_in: float, settles_in: float, probe_in: float | None = None, idle_in: float | None = None
    ) -> list[str]:
        """Where an invariant does not hold, in words.

        1. No guest waits longer than ``yields_in`` seconds for what our pods hold: reaction, and the victims' stop time.
        2. While none does, at most one of ours waits (after ``settles_in`` seconds in which that may be mended). Where a
           probe is on, one does after ``probe_in`` seconds without a free GPU, and after ``idle_in`` seconds none is free:
           until then they may be kept for the guests that come and go.
        """
        found = []
        for name, start, span in self._stretches(lambda moment: moment.curable):
            if span > yields_in:
                found.append(f"{name} waited {span:.1f} s from {start:.1f} s on for what our pods held")
        crowd = self._stretches(lambda moment: ["ours"] if not moment.curable and len(moment.waiting) > 1 else [])
        found += [
            f"more than one of ours waited for {span:.1f} s from {start:.1f} s on"
            for _, start, span in crowd if span > settles_in
        ]  # fmt: skip
        if probe_in is not None:
            bare = self._stretches(lambda m: ["ours"] if not (m.curable or m.waiting or m.free) else [])
            found += [f"no probe for {span:.1f} s from {start:.1f} s on" for _, start, span in bare if span > probe_in]
        if idle_in is not None:
            idle = self._stretches(lambda m: ["free"] if m.free and not m.curable else [])
            found += [f"GPUs idle for {span:.1f} s from {start:.1f} s on" for _, start, span in idle if span > idle_in]
        return found

    def needless(self, allowed: float = 0.0) -> list[str]:
        """Our pods that were told to stop though no guest had waited for what they held within ``allowed`` seconds."""
        found = []
        for name, (at, node) in self.kills().items():
            wanted = [m.at + span for m, span in self.spans() if m.at <= at and m.curable]
            if not wanted or at - max(wanted) > allowed:
                found.append(f"{name} on {node} was told to stop at {at:.1f} s for nobody")
        return found

    def _stretches(self, names: Any) -> list[tuple[str, float, float]]:
        """Name, start and length of each unbroken stretch of time in which a name was among those of each moment."""
        open_: dict[str, float] = {}
        lengths: dict[tuple[str, float], float] = defaultdict(float)
        for moment, span in self.spans():
            here = set(names(moment))
            open_ = {name: open_.get(name, moment.at) for name in here}
            for name, start in open_.items():
                lengths[(name, start)] += span
        return [(name, start, length) for (name, start), length in lengths.items()]


def seen(at: float, objects: Objects, ours: Mapping[str, str] = OURS) -> Moment:
    """The cluster as it is now."""
    nodes, pods = objects.listed(NODES), objects.listed(PODS)
    mine = [pod for pod in pods if _is_ours(pod, ours)]
    guests = [pod for pod in pods if not _is_ours(pod, ours)]
    replicas = sum(
        int(one["spec"].get("replicas", 1))
        for one in objects.listed(DEPLOYMENTS)
        if rules.selects({"matchLabels": ours}, one["metadata"].get("labels", {}))
    )
    # A node that ours may never use is not idle for them.
    usable = [node for node in nodes if not (mine and rules.obstacle(mine[0], node))]
    names = {node["metadata"]["name"] for node in usable}
    held = sum(rules.gpus(pod) for pod in pods if pod["spec"].get("nodeName") in names and not rules.finished(pod))
    total = sum(int(node["status"].get("allocatable", {}).get(rules.GPU, 0)) for node in usable)
    return Moment(
        round(at, 6), tuple(map(_seen, mine)), tuple(map(_seen, guests)), curable(nodes, mine, guests), replicas,
        total - held,
    )  # fmt: skip


def curable(nodes: list[Object], ours: list[Object], guests: list[Object]) -> tuple[str, ...]:
    """The guests that cannot be placed now, and could be if all of ours were gone: a group as a whole or not at all."""
    # Ours are lent GPUs: who waits for CPUs alone does not wait for what they hold.
    blocked = [pod for pod in guests if waiting(pod) and rules.gpus(pod) and "Insufficient" in _said(pod)]
    if not blocked:
        return ()
    names = [node["metadata"]["name"] for node in nodes]
    without = {name: rules.held(guests, name) for name in names}
    held = {name: rules.held(ours, name) for name in names}
    found: list[str] = []
    for party in _parties(blocked):
        bound = sum(1 for pod in guests if pod["spec"].get("nodeName") and _party(pod) == _party(party[0]))
        if len(party) + bound < int(rules.annotation(party[0], GROUP_SIZE, "1")):
            continue
        if _fits(party, nodes, without) and _wants(party[0], nodes, without, held):
            found += [pod["metadata"]["name"] for pod in party]
    return tuple(sorted(found))


def _fits(party: list[Object], nodes: list[Object], without: Mapping[str, Counter[str]]) -> bool:
    used = {name: Counter(amounts) for name, amounts in without.items()}
    for pod in party:
        place = next((n for n in nodes if _open(pod, n, used[n["metadata"]["name"]])), None)
        if place is None:
            return False
        used[place["metadata"]["name"]].update(rules.requests(pod))
    return True


def _wants(pod: Object, nodes: list[Object], without: Any, held: Any) -> bool:
    """Whether, on a node where the pod would fit without ours, it lacks something that ours hold."""
    for node in nodes:
        name = node["metadata"]["name"]
        if _open(pod, node, without[name]):
            short = rules.lacking(pod, node, without[name] + held[name])
            if any(held[name].get(resource) for resource in short):
                return True
    return False


def _open(pod: Object, node: Object, used: Mapping[str, float]) -> bool:
    return not rules.obstacle(pod, node) and not rules.lacking(pod, node, used)


def _party(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(GROUP) or pod["metadata"]["uid"])


def _parties(pods: Iterable[Object]) -> list[list[Object]]:
    found: dict[str, list[Object]] = defaultdict(list)
    for pod in pods:
        found[_party(pod)].append(pod)
    return list(found.values())


def _said(pod: Object) -> str:
    known = rules.condition(pod, "PodScheduled")
    return str(known.get("message", "")) if known.get("reason") == "Unschedulable" else ""


def _is_ours(pod: Object, ours: Mapping[str, str]) -> bool:
    return rules.selects({"matchLabels": ours}, pod["metadata"].get("labels", {}))


def _seen(pod: Object) -> Seen:
    return Seen(
        pod["metadata"]["name"], pod["spec"].get("nodeName", ""), rules.gpus(pod), pod["status"].get("phase", ""),
        rules.ready(pod), rules.leaving(pod),
    )  # fmt: skip


def _same(one: Moment, other: Moment) -> bool:
    return {**vars(one), "at": 0} == {**vars(other), "at": 0}
