"""The decision: a pure function of what is seen, what is remembered and what is configured.

Two rules, in this order. While a guest waits for what ours hold, ours make room and nothing of ours waits beside it.
Otherwise ours grow one probe at a time: a pod that stays pending tells that there is no room left.

The replica count that is decided counts from the pods that *have* a node, never from the replicas wanted before: of
20 replicas of which 4 are pending, scaling to 19 would end a pending one and free nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from duplexforge.autokicker.guests import Verdict, beyond, sift
from duplexforge.autokicker.memory import Memory, watch_guests, watch_lodgers
from duplexforge.autokicker.schedule import Places, places
from duplexforge.autokicker.unseen import watch_sizes, with_guesses
from duplexforge.autokicker.victims import Group, Plan, plan, with_forerunners
from duplexforge.autokicker.world import Observation, Pod
from duplexforge.config import AutokickSettings


@dataclass(frozen=True)
class Action:
    """What to do: ``word`` is yield, trim, grow, hold or passive; ``replicas`` is the size wanted; ``reason`` in words.

    ``victims`` are to be stopped before all others of ours.
    """

    word: str
    replicas: int
    reason: str
    victims: tuple[Pod, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class _Case:
    """One decision under way."""

    seen: Observation
    memory: Memory
    config: AutokickSettings
    plan: Plan
    verdicts: tuple[Verdict, ...]

    @property
    def placed(self) -> int:
        return len(self.seen.placed)

    @property
    def floor(self) -> int:
        return max(self.config.baseline, self.seen.target.least)

    @property
    def ceiling(self) -> float:
        most = min(self.config.max_replicas or math.inf, math.inf if (most := self.seen.target.most) is None else most)
        return max(most, self.floor)

    def to(self, replicas: int, reason: str, victims: tuple[Pod, ...] = ()) -> Action:
        now = self.seen.target.replicas
        word = (
            "yield"
            if victims and self.plan.cured
            else "grow"
            if replicas > now
            else "trim"
            if replicas < now
            else "hold"
        )
        return Action(word, replicas, reason, victims, self.verdicts)


def decide(seen: Observation, memory: Memory, config: AutokickSettings) -> tuple[Action, Memory]:
    """What to do now, and what to remember for the next decision. The same input always gives the same answer."""
    if why := _hands_off(seen):
        return Action("passive", seen.target.replicas, why), memory
    groups, ignored = sift(seen, memory, config.resource)
    pods = [pod for group in groups for pod in group.pods]
    memory = watch_guests(memory, seen, pods, config.escalation_seconds)
    memory = watch_lodgers(memory, seen, config.resource, quiet_time(config))
    found, memory = _planned(groups, seen, memory, config)
    verdicts = _verdicts(found, seen, config.resource) + ignored
    # A guest that cannot be helped must not hold up the factory: it starts no quiet time.
    if found.served or found.cured:
        memory = replace(memory, guest_at=seen.now)
    memory = replace(memory, idle_since=_idle_since(seen, memory))
    case = _Case(seen, memory, config, found, tuple(verdicts))
    return _act(case), memory


def quiet_time(config: AutokickSettings) -> float:
    """Seconds without a guest before growth; the policy ``all`` knows none."""
    return 0.0 if config.policy == "all" else config.quiet_seconds


def _hands_off(seen: Observation) -> str:
    if seen.rival:
        return (
            f"{seen.rival} scales {seen.target.name} too; two that set its replicas would fight, so remove one of them"
        )
    if seen.target.paused:
        return "paused by the annotation duplexforge.io/autokick-paused"
    return ""


def _planned(
    groups: tuple[Group, ...], seen: Observation, memory: Memory, config: AutokickSettings
) -> tuple[Plan, Memory]:
    """The plan, escalated for guests that did not take the room that was made for them."""
    if seen.nodes is not None and seen.complete:
        found, tried = plan(groups, seen, refused=memory.refused), frozenset(memory.refused)
    else:
        memory = watch_sizes(memory, seen, config)
        found, tried = with_guesses(groups, seen, memory, config), frozenset(memory.asked)
    for group in found.hopeless:
        if any(pod.uid in tried for pod in group.pods):
            found, memory = _last_resort(group, found, seen, memory, config)
    asked = {pod.uid: seen.now for group in found.cured for pod in group.pods}
    return found, replace(memory, asked={**memory.asked, **asked})


def _last_resort(
    group: Group, found: Plan, seen: Observation, memory: Memory, config: AutokickSettings
) -> tuple[Plan, Memory]:
    """All of ours go for a guest that nothing less has helped; when even that has not, it is nobody's guest any more."""
    rest = tuple(one for one in found.hopeless if one != group)
    if len(seen.placed) > max(config.baseline, seen.target.least):
        return replace(found, victims=seen.placed, cured=(*found.cured, group), hopeless=rest), memory
    names = {pod.uid for pod in group.pods}
    since = max((memory.asked[uid] for uid in names if uid in memory.asked), default=seen.now)
    if any(pod.leaving for pod in seen.ours) or seen.now - since < config.escalation_seconds:
        waiting = replace(memory, asked={**dict.fromkeys(names, since), **memory.asked})
        return replace(found, served=(*found.served, group), hopeless=rest), waiting
    return found, replace(memory, abandoned=memory.abandoned | names)


