"""How the manifests are put before a real API server (``tests/cluster/test_manifests.py``), tried on the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests import server
from tests.manifests.server import Server
from tests.manifests.tree import K8S, rendered
from tests.servers.kube.client import KubeServer

THINGS = {one["kind"]: one for one in rendered(K8S / "overlays" / "r2")}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Server]:
    with KubeServer(bare=True) as running:
        yield Server(running.kubeconfig(tmp_path / "kubeconfig"))


def test_kinds_are_found_by_asking(plane: Server) -> None:
    assert plane.plural("apps/v1", "Deployment") == "deployments"
    assert plane.plural("v1", "Pod") == "pods"
    assert plane.plural("monitoring.coreos.com/v1", "PodMonitor") is None


def test_an_object_is_sent_where_it_belongs(plane: Server) -> None:
    said = plane.try_out(THINGS["Deployment"], "test-space")
    assert said
    assert (said.status, said.body["metadata"]["namespace"]) == (201, "test-space")
    assert plane.try_out({**THINGS["Deployment"], "kind": "Gadget"}, "test-space") is None


def test_places() -> None:
    assert server.place(THINGS["Deployment"], "deployments", "x") == "/apis/apps/v1/namespaces/x/deployments"
    assert server.place(THINGS["ServiceAccount"], "serviceaccounts", "x") == "/api/v1/namespaces/x/serviceaccounts"
    assert server.place(THINGS["PriorityClass"], "priorityclasses", "x") == "/apis/scheduling.k8s.io/v1/priorityclasses"


def test_moving_changes_names_and_subjects_and_not_the_original() -> None:
    binding = THINGS["ClusterRoleBinding"]
    moved = server.moved(binding, "x")
    assert (moved["metadata"]["name"], moved["subjects"][0]["namespace"]) == ("x-duplexforge-autokicker", "x")
    assert binding["subjects"][0]["namespace"] == "duplexforge"
    assert server.moved(THINGS["Deployment"], "x")["metadata"]["namespace"] == "x"


def test_a_pod_is_its_workloads_without_the_priority() -> None:
    (ours,) = [
        one
        for one in rendered(K8S / "overlays" / "r2")
        if one["metadata"]["name"] == "emiliapipe" and one["kind"] == "Deployment"
    ]
    spec = ours["spec"]["template"]["spec"]
    assert "priorityClassName" in spec
    assert server.pod_of(ours)["spec"] == {key: value for key, value in spec.items() if key != "priorityClassName"}
