"""Rights: no more than the autokicker and status ask for, and no less, as the real process shows on an API server."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplexforge.autokicker.parse import PUT_OFF
from tests.manifests.kustomize import Object
from tests.manifests.tree import CASES, K8S, everything, rendered
from tests.servers.kube import objects
from tests.servers.kube.api import understood
from tests.servers.kube.client import KubeServer
from tests.servers.wire import Request
from tests.unit.autokicker.processes import Running, until

R2, NAMESPACED = K8S / "overlays" / "r2", CASES / "namespaced"
OURS = "duplexforge"
# (group, resource): verbs. Whoever gives more rights has to say so here.
ALLOWED = {
    ("autokicker", "", "pods"): {"list", "watch", "patch"},
    ("autokicker", "apps", "deployments"): {"list", "watch"},
    ("autokicker", "apps", "deployments/scale"): {"get", "patch"},
    ("autokicker", "coordination.k8s.io", "leases"): {"create", "get", "update", "patch"},
    ("autokicker", "", "events"): {"create"},
    ("autokicker", "batch", "jobs"): {"list", "watch", "patch"},
    ("autokicker", "autoscaling", "horizontalpodautoscalers"): {"list"},
    ("autokicker", "keda.sh", "scaledobjects"): {"list", "patch"},
    ("duplexforge-autokicker", "", "pods"): {"list", "watch"},
    ("duplexforge-autokicker", "", "nodes"): {"list", "watch"},
    ("duplexforge-autokicker", "scheduling.x-k8s.io", "podgroups"): {"list", "watch"},
    ("duplexforge-autokicker", "scheduling.volcano.sh", "podgroups"): {"list", "watch"},
    ("status", "coordination.k8s.io", "leases"): {"get"},
}
# Written by their names alone, wherever the API can tell names apart.
NAMED = {("apps", "deployments/scale"): ["emiliapipe"], ("coordination.k8s.io", "leases"): ["duplexforge-autokick"]}

# The Job that may be suspended, as base/train calls it.
LENT_JOB = "train"

Right = tuple[str, str, str]


def roles(things: list[Object]) -> list[Object]:
    return [one for one in things if one["kind"] in ("Role", "ClusterRole")]


def grants(role: Object) -> Iterator[tuple[Right, Object]]:
    """Each right of a role, with the rule that gives it."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield (group, resource, verb), rule


def test_the_rights_are_those_on_the_list() -> None:
    given: dict[tuple[str, str, str], set[str]] = {}
    for role in roles(list(everything().values())):
        for (group, resource, verb), _ in grants(role):
            given.setdefault((role["metadata"]["name"], group, resource), set()).add(verb)
    assert given == ALLOWED


def test_no_right_is_a_wildcard_and_writing_has_a_name() -> None:
    for role in roles(list(everything().values())):
        for (group, resource, verb), rule in grants(role):
            assert "*" not in (group, resource, verb)
            if (group, resource) in NAMED and verb != "create":
                assert rule["resourceNames"] == NAMED[group, resource]
            if (group, resource, verb) == ("batch", "jobs", "patch"):
                assert rule["resourceNames"] == [LENT_JOB]
            if role["kind"] == "ClusterRole":
                assert verb in ("get", "list", "watch"), "outside its namespace it only looks"


def test_the_names_are_those_that_the_settings_have() -> None:
    from duplexforge.config import AutokickSettings

    fields = AutokickSettings.model_fields
    assert NAMED["coordination.k8s.io", "leases"] == [fields["lease_name"].default]
    assert NAMED["apps", "deployments/scale"] == [fields["target_deployment"].default]
    (job,) = [one for one in rendered(K8S / "examples" / "train") if one["kind"] == "Job"]
    assert job["metadata"]["name"] == LENT_JOB
    assert job["metadata"]["labels"]["duplexforge.io/lent"] == "true"


def test_nothing_outside_the_namespace_is_granted_without_the_component() -> None:
    kinds = {one["kind"] for one in rendered(NAMESPACED)}
    assert "Role" in kinds
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"}


@pytest.mark.parametrize("folder", [R2, NAMESPACED], ids=lambda folder: folder.name)
def test_bindings_lead_from_an_account_to_its_role(folder: Path) -> None:
    things = rendered(folder)
    (namespace,) = {one["metadata"]["namespace"] for one in things if one["kind"] == "Deployment"}
    there = {(one["kind"], one["metadata"]["name"]) for one in things}
    for one in things:
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            assert (one["roleRef"]["kind"], one["roleRef"]["name"]) in there
            (subject,) = one["subjects"]
            assert ("ServiceAccount", subject["name"]) in there
            assert subject["namespace"] == namespace


# -- the real process with just these rights -----------------------------------------------------------------------------


def allowed(things: list[Object]) -> list[dict[str, Any]]:
    """The autokicker's rules as the stand-in takes them: a Role's hold in its namespace, a ClusterRole's everywhere."""
    mine = [role for role in roles(things) if role["metadata"]["name"].endswith("autokicker")]
    return [
        {**rule, "namespace": OURS} if role["kind"] == "Role" else dict(rule) for role in mine for rule in role["rules"]
    ]


def without(rules: list[dict[str, Any]], resource: str, verb: str) -> list[dict[str, Any]]:
    """The rules without one right."""
    fewer = copy.deepcopy(rules)
    for rule in fewer:
        if resource in rule["resources"]:
            rule["verbs"] = [one for one in rule["verbs"] if one != verb]
    return fewer


