"""Scenarios in virtual time: the autokicker's decision on the model of the cluster, at every change, with no process.

What a real autokicker does with API calls is done here on the model's objects: observing is its own parsing, acting is
written here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from duplexforge.autokicker import memory as memories
from duplexforge.autokicker import observe, parse
from duplexforge.autokicker.decide import Action, decide
from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.world import Observation
from duplexforge.config import AutokickSettings
from tests.cluster.scenario import LOAD, Scenario, Step
from tests.servers.kube import rules
from tests.servers.kube.deployments import DELETION_COST
from tests.servers.kube.kinds import DEPLOYMENTS, NODES, POD_GROUPS, PODS, Object, key_of, kind_of
from tests.servers.kube.model import Cluster
from tests.servers.kube.patches import patched
from tests.servers.kube.timeline import Timeline

WARM = 2 * LOAD
# A decision leads to a change that leads to another decision; after so many at one moment it would never rest.
_ROUNDS = 50


class Kicker:
    """An autokicker that sees every change at once."""

    def __init__(self, cluster: Cluster, config: AutokickSettings, open_tasks: int | None = None) -> None:
        self._cluster, self._config, self.open_tasks = cluster, config, open_tasks
        self._key = (config.namespace or "factory", config.target_deployment)
        self._memory: Memory | None = None
        self.actions: list[tuple[float, Action]] = []

    def look(self) -> float:
        """Decide and act until nothing more is to be done; seconds until time alone may change that."""
        for _ in range(_ROUNDS):
            seen = self._seen()
            if self._memory is None:
                self._memory = memories.derive(seen, self._config.resource)
            action, self._memory = decide(seen, self._memory, self._config)
            if action.replicas == seen.target.replicas:
                config = self._config
                wait = memories.next_look(self._memory, seen.now, config.escalation_seconds, config.quiet_seconds)
                return min(wait if wait is not None else config.interval, config.interval)
            self.actions.append((self._cluster.now, action))
            self._act(action)
        raise AssertionError(f"the decisions do not come to rest: {[one for _, one in self.actions[-4:]]}")

    def _seen(self) -> Observation:
        store, names = self._cluster.store, self._config.gang_labels.split(",")
        pods = [parse.pod(found, names) for found in self._cluster.pods() if not rules.finished(found)]
        nodes = [parse.node(found) for found in store.listed(NODES)]
        mine = observe.ours(store.get(DEPLOYMENTS, self._key))
        return observe.observe(
            mine, pods, nodes, self._config, now=self._cluster.clock(), open_tasks=self.open_tasks,
            gangs=[parse.gang(found) for found in store.listed(POD_GROUPS)],
        )  # fmt: skip

    def _act(self, action: Action) -> None:
        store = self._cluster.store
        costs = {pod.name: place - 1000 for place, pod in enumerate(action.victims)}
        for pod in self._cluster.pods():
            if pod["metadata"]["namespace"] != self._key[0]:
                continue
            cost = str(costs.get(pod["metadata"]["name"], 0))
            if rules.annotation(pod, DELETION_COST, "0") != cost:
                changed = copy.deepcopy(pod)
                changed["metadata"].setdefault("annotations", {})[DELETION_COST] = cost
                store.replace(PODS, changed)
        deployment = copy.deepcopy(store.get(DEPLOYMENTS, self._key))
        deployment["spec"]["replicas"] = action.replicas
        store.replace(DEPLOYMENTS, deployment)
        self._cluster.settle()


def configured(settings: dict[str, float | str]) -> AutokickSettings:
    """Settings from a scenario's variables."""
    values = {name.lower(): value for name, value in settings.items()}
    return AutokickSettings(_env_file=None, namespace="factory", **values)


def prepared(scenario: Scenario) -> Cluster:
    """The scenario's cluster, with ours loaded; its time starts now."""
    cluster = Cluster()
    cluster.load(*scenario.nodes, *scenario.more, scenario.ours)
    cluster.advance(WARM)
    names = sorted(key_of(pod) for pod in cluster.pods() if pod["metadata"]["namespace"] == "factory")
    for key, seconds in zip(names, scenario.lost, strict=False):
        pod = copy.deepcopy(cluster.store.get(PODS, key))
        pod["metadata"]["annotations"][parse.LOST_WORK] = str(seconds)
        cluster.store.replace(PODS, pod)
    cluster.timeline = Timeline()
    cluster.timeline.record(cluster.now, cluster.store)
    schedule(cluster, scenario.steps)
    return cluster


def schedule(cluster: Cluster, steps: Iterable[Step]) -> None:
    """Have other people's steps done when it is their time."""
    for step in steps:
        cluster.do(cluster.now + step.at, lambda step=step: _do(cluster, step))


def _do(cluster: Cluster, step: Step) -> None:
    thing: Object = step.thing
    kind, store = kind_of(thing), cluster.store
    if step.verb == "create":
        store.create(kind, thing)
    elif step.verb == "delete":
        store.delete(kind, key_of(thing))
    else:
        store.replace(kind, patched(store.get(kind, key_of(thing)), thing, "application/merge-patch+json"))


def run(scenario: Scenario) -> tuple[Timeline, Kicker]:
    """Run a scenario to its end."""
    cluster = prepared(scenario)
    kicker = Kicker(cluster, configured(scenario.all_settings()), scenario.open_tasks)
    end = cluster.now + scenario.length
    # Time jumps to whatever comes next: a change in the cluster, or the moment from which time alone changes a decision.
    while cluster.now < end:
        wait = max(kicker.look(), 0.001)
        cluster.advance(min(end, cluster.now + wait, max(cluster.next_at, cluster.now)))
    return cluster.timeline, kicker
