"""Reading the API's JSON: quantities, requests as the scheduler counts them, and everything a decision rests on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.autokicker import parse
from duplexforge.autokicker.observe import observe, ours
from duplexforge.autokicker.schedule import insufficient
from duplexforge.autokicker.world import Requirement, Taint, Toleration
from tests.servers.kube import objects, rules
from tests.unit.autokicker.virtual import settings

GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("250m", 0.25),
        ("512Gi", 512 * 2**30),
        ("1e3", 1000),
        ("1E", 1e18),
        ("1.5k", 1500),
        (8, 8),
        (".5", 0.5),
    ],
)
def test_quantities(text: object, value: float) -> None:
    assert parse.quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "many", "1Zi", "1 Gi", "--1", None])
def test_what_is_no_quantity(text: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse.quantity(text)


@given(st.integers(0, 10**6), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]))
def test_quantities_are_read_as_the_stand_in_reads_them(number: int, unit: str) -> None:
    assert parse.quantity(f"{number}{unit}") == pytest.approx(rules.quantity(f"{number}{unit}"))


def container(**amounts: str) -> dict[str, Any]:
    names = {"gpu": GPU}
    return {"resources": {"requests": {names.get(name, name): value for name, value in amounts.items()}}}


def test_requests_are_what_the_scheduler_counts() -> None:
    always = {"restartPolicy": "Always"}
    spec = {
        "containers": [container(cpu="1", gpu="1"), {"resources": {"limits": {GPU: "2"}}}, {}],
        "initContainers": [container(cpu="500m") | always, container(cpu="9", memory="1Gi")],
        "overhead": {"cpu": "250m"},
    }
    found = parse.requests(spec)
    assert found == {"cpu": 9.75, "memory": 2**30, GPU: 3, "pods": 1}


def test_a_pod_that_waits() -> None:
    made = objects.guest(
        "g", gpus=2, group="gang", size=3, nodeSelector={"zone": "a"}, tolerations=[{"operator": "Exists"}]
    )
    made["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-03T00:00:00Z"}
    told = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: x.",
    }
    made["status"] = {"phase": "Pending", "conditions": [told], "nominatedNodeName": "node-a"}
    found = parse.pod(made, ["scheduling.x-k8s.io/pod-group"])
    assert (found.unschedulable, found.message, found.nominated) == (True, told["message"], "node-a")
    assert (found.gang, found.requests[GPU], found.selector) == ("gang", 2, {"zone": "a"})
    assert found.tolerations == (Toleration(operator="Exists"),)
    assert found.created == pytest.approx(1767398400)
    told["reason"] = "SchedulingGated"
    assert not parse.pod(made).unschedulable


@pytest.mark.parametrize(
    "name",
    [
        "duplexforge.io/gang-size",
        "kueue.x-k8s.io/pod-group-total-count",
        "pod-group.scheduling.sigs.k8s.io/min-available",
    ],
)
@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_each_way_to_tell_the_size_of_a_gang(name: str, where: str) -> None:
    made = objects.guest("g") | {"status": {}}
    made["metadata"].setdefault("labels", {})["pod-group"] = "gang"
    made["metadata"].setdefault(where, {})[name] = "3"
    assert parse.pod(made, ["pod-group"]).gang_size == 3
    assert parse.pod(made).gang_size == 0, "who belongs to no gang has no size of one"


def test_required_affinities_are_read_and_wishes_are_not() -> None:
    one = {"key": "gpu", "operator": "In", "values": ["h100"]}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"job": "x"}}}
    zone = {**term, "topologyKey": "topology.kubernetes.io/zone"}
    must, may = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    affinity = {
        "nodeAffinity": {must: {"nodeSelectorTerms": [{"matchExpressions": [one]}]}, may: [{"weight": 1}]},
        "podAntiAffinity": {must: [term, zone], may: [{"weight": 1}]},
    }
    found = parse.pod(objects.guest("g", affinity=affinity) | {"status": {}})
    assert found.affinity[0].labels == (Requirement("gpu", "In", ("h100",)),)
    assert [(rule.match, rule.namespaces) for rule in found.apart] == [
        ((Requirement("job", "In", ("x",)),), frozenset({"research"}))
    ]


def test_odd_annotations_are_no_reason_to_stop() -> None:
    made = objects.guest("g") | {"status": {}}
    made["metadata"]["annotations"] = {parse.LOST_WORK: "soon", parse.DELETION_COST: "free"}
    found = parse.pod(made)
    assert (found.lost_work, found.deletion_cost) == (0.0, 0)


def test_a_node_that_is_not_ready_takes_nobody() -> None:
    made = objects.node("a", taints=[{"key": "x", "effect": "NoSchedule"}, {"key": "y", "effect": "PreferNoSchedule"}])
    assert parse.node(made).taints == (Taint("x"),)
    assert not parse.node(made).cordoned
    made["status"]["conditions"][0]["status"] = "Unknown"
    assert parse.node(made).cordoned


def test_the_deployment_and_what_people_wrote_on_it() -> None:
    made = objects.deployment(replicas=4, gpus=2)
    made["metadata"]["annotations"] = {
        "duplexforge.io/autokick-min": "2",
        "duplexforge.io/autokick-max": "9",
        "duplexforge.io/autokick-paused": "True",
    }
    made["metadata"]["generation"], made["status"] = 3, {"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1}
    found = parse.target(made)
    assert (found.replicas, found.least, found.most, found.paused, found.rolling) == (4, 2, 9, True, True)
    assert found.requests[GPU] == 2
    made["status"]["updatedReplicas"] = 4
    assert not parse.target(made).rolling


def test_pods_are_sorted_into_ours_kin_and_others() -> None:
    mine = ours(objects.deployment())
    pods = [
        parse.pod(_labelled("own", "factory", app="emiliapipe", lowprio="true")),
        parse.pod(_labelled("elsewhere", "research", app="emiliapipe", lowprio="true")),
        parse.pod(_labelled("sister", "factory", app="other", lowprio="true")),
        parse.pod(_labelled("guest", "factory", app="other", lowprio="false")),
    ]
    seen = observe(mine, pods, [], settings(), now=1.0, lost_work={"own": 7.0})
    assert [(pod.name, pod.lost_work) for pod in seen.ours] == [("own", 7.0)]
    assert {pod.name for pod in seen.kin} == {"elsewhere", "sister"}
    assert [pod.name for pod in seen.others] == ["guest"]


def _labelled(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels, "uid": name}, "spec": {}, "status": {}}


@pytest.mark.parametrize(
    ("message", "lacking"),
    [
        ("0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu.", {"cpu", GPU}),
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes: 2 Insufficient x.", {GPU}),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", set()),
        ("0/2 nodes are unavailable: 2 Insufficient nvidia.com/mig-1g.10gb", {"nvidia.com/mig-1g.10gb"}),
        ("queue research is over its quota", None),
        ("", None),
    ],
)
def test_what_the_scheduler_says(message: str, lacking: set[str] | None) -> None:
    assert insufficient(message) == lacking


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), st.text(max_size=40))
def test_whatever_others_write_on_a_pod_is_read(notes: dict[str, str], message: str) -> None:
    made = objects.guest("g") | {"status": {"conditions": [{"type": "PodScheduled", "message": message}]}}
    made["metadata"] |= {"annotations": notes, "labels": notes}
    assert parse.pod(made, ["scheduling.x-k8s.io/pod-group"]).name == "g"
