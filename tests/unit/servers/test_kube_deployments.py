"""Whom a ReplicaSet takes away, and how a Deployment replaces its pods."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.kube import rules
from tests.servers.kube.deployments import DELETION_COST, active, ranked
from tests.servers.kube.kinds import DEPLOYMENTS, PODS, REPLICA_SETS, Object, key_of
from tests.servers.kube.model import EPOCH, Cluster
from tests.servers.kube.objects import NAMESPACE, deployment, guest, node

KEY = (NAMESPACE, "emiliapipe")
NOW = EPOCH + 10_000


def _pod(name: str, *, on: str = "node-a", phase: str = "Running", ready: float | None = 100.0, **more: Any) -> Object:
    """A pod that became ready ``ready`` seconds ago and was made ``age`` ago."""
    pod = guest(name)
    pod["spec"]["nodeName"] = on
    pod["metadata"] |= {"uid": name, "creationTimestamp": rules.stamp(NOW - more.get("age", 1000))}
    pod["metadata"]["annotations"][DELETION_COST] = str(more.get("cost", 0))
    since = rules.stamp(NOW - (ready or 0))
    conditions = [{"type": "Ready", "status": str(ready is not None), "lastTransitionTime": since}]
    statuses = [{"restartCount": more.get("restarts", 0)}]
    pod["status"] = {"phase": phase, "conditions": conditions, "containerStatuses": statuses}
    return pod


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (_pod("x", on="", phase="Pending", ready=None, cost=9), _pod("y", phase="Pending", ready=None, cost=-9)),
        (_pod("x", phase="Pending", ready=None, cost=9), _pod("y", ready=None, cost=-9)),
        (_pod("x", ready=None, cost=9), _pod("y", cost=-9)),
        (_pod("x", cost=-1, ready=5000), _pod("y", cost=0, ready=5)),
        (_pod("x", ready=10), _pod("y", ready=1000)),
        (_pod("x", restarts=3), _pod("y")),
        (_pod("x", age=10), _pod("y", age=5000)),
    ],
    ids=["no node", "pending", "not ready", "cost", "ready lately", "restarts", "young"],
)
def test_the_order_of_the_real_controller(first: Object, then: Object) -> None:
    """Each rule counts only where all before it are equal."""
    for pods in ([first, then], [then, first]):
        assert [pod["metadata"]["name"] for pod in ranked(pods, pods, NOW)] == ["x", "y"]


def test_where_many_are_together_one_goes_first() -> None:
    """With equal costs the fuller node gives; costs come before that."""
    pods = [_pod("a", on="node-b"), _pod("b"), _pod("c")]
    assert ranked(pods, pods, NOW)[0]["metadata"]["name"] in ("b", "c")
    pods[0]["metadata"]["annotations"][DELETION_COST] = "-5"
    assert ranked(pods, pods, NOW)[0]["metadata"]["name"] == "a"


def _scale(cluster: Cluster, replicas: int, **spec: Any) -> None:
    changed = copy.deepcopy(cluster.store.get(DEPLOYMENTS, KEY))
    changed["spec"] |= {"replicas": replicas, **spec}
    cluster.store.replace(DEPLOYMENTS, changed)
    cluster.settle()


def _full(replicas: int, **changes: Any) -> Cluster:
    cluster = Cluster()
    cluster.load(node("node-a"), node("node-b"), deployment(replicas=replicas, sim={"load": 1, "stop": 3}, **changes))
    cluster.advance(5)
    return cluster


def test_trap_scaling_down_takes_a_pending_one_and_frees_nothing() -> None:
    """20 replicas for 16 GPUs, then 19: a pod without a node goes."""
    cluster = _full(20)
    _scale(cluster, 19)
    last = cluster.timeline.moments[-1]
    assert (len(last.placed), len(last.waiting)) == (16, 3)
    assert cluster.timeline.kills() == {}


def test_trap_plain_scaling_spreads_the_kills_and_costs_gather_them() -> None:
    """16 to 12 for a pod of 4 GPUs: over both nodes without costs, on the one that was chosen with them."""
    plain, chosen = _full(16), _full(16)
    _scale(plain, 12)
    for pod in [pod for pod in chosen.pods() if pod["spec"]["nodeName"] == "node-b"][:4]:
        changed = copy.deepcopy(pod)
        changed["metadata"]["annotations"][DELETION_COST] = "-100"
        chosen.store.replace(PODS, changed)
    _scale(chosen, 12)
    assert set(Counter(node for _, node in plain.timeline.kills().values())) == {"node-a", "node-b"}
    assert Counter(node for _, node in chosen.timeline.kills().values()) == {"node-b": 4}


def test_pods_stop_in_their_time_and_hold_their_gpus_until_then() -> None:
    """A GPU is free when its pod is gone, not when it was told to go."""
    cluster = _full(16)
    _scale(cluster, 15)
    assert cluster.timeline.moments[-1].free == 0
    cluster.advance(7.9)
    assert cluster.timeline.moments[-1].free == 0
    cluster.advance(8.1)
    assert cluster.timeline.moments[-1].free == 1


def test_a_pod_that_does_not_stop_is_killed_when_its_grace_is_over() -> None:
    """Stop time 3 s, grace 1 s."""
    cluster = _full(16, terminationGracePeriodSeconds=1)
    _scale(cluster, 0)
    cluster.advance(6.5)
    assert cluster.pods() == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(min_value=0, max_value=24), min_size=1, max_size=6))
def test_whatever_the_sizes_were_the_last_one_is_reached(sizes: list[int]) -> None:
    """And no node ever holds more than it has."""
    cluster = _full(4)
    for turn, size in enumerate(sizes):
        _scale(cluster, size)
        cluster.advance(6 + turn)
    cluster.advance(100)
    assert len(active(cluster.pods())) == sizes[-1]
    assert all(moment.free >= 0 for moment in cluster.timeline.moments)


def test_a_rolling_update_replaces_all_and_keeps_its_promise() -> None:
    """With room to surge, never fewer ready pods than wanted."""
    cluster = _full(8, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}})
    template = copy.deepcopy(cluster.store.get(DEPLOYMENTS, KEY)["spec"]["template"])
    template["metadata"]["labels"]["version"] = "2"
    start = len(cluster.timeline.moments)
    _scale(cluster, 8, template=template)
    cluster.advance(100)
    pods = cluster.pods()
    assert [pod["metadata"]["labels"].get("version") for pod in pods] == ["2"] * 8
    during = cluster.timeline.moments[start:]
    assert min(sum(pod.ready for pod in moment.ours) for moment in during) >= 8
    assert max(sum(not pod.leaving for pod in moment.ours) for moment in during) <= 10
    assert cluster.store.get(DEPLOYMENTS, KEY)["status"]["updatedReplicas"] == 8


def test_recreate_stops_all_before_it_starts_any() -> None:
    """The other strategy."""
    cluster = _full(4, strategy={"type": "Recreate"})
    template = copy.deepcopy(cluster.store.get(DEPLOYMENTS, KEY)["spec"]["template"])
    template["metadata"]["labels"]["version"] = "2"
    _scale(cluster, 4, template=template)
    assert all(pod["metadata"]["labels"].get("version") is None for pod in cluster.pods())
    cluster.advance(20)
    assert [pod["metadata"]["labels"].get("version") for pod in cluster.pods()] == ["2"] * 4


def test_with_the_deployment_all_that_it_made_goes() -> None:
    """Garbage collection, as far as it is needed here."""
    cluster = _full(4)
    cluster.store.delete(DEPLOYMENTS, KEY)
    cluster.advance(20)
    assert cluster.pods() == []
    assert cluster.store.listed(REPLICA_SETS) == []


def test_a_pod_that_was_deleted_is_replaced() -> None:
    """The ReplicaSet makes another one."""
    cluster = _full(4)
    lost = key_of(cluster.pods()[0])
    cluster.store.delete(PODS, lost)
    cluster.advance(20)
    assert len(cluster.pods()) == 4
    assert lost not in map(key_of, cluster.pods())
