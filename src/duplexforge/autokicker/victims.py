"""Which of ours must go so that the guests fit: the smallest set, node by node, the cheapest work lost.

A Deployment cannot be told which pod to stop, only how many; the choice is made by deletion cost, which its controller
weighs *after* whether a pod runs and is ready. So a pod that is still loading always goes before one that is ready:
such pods are counted into every plan (:func:`with_forerunners`), and the plan with the fewest stops in all is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from duplexforge.autokicker.schedule import Places, obstacle, places
from duplexforge.autokicker.world import Amounts, Observation, Pod, add

# Beyond this many combinations on one node the choice is made one pod after the other.
_EXACT = 5000
_NOWHERE: Mapping[str, frozenset[str]] = {}


@dataclass(frozen=True)
class Group:
    """Guests that start together or not at all: a gang's members without a node, or one pod."""

    name: str
    pods: tuple[Pod, ...]

    @property
    def rank(self) -> tuple[int, float, str]:
        """The order in which a scheduler would serve."""
        first = min(self.pods, key=lambda pod: pod.created)
        return -max(pod.priority for pod in self.pods), first.created, self.name


@dataclass(frozen=True)
class Plan:
    """Who goes for whom. ``served`` groups fit without a victim, ``hopeless`` ones not even with all of ours gone."""

    victims: tuple[Pod, ...] = ()
    served: tuple[Group, ...] = ()
    cured: tuple[Group, ...] = ()
    hopeless: tuple[Group, ...] = ()


def plan(
    groups: Iterable[Group],
    seen: Observation,
    *,
    refused: Mapping[str, frozenset[str]] = _NOWHERE,
) -> Plan:
    """Serve the groups in their order. ``refused``: nodes that a guest did not take though there was room for it."""
    state = _State(places(seen, soon=True), seen.placed, refused)
    served, cured, hopeless = [], [], []
    for group in sorted(groups, key=lambda one: one.rank):
        # In the scheduler's order, since it will hand out the free room in that order.
        if (found := state.with_group(group, victims=False)) is not None:
            served.append(group)
        elif (found := state.with_group(group, victims=True)) is not None:
            cured.append(group)
        else:
            hopeless.append(group)
            continue
        state = found
    return Plan(tuple(sorted(state.chosen, key=_price)), tuple(served), tuple(cured), tuple(hopeless))


def with_forerunners(chosen: Sequence[Pod], placed: Sequence[Pod]) -> tuple[Pod, ...]:
    """``chosen``, and the pods that the controller would stop before the last of them whatever they cost."""
    if not chosen:
        return ()
    last = max(_stage(pod) for pod in chosen)
    names = {pod.uid for pod in chosen}
    return (*chosen, *(pod for pod in placed if pod.uid not in names and _stage(pod) < last))


def cheapest(pods: Sequence[Pod], enough: Callable[[Sequence[Pod]], bool]) -> tuple[Pod, ...] | None:
    """The fewest of ``pods`` that are enough, the cheapest of such; None when even all are not."""
    ranked = sorted(pods, key=_price)
    if not enough(ranked):
        return None
    # All of one size, as mostly: the cheapest so many are the answer, and nothing needs to be searched.
    if len({tuple(sorted(pod.requests.items())) for pod in ranked}) <= 1:
        return next(tuple(ranked[:count]) for count in range(len(ranked) + 1) if enough(ranked[:count]))
    for count in range(len(ranked) + 1):
        if comb(len(ranked), count) > _EXACT:
            break
        sets = [one for one in combinations(ranked, count) if enough(one)]
        if sets:
            return min(sets, key=lambda one: sum(pod.lost_work for pod in one))
    return _one_by_one(ranked, enough)


def _one_by_one(ranked: Sequence[Pod], enough: Callable[[Sequence[Pod]], bool]) -> tuple[Pod, ...]:
    taken = list(ranked)
    for pod in reversed(ranked):
        without = [one for one in taken if one.uid != pod.uid]
        if enough(without):
            taken = without
    return tuple(taken)


def _stage(pod: Pod) -> int:
    return 2 if pod.ready else 1 if pod.running else 0


def _price(pod: Pod) -> tuple[int, float, float, str]:
    return _stage(pod), pod.lost_work, -pod.created, pod.name


@dataclass
class _State:
    """Room and victims so far."""

    room: Places
    placed: tuple[Pod, ...]
    refused: Mapping[str, frozenset[str]]
    chosen: tuple[Pod, ...] = ()

    def with_group(self, group: Group, *, victims: bool) -> _State | None:
        """The state with every pod of the group on a node, or None when one of them finds no place."""
        state = _State(self.room.copy(), self.placed, self.refused, self.chosen)
        # Large ones first: a small one fits almost anywhere, also where a large one had fitted.
        for pod in sorted(group.pods, key=lambda one: (-max(one.requests.values(), default=0), one.name)):
            if not state._place(pod) and not (victims and state._make_room(pod)):
                return None
        return state

    def _place(self, pod: Pod) -> bool:
        """Put a pod where it fits with the least left over, so that large rooms stay whole."""
        out = self.refused.get(pod.uid, frozenset())
        nodes = [name for name in self.room.nodes if name not in out and self.room.fits(pod, name)]
        if not nodes:
            return False
        self.room.take(pod, min(nodes, key=lambda name: (_left(self.room.free[name], pod.requests), name)))
        return True

    def _make_room(self, pod: Pod) -> bool:
        options = [found for name in self.room.nodes if (found := self._option(pod, name))]
        if not options:
            return False
        _, _, node, chosen = min(options, key=lambda option: option[:3])
        # The forerunners' places are free as well, on whatever node.
        for victim in chosen[len(self.chosen) :]:
            self.room.leave(victim)
        self.chosen = chosen
        self.room.take(pod, node)
        return True

    def _option(self, pod: Pod, node: str) -> tuple[int, float, str, tuple[Pod, ...]] | None:
        """What it costs to make room on a node: pods stopped in all, work lost, the node's name, the pods."""
        here = self.room.nodes[node]
        if node in self.refused.get(pod.uid, frozenset()) or obstacle(pod, here):
            return None
        gone = {one.uid for one in self.chosen}
        mine = [one for one in self.placed if one.node == node and one.uid not in gone]

        def enough(leaving: Sequence[Pod]) -> bool:
            trial = self.room.copy()
            for one in leaving:
                trial.leave(one)
            return trial.fits(pod, node)

        found = cheapest(mine, enough)
        if found is None:
            return None
        chosen = with_forerunners((*self.chosen, *found), self.placed)
        return len(chosen), sum(one.lost_work for one in chosen), node, chosen


def _left(free: Amounts, wanted: Amounts) -> float:
    # GPUs and the like are what is scarce; they are named after a domain, cores and bytes are not.
    left = add(free, wanted, -1)
    return sum(left.get(name, 0.0) for name in wanted if "/" in name)