def _act(case: _Case) -> Action:
    seen, config = case.seen, case.config
    if case.plan.cured:
        return _yield(case)
    # A probe beside a guest that is about to be served might take its place.
    if case.plan.served:
        names = _names(case.plan.served)
        return _without_probe(case, f"there is room, or will be, for {names}: nothing more has to go")
    if case.placed > case.ceiling:
        return _shrink(case, int(case.ceiling), f"more than the limit of {int(case.ceiling)} replicas run")
    if case.memory.idle_since is not None and _idle_for(case) and case.placed > case.floor:
        return _shrink(case, case.floor, "the queue has been empty for a while")
    quiet = quiet_time(config)
    if case.memory.guest_at is not None and seen.now - case.memory.guest_at < quiet:
        left = quiet - (seen.now - case.memory.guest_at)
        return _without_probe(case, f"a guest waited lately: no growth for another {left:.0f} s")
    return _grow(case)


def _yield(case: _Case) -> Action:
    """Make room: all that may go with the policy ``all``, else the plan's victims."""
    seen, names = case.seen, _names(case.plan.cured)
    if case.config.policy == "all":
        base = case.config.baseline
        return case.to(
            base, f"{names} wait{_s(case.plan.cured)}: down to the baseline of {base}", _cheapest(case, base)
        )
    victims = case.plan.victims[: max(0, case.placed - case.floor)]
    if not victims:
        return _without_probe(
            case, f"{names} wait{_s(case.plan.cured)}, but no more than {case.floor} replicas are kept"
        )
    count, lost = len(victims), sum(pod.lost_work for pod in victims)
    nodes = ", ".join(sorted({pod.node for pod in victims}))
    reason = (
        f"{names} wait{_s(case.plan.cured)} for {case.config.resource}: {count} of {case.placed} replicas "
        f"make{'s' if count == 1 else ''} way on {nodes} ({lost:.0f} s of work lost)"
    )
    return case.to(max(case.placed - count, min(case.floor, seen.target.replicas)), reason, victims)


def _without_probe(case: _Case, reason: str) -> Action:
    """Nothing of ours stays pending, nothing that runs is stopped."""
    now = case.seen.target.replicas
    # While pods are replaced fewer have a node than are wanted: to follow them down would end at none.
    wanted = now if case.seen.target.rolling else min(now, max(case.placed, min(case.floor, now)))
    return case.to(wanted, reason)


def _without_growth(case: _Case, reason: str) -> Action:
    return case.to(case.seen.target.replicas, f"{reason}: no growth")


def _shrink(case: _Case, replicas: int, reason: str) -> Action:
    return case.to(replicas, reason, _cheapest(case, replicas))


def _cheapest(case: _Case, keep: int) -> tuple[Pod, ...]:
    """The pods to stop so that ``keep`` are left, those that lose least first."""
    ranked = sorted(case.seen.placed, key=lambda pod: (pod.ready, pod.lost_work, -pod.created))
    return with_forerunners(tuple(ranked[: max(0, len(ranked) - keep)]), ()) if keep < len(ranked) else ()