@pytest.fixture
def server() -> Iterator[KubeServer]:
    """A node with four GPUs, our Deployment, and a ScaledObject that aims at it as well."""
    scaled = next(one for one in rendered(CASES / "by-keda") if one["kind"] == "ScaledObject")
    ours = objects.deployment(namespace=OURS, sim={"stop": 0.3, "load": 0.1})
    with KubeServer() as running:
        running.create(objects.node("node-a", gpus=4), ours, scaled)
        yield running


def used(server: KubeServer) -> list[tuple[Right, str, int]]:
    """Every request of the autokicker to a kind that the stand-in has: the right that it took, the name, the answer."""
    found = []
    for one in server.requests():
        if one["status"] != 404:
            call = understood(Request(one["method"], one["target"], {}, b""))
            found.append(((call.kind.group, call.resource, call.verb), call.name, int(one["status"])))
    return found


def worked(server: KubeServer, folder: Path, expected: frozenset[Right] = frozenset()) -> None:
    """One autokicker from its start to its end: it grows, makes room for a guest, pauses KEDA, and does all ``expected``, such as
    to bring back a Job that was put off.
    """
    with Running(folder, server.kubeconfig(folder / "kubeconfig", OURS), NAMESPACE=OURS) as kicker:
        try:
            until(lambda: server.control("deployments")[0]["spec"]["replicas"] >= 5)
            server.create(objects.guest("guest", namespace=OURS, gpus=2))
            until(lambda: server.timeline().ran("guest") is not None)
            until(lambda: server.control("scaled_objects")[0]["metadata"].get("annotations"))
            if ("batch", "jobs", "patch") in expected:
                put_off = objects.job(LENT_JOB, size=1, gpus=1, namespace=OURS, suspend=True)
                put_off["metadata"]["annotations"] = {PUT_OFF: "2026-01-03T00:00:00Z"}
                server.create(put_off)
            until(lambda: expected <= {right for right, _, _ in used(server)})
        except AssertionError as error:
            missing = expected - {right for right, _, _ in used(server)}
            raise AssertionError(f"{error}; not done: {missing}; {kicker.said()[-2000:]}") from error
        assert kicker.stop() == 0


def test_the_rights_are_enough_and_none_is_idle(server: KubeServer, tmp_path: Path) -> None:
    mine = [role for role in roles(rendered(R2)) if role["metadata"]["name"].endswith("autokicker")]
    granted = {right for role in mine for right, _ in grants(role)}
    # Only a conflict makes it read the scale, and the stand-in has no Volcano.
    granted -= {("apps", "deployments/scale", "get")}
    granted -= {("scheduling.volcano.sh", "podgroups", verb) for verb in ("list", "watch")}
    server.control(allow=allowed(rendered(R2)))
    worked(server, tmp_path, frozenset(granted))
    for right, name, status in used(server):
        assert status != 403, right
        if right[:2] in NAMED and right[2] != "create":
            assert [name] == NAMED[right[:2]], f"{right} is granted for {NAMED[right[:2]]}"


def test_in_one_namespace_it_works_without_seeing_nodes(server: KubeServer, tmp_path: Path) -> None:
    server.control(allow=allowed(rendered(NAMESPACED)))
    worked(server, tmp_path)
    refused = {right for right, _, status in used(server) if status == 403}
    more = {("", "pods", "list"), ("", "nodes", "list"), ("scheduling.x-k8s.io", "podgroups", "list")}
    assert refused == more, "it asks once whether it may see more"


@pytest.mark.parametrize(
    ("resource", "verb"), [("pods", "patch"), ("deployments/scale", "patch"), ("leases", "create")]
)
def test_one_right_less_is_too_few(server: KubeServer, tmp_path: Path, resource: str, verb: str) -> None:
    server.control(allow=without(allowed(rendered(R2)), resource, verb))
    with Running(tmp_path, server.kubeconfig(tmp_path / "kubeconfig", OURS), NAMESPACE=OURS):
        if resource == "pods":  # of which the deletion cost is written when somebody wants room
            until(lambda: server.control("deployments")[0]["spec"]["replicas"] >= 5)
            server.create(objects.guest("guest", namespace=OURS, gpus=2))
        until(lambda: any(status == 403 and right[1:] == (resource, verb) for right, _, status in used(server)))


# -- the tree's own Deployment, scaled -----------------------------------------------------------------------------------


def test_the_pipeline_of_the_tree_is_scaled(tmp_path: Path) -> None:
    (ours,) = [one for one in rendered(K8S / "examples" / "emiliapipe") if one["kind"] == "Deployment"]
    node = objects.node("node-a", gpus=8, cpu=64)
    # As a real node says it: the disk for pods, and the taint that keeps others away from GPUs.
    node["status"]["allocatable"] |= {"memory": "1Ti", "ephemeral-storage": "900Gi"}
    node["spec"]["taints"] = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    guest = objects.guest("guest", gpus=8, tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}])
    ours["spec"]["replicas"] = 1  # as the API server fills it in
    ours["spec"]["template"]["metadata"]["annotations"] = {"sim/stop": "0.3", "sim/load": "0.1"}
    with KubeServer() as server:
        server.create(node, ours)
        with Running(tmp_path, server.kubeconfig(tmp_path / "kubeconfig", OURS), NAMESPACE=OURS) as kicker:
            until(lambda: server.control("deployments")[0]["spec"]["replicas"] == 2)
            server.create(guest)
            until(lambda: server.timeline().ran("guest") is not None)
            assert kicker.stop() == 0
