"""The shipped decision on the model of a cluster, in virtual time: what the process does over HTTP, without waiting."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from duplexforge.autokicker import parse
from duplexforge.autokicker.decide import Action, quiet_time
from duplexforge.autokicker.lending import Loan, lend
from duplexforge.autokicker.memory import Memory, derive, next_look
from duplexforge.autokicker.observe import observe, ours
from duplexforge.autokicker.world import Observation
from duplexforge.config import AutokickSettings
from tests.servers.kube import objects, rules
from tests.servers.kube.kinds import DEPLOYMENTS, JOBS, NODES, POD_GROUPS, PODS, Object
from tests.servers.kube.model import Cluster
from tests.servers.kube.store import Refused

# From a change to the scale written.
REACTION = 0.1
KEY = (objects.NAMESPACE, "emiliapipe")


def settings(**changes: Any) -> AutokickSettings:
    """Settings of the autokicker, whatever stands in the environment of the tests."""
    return AutokickSettings(_env_file=None, **{"target_deployment": "emiliapipe", **changes})


class Driver:
    """Turns the clock of a cluster and lets the autokicker see and act, ``REACTION`` seconds after each change."""

    def __init__(self, cluster: Cluster, config: AutokickSettings, *, see_nodes: bool = True) -> None:
        self.cluster, self.config, self.see_nodes = cluster, config, see_nodes
        self.memory: Memory | None = None
        self.actions: list[tuple[float, Action]] = []
        self.loans: list[tuple[float, Loan]] = []
        self.open_tasks: Callable[[], int | None] = lambda: None
        self.wait: float | None = None

    def see(self) -> Observation:
        """What the autokicker would see now."""
        store = self.cluster.store
        gangs = self.config.gang_labels.split(",")
        pods = [parse.pod(one, gangs) for one in store.listed(PODS) if not parse.ended(one)]
        nodes = [parse.node(one) for one in store.listed(NODES)] if self.see_nodes else None
        return observe(
            ours(store.get(DEPLOYMENTS, KEY)), pods, nodes, self.config,
            now=self.cluster.clock(), complete=self.see_nodes, open_tasks=self.open_tasks(),
            gangs=[parse.gang(one) for one in store.listed(POD_GROUPS)],
            lent=[job for one in store.listed(JOBS) if (job := parse.lent(one))],
        )  # fmt: skip

    def turn(self) -> Action:
        """One look, one decision, carried out."""
        seen = self.see()
        if self.memory is None:
            self.memory = derive(seen, self.config.resource)
        loan, self.memory = lend(seen, self.memory, self.config)
        action = loan.action
        self.wait = next_look(self.memory, seen.now, self.config.escalation_seconds, quiet_time(self.config))
        if action.word not in ("hold", "passive"):
            self.actions.append((self.cluster.now, action))
            self._write(action, seen)
        if loan.suspend or loan.resume:
            self.loans.append((self.cluster.now, loan))
            self._lend(loan)
        return action

    def _lend(self, loan: Loan) -> None:
        def change(suspended: bool) -> Callable[[Object], None]:
            def put(one: Object) -> None:
                one["spec"]["suspend"] = suspended
                notes = one["metadata"].setdefault("annotations", {})
                notes.pop(parse.PUT_OFF, None)
                if suspended:
                    notes[parse.PUT_OFF] = rules.stamp(self.cluster.clock())

            return put

        for jobs, suspended in ((loan.suspend, True), (loan.resume, False)):
            for job in jobs:
                self._change(JOBS, (objects.NAMESPACE, job.name), change(suspended))
        self.cluster.settle()

    def _write(self, action: Action, seen: Observation) -> None:
        chosen = {pod.uid for pod in action.victims}
        for pod in seen.placed if action.victims else ():
            self._change(PODS, (pod.namespace, pod.name), _costing("-1000000" if pod.uid in chosen else "0"))
        self._change(DEPLOYMENTS, KEY, lambda one: one["spec"].update(replicas=action.replicas))
        self.cluster.settle()

    def _change(self, kind: Any, key: tuple[str, str], change: Callable[[Object], None]) -> None:
        try:
            changed = copy.deepcopy(self.cluster.store.get(kind, key))
        except Refused:  # it ended meanwhile
            return
        change(changed)
        self.cluster.store.replace(kind, changed)

    def run(self, until: float) -> None:
        """Let time go by."""
        due = self.cluster.now
        while self.cluster.now < until:
            due = min(due, until)
            while self.cluster.next_at < due:
                self.cluster.advance(self.cluster.next_at)
            self.cluster.advance(due)
            version = self.cluster.store.version
            self.turn()
            if self.cluster.store.version != version:
                due = self.cluster.now + REACTION
                continue
            # Asleep until something happens, or time alone may change the decision.
            looks = [self.cluster.next_at + REACTION]
            if self.wait is not None:
                looks.append(self.cluster.now + self.wait + 0.01)
            due = min(looks)


def _costing(cost: str) -> Callable[[Object], None]:
    def change(pod: Object) -> None:
        pod["metadata"].setdefault("annotations", {})[parse.DELETION_COST] = cost

    return change


def factory(*, nodes: int = 2, gpus: int = 8, replicas: int = 0, stop: float = 3.0, **config: Any) -> Driver:
    """A cluster of equal nodes with our Deployment, and a driver over it."""
    cluster = Cluster()
    machines = [objects.node(f"node-{letter}", gpus=gpus) for letter in "abcdefghij"[:nodes]]
    cluster.load(*machines, objects.deployment(replicas=replicas, sim={"stop": stop}))
    return Driver(cluster, settings(**config))
