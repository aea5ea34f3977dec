"""The scheduler's model: what fits, what is said of what does not, preemption as it was measured on a real one."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.kube import rules
from tests.servers.kube.kinds import CLAIMS, PODS, Object
from tests.servers.kube.model import Cluster
from tests.servers.kube.objects import deployment, guest, node, pod_group, priority


def _cluster(replicas: int = 0, **changes: Any) -> Cluster:
    cluster = Cluster()
    ours = deployment(replicas=replicas, sim={"stop": 3}, **changes)
    cluster.load(node("node-a"), node("node-b"), priority("high", 1000), ours)
    cluster.advance(1)
    return cluster


def _said(cluster: Cluster, name: str) -> tuple[str, str]:
    pod = cluster.store.get(PODS, ("research", name))
    found = rules.condition(pod, "PodScheduled")
    return found.get("reason", ""), found.get("message", "")


@pytest.mark.parametrize(("gpus", "kills"), [(1, 1), (4, 4), (8, 8)])
def test_native_preemption_as_measured(gpus: int, kills: int) -> None:
    """1, 4 or 8 kills on one node, and the guest runs when the victims are gone."""
    cluster = _cluster(16)
    cluster.plan(2, guest("guest", gpus=gpus, priorityClassName="high"))
    cluster.advance(10)
    nodes = Counter(node for _, node in cluster.timeline.kills().values())
    assert list(nodes.values()) == [kills]
    assert cluster.timeline.ran("guest") == 5.0


def test_native_preemption_of_a_gang_kills_all_and_the_gang_stays_incomplete() -> None:
    """3 x 8 on two nodes: 16 kills, and the third never runs."""
    cluster = _cluster(16)
    cluster.plan(2, *(guest(f"member-{n}", gpus=8, priorityClassName="high") for n in range(3)))
    cluster.advance(30)
    assert len(cluster.timeline.kills()) == 16
    assert sum(cluster.timeline.ran(f"member-{n}") is not None for n in range(3)) == 2


def test_native_preemption_kills_for_each_of_ten_short_pods() -> None:
    """Every one of them finds the GPU taken again."""
    cluster = _cluster(17)
    for n in range(10):
        cluster.plan(2 + 10 * n, guest(f"short-{n}", priorityClassName="high", sim={"run": 5}))
    cluster.advance(120)
    assert len(cluster.timeline.kills()) == 10


@pytest.mark.parametrize(
    "spec", [{}, {"priority": -5}, {"priority": 1000, "preemptionPolicy": "Never"}], ids=["none", "lower", "never"]
)
def test_without_a_higher_priority_that_preempts_a_guest_never_runs(spec: dict[str, Any]) -> None:
    """Which is why there is an autokicker."""
    cluster = _cluster(17)
    cluster.plan(2, guest("guest", **spec))
    cluster.advance(30)
    assert cluster.timeline.ran("guest") is None
    assert cluster.timeline.kills() == {}
    assert cluster.timeline.moments[-1].curable == ("guest",)


@pytest.mark.parametrize(
    ("thing", "reason", "message"),
    [
        (guest("guest", gpus=9, cpu="200"), "Unschedulable",
         "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient nvidia.com/gpu."),
        (guest("guest", nodeSelector={"x": "y"}), "Unschedulable",
         "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        (guest("guest", schedulingGates=[{"name": "g"}]), "SchedulingGated", "Scheduling is blocked"),
        (guest("guest", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]), "Unschedulable",
         'persistentvolumeclaim "d" not found'),
    ],
)  # fmt: skip
def test_what_is_said_of_a_pod_that_waits(thing: Object, reason: str, message: str) -> None:
    """In the words of the real one; nobody is preempted, whatever the priority."""
    cluster = _cluster(16)
    thing = copy.deepcopy(thing)
    thing["spec"]["priorityClassName"] = "high"
    cluster.load(thing)
    said = _said(cluster, "guest")
    assert said[0] == reason
    assert message in said[1]
    assert cluster.timeline.kills() == {}
    assert cluster.timeline.moments[-1].curable == ()


def test_a_volume_that_comes_late_and_a_gate_that_is_lifted() -> None:
    """What held a pod up is looked at again."""
    cluster = _cluster()
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]
    cluster.load(guest("late", volumes=volumes), guest("gated", schedulingGates=[{"name": "g"}]))
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d", "namespace": "research"}}
    cluster.load({**claim, "spec": {}, "status": {"phase": "Pending"}})
    assert "unbound" in _said(cluster, "late")[1]
    cluster.store.set_status(CLAIMS, {**claim, "status": {"phase": "Bound"}})
    lifted = copy.deepcopy(cluster.store.get(PODS, ("research", "gated")))
    lifted["spec"]["schedulingGates"] = []
    cluster.store.replace(PODS, lifted)
    cluster.settle()
    assert cluster.timeline.ran("late") is not None
    assert cluster.timeline.ran("gated") is not None


def test_a_group_starts_whole_or_not_at_all() -> None:
    """With a PodGroup: the first member waits for the second."""
    cluster = _cluster()
    cluster.load(pod_group("gang", 2), guest("one", gpus=8, group="gang", size=2))
    assert cluster.timeline.ran("one") is None
    cluster.load(guest("two", gpus=8, group="gang", size=2))
    assert cluster.timeline.ran("one") == cluster.timeline.ran("two") is not None


def test_a_nominated_pod_keeps_its_place() -> None:
    """Its room is not given to another of its rank, which makes its own; neither preempts twice."""
    cluster = _cluster(16)
    cluster.plan(2, guest("first", gpus=4, priorityClassName="high"))
    cluster.plan(3, guest("second", gpus=1, priorityClassName="high"))
    cluster.advance(4)
    assert len(cluster.timeline.kills()) == 5
    cluster.advance(10)
    assert (cluster.timeline.ran("first"), cluster.timeline.ran("second")) == (6.0, 6.0)


def test_pods_of_one_owner_are_spread() -> None:
    """Four over two nodes."""
    cluster = _cluster(4)
    assert Counter(pod["spec"]["nodeName"] for pod in cluster.pods()) == {"node-a": 2, "node-b": 2}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 1), st.integers(1, 9)), max_size=25))
def test_no_node_is_ever_overfull_and_nobody_waits_in_vain(arrivals: list[tuple[int, int, int]]) -> None:
    """Whatever comes with whatever priority; at the end, who still waits fits nowhere."""
    cluster = _cluster(0)
    for number, (gpus, rank, run) in enumerate(arrivals):
        thing = guest(f"guest-{number}", gpus=gpus, priority=rank, sim={"run": run, "stop": 1})
        cluster.plan(1.0 + number / 2, thing)
    cluster.advance(200)
    nodes = dict.fromkeys(("node-a", "node-b"), 8)
    for moment in cluster.timeline.moments:
        for name, room in nodes.items():
            here = [pod for pod in (*moment.ours, *moment.others) if pod.node == name and pod.phase != "Succeeded"]
            assert sum(pod.gpus for pod in here) <= room
    assert {pod.gpus for pod in cluster.timeline.moments[-1].others if not pod.node} <= {9}