def _grow(case: _Case) -> Action:
    seen, config, now = case.seen, case.config, case.seen.target.replicas
    # Old and new pods wait side by side during an update, which says nothing about room.
    if seen.target.rolling:
        return _without_growth(case, "its pods are being updated")
    # Counting up from pods that are about to go would take the decision back that stops them.
    if now < case.placed:
        return case.to(now, f"waiting for {case.placed - now} replicas to stop")
    # Missing data are no reason to grow; to yield needs none of them.
    if seen.unsure:
        return _without_growth(case, seen.unsure)
    room, kept = _room_for_more(case), case.memory.reserve
    # A probe would take the place of the next short pod before anybody could say no.
    probes = config.buffer if config.probe and not kept else 0
    if kept:
        size = seen.target.requests.get(config.resource) or 1.0
        room = max(0, room - math.ceil(kept / size))
    # Pods that fit are not probes: they will have their nodes in a moment.
    low = case.placed + max(probes, min(config.growth_step, room))
    wanted = max(low, min(now, case.placed + room + probes))
    if kept and wanted <= case.placed:
        return _without_probe(case, f"short pods come and go: {kept:g} {config.resource} are kept free for the next")
    wanted, why = _bounded(case, wanted, _growing(case, wanted, room))
    if wanted == now:
        waiting = len(seen.waiting)
        why = f"{case.placed} run and {waiting} wait{'s' if waiting == 1 else ''} for room" if waiting else why
    return case.to(wanted, why)


def _growing(case: _Case, wanted: int, room: int) -> str:
    more = wanted - case.placed
    what = f"{more} more may try" if room < more else f"there is room for {more} more"
    return f"{case.placed} run, nobody waits for them to end, {what}"


def _bounded(case: _Case, wanted: int, why: str) -> tuple[int, str]:
    """``wanted`` within the limits; no limit but the ceiling stops what runs, and that has been seen to before."""
    if case.seen.open_tasks is not None:
        worth = math.ceil(case.seen.open_tasks / case.config.tasks_per_replica)
        if worth < wanted:
            wanted = max(case.placed, worth)
            why = f"{case.seen.open_tasks} open tasks are worth {worth} replicas, {case.placed} run"
    if wanted > case.ceiling:
        wanted, why = max(case.placed, int(case.ceiling)), f"no more than {int(case.ceiling)} replicas are allowed"
    if wanted < case.floor:
        wanted, why = case.floor, f"at least {case.floor} replicas are kept"
    return wanted, why


def _room_for_more(case: _Case) -> int:
    """How many more of ours fit now; 0 where that cannot be known."""
    seen = case.seen
    if seen.nodes is None or not seen.complete or seen.target.template is None:
        return 0
    return copies(seen.target.template, places(seen, soon=False))


def copies(template: Pod, room: Places) -> int:
    """How many pods like ``template`` fit into the room."""
    trial, count = room.copy(), 0
    if not any(amount > 0 for amount in template.requests.values()):
        return 0
    for name in trial.nodes:
        while trial.fits(template, name):
            trial.take(template, name)
            count += 1
    return count


def _idle_since(seen: Observation, memory: Memory) -> float | None:
    if seen.open_tasks is None or seen.open_tasks > 0:
        return None
    return seen.now if memory.idle_since is None else memory.idle_since


def _idle_for(case: _Case) -> bool:
    since, wanted = case.memory.idle_since, case.config.idle_seconds
    return since is not None and wanted > 0 and case.seen.now - since >= wanted


def _verdicts(found: Plan, seen: Observation, resource: str) -> list[Verdict]:
    rows = [(group, "helped", "ours make room for it") for group in found.cured]
    rows += [(group, "served", "there is room for it, or will be in a moment") for group in found.served]
    rows += [(group, "beyond", beyond(group, seen, resource)) for group in found.hopeless]
    return [
        Verdict(pod.full_name, pod.requests.get(resource, 0), word, why)
        for group, word, why in rows
        for pod in group.pods
    ]


def _names(groups: tuple[Group, ...]) -> str:
    pods = [pod.full_name for group in groups for pod in group.pods]
    return ", ".join(pods[:3]) + (f" and {len(pods) - 3} more" if len(pods) > 3 else "")


def _s(groups: tuple[Group, ...]) -> str:
    return "s" if sum(len(group.pods) for group in groups) == 1 else ""
