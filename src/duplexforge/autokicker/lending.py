"""Jobs beside the Deployment: a training run gives its GPUs back as a whole, and gets them again as a whole.

A pod of a gang that is taken alone stops all of the others, so a Job is suspended: its controller ends every pod, each saves
what it has, and none counts as failed. The Deployment's replicas go first, since they lose less; a Job goes for a guest whom
not even all of them could help. When nobody else waits any more it is resumed, as soon as all of it fits, and replicas make
way for it. One that stands in part, waiting for the rest, holds GPUs for nothing: it is put off until then as well.

All this wants to see nodes: without them nothing is suspended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from duplexforge.autokicker.decide import Action, decide, quiet_time
from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.schedule import places
from duplexforge.autokicker.victims import Group, plan
from duplexforge.autokicker.world import Lent, Observation, Pod
from duplexforge.config import AutokickSettings

# More Jobs than this are tried one by one, then all of them.
_TRIED_TOGETHER = 6


@dataclass(frozen=True)
class Loan:
    """What to do about all that is lent: the Deployment's action, and the Jobs to suspend or to resume, with the reason."""

    action: Action
    suspend: tuple[Lent, ...] = ()
    resume: tuple[Lent, ...] = ()
    reason: str = ""


def lend(seen: Observation, memory: Memory, config: AutokickSettings) -> tuple[Loan, Memory]:
    """What to do now, and what to remember. The same input always gives the same answer."""
    action, after = decide(seen, memory, config)
    if action.word == "passive" or not seen.lent or seen.nodes is None or not seen.complete:
        return Loan(action), after
    if found := _for_guests(seen, memory, config, action):
        return found
    if action.word == "yield":
        return Loan(action), after
    return _whole(seen, after, config, action), after


def _for_guests(
    seen: Observation, memory: Memory, config: AutokickSettings, action: Action
) -> tuple[Loan, Memory] | None:
    """The fewest pods of Jobs whose end lets a guest run whom the Deployment alone cannot help."""
    beyond = {verdict.pod for verdict in action.verdicts if verdict.word == "beyond"}
    running = [job for job in seen.lent if not job.suspended and job.placed]
    for jobs in _sets(running) if beyond else ():
        gone = {pod.uid for job in jobs for pod in job.pods}
        without = replace(seen, kin=tuple(pod for pod in seen.kin if pod.uid not in gone))
        trial, after = decide(without, memory, config)
        helped = {verdict.pod for verdict in trial.verdicts if verdict.word in ("helped", "served")}
        if beyond & helped:
            names = ", ".join(sorted(beyond & helped))
            return Loan(trial, suspend=jobs, reason=f"makes way for {names}, whom the replicas could not help"), after
    return None


def _sets(jobs: Sequence[Lent]) -> Iterator[tuple[Lent, ...]]:
    """Sets of Jobs to try, those with the fewest pods first."""
    if len(jobs) > _TRIED_TOGETHER:
        found = [(job,) for job in jobs] + [tuple(jobs)]
    else:
        found = [one for count in range(1, len(jobs) + 1) for one in combinations(jobs, count)]
    yield from sorted(found, key=lambda one: (sum(len(job.placed) for job in one), [job.name for job in one]))


def _whole(seen: Observation, memory: Memory, config: AutokickSettings, action: Action) -> Loan:
    """Jobs that stand in part are waited for or put off; one that is put off comes back when nobody else waits."""
    patience = max(config.escalation_seconds, quiet_time(config))
    for job in seen.lent:
        lacking = [pod for pod in job.pods if not pod.node and pod.leaving is None]
        if job.suspended or not lacking:
            continue
        if seen.now - min(pod.created for pod in lacking) < patience:
            return Loan(_no_growth(seen, config, action, f"Job {job.name} waits for room"))
        told = f"{len(job.placed)} of its {job.size} pods found room: it starts again when all of them do"
        return Loan(action, suspend=(job,), reason=told)
    guests = any(verdict.word in ("helped", "served") for verdict in action.verdicts)
    lately = memory.guest_at is not None and seen.now - memory.guest_at < quiet_time(config)
    # Short pods that come and go would stop it each time: it waits until there are no more of them.
    if guests or lately or memory.reserve or seen.target.rolling:
        return Loan(action)
    waiting = [job for job in seen.lent if job.suspended and job.put_off is not None and not job.pods and job.size]
    for job in sorted(waiting, key=lambda job: (job.put_off or 0.0, job.name)):
        if found := _back(job, seen, config, action):
            return found
    return Loan(action)


def _back(job: Lent, seen: Observation, config: AutokickSettings, action: Action) -> Loan | None:
    """What brings a Job back that was put off; None when not even all replicas gone would."""
    pods = tuple(replace(job.template, uid=f"{job.uid}/{number}", name=job.name) for number in range(job.size))
    found = plan((Group(job.name, pods),), seen)
    held = _no_growth(seen, config, action, f"Job {job.name} comes back first")
    floor = max(config.baseline, seen.target.least)
    if found.hopeless or len(seen.placed) - len(found.victims) < min(floor, len(seen.placed)):
        return None
    if found.victims:
        # Replicas lose little and come back one by one; a Job that waits for luck would wait for ever.
        reason = f"Job {job.name} comes back: {len(found.victims)} of {len(seen.placed)} replicas make way"
        left = len(seen.placed) - len(found.victims)
        return Loan(Action("trim", left, reason, found.victims, action.verdicts))
    # A pending replica would take a place between the Job's pods: it goes before they come.
    if seen.target.replicas > held.replicas or seen.waiting or not _fits(pods, seen):
        return Loan(held)
    return Loan(held, resume=(job,), reason=f"there is room for all {job.size} of its pods, and nobody waits for it")


def _fits(pods: Sequence[Pod], seen: Observation) -> bool:
    """Whether there is room now, without what is still being left."""
    room = places(seen, soon=False)
    for pod in pods:
        found = next((name for name in room.nodes if room.fits(pod, name)), None)
        if found is None:
            return False
        room.take(pod, found)
    return True


def _no_growth(seen: Observation, config: AutokickSettings, action: Action, why: str) -> Action:
    """``action`` with no replica beyond those that run, and so none that is pending."""
    if seen.target.rolling or (action.word == "trim" and action.replicas <= len(seen.placed)):
        return action
    most = max(len(seen.placed), config.baseline, seen.target.least)
    wanted = min(seen.target.replicas, most)
    word = "trim" if wanted < seen.target.replicas else "hold"
    return Action(word, wanted, f"{why}: no growth", (), action.verdicts)
