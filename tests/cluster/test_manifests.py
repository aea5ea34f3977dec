"""Every rendered manifest on a real API server, without keeping it: ``make test-cluster``.

The server's schemas, its admission of restricted pods, and its judgement of the rights that the roles give.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manifests import crds, server
from tests.manifests.kustomize import CLUSTER_WIDE, Object
from tests.manifests.server import Server
from tests.manifests.test_rbac import ALLOWED
from tests.manifests.tree import K8S, deployments, everything, rendered, workloads

pytestmark = pytest.mark.cluster
OBJECTS = everything(deployments())
CUSTOM = {kind for _, kind in crds.SPECS}


@pytest.fixture(scope="module")
def plane(kubeconfig: Path) -> Server:
    return Server(kubeconfig)


@pytest.fixture(scope="module")
def space(plane: Server) -> Iterator[str]:
    with plane.namespace() as name:
        for one in OBJECTS.values():
            if one["kind"] == "ServiceAccount":
                plane.keep(one, name)
        yield name


@pytest.mark.parametrize("name", OBJECTS)
def test_the_server_takes_it(name: str, plane: Server, space: str) -> None:
    one = OBJECTS[name]
    if one["kind"] == "ServiceAccount":
        one = {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}-again"}}
    said = plane.try_out(one, space)
    if said is None and one["kind"] in CUSTOM:
        pytest.skip(f"this cluster has no {one['kind']}")
    assert said, f"this cluster has no {one['kind']}"
    assert said.status == 201, said.body.get("message")
    assert said.warnings == ()


@pytest.mark.parametrize("name", workloads(deployments()))
def test_a_restricted_namespace_takes_the_pods(name: str, plane: Server, space: str) -> None:
    said = plane.try_out(server.pod_of(OBJECTS[name]), space)
    assert said
    assert said.status == 201, said.body.get("message")


def test_it_would_not_take_others(plane: Server, space: str) -> None:
    pod = server.pod_of(next(iter(workloads(deployments()).values())))
    pod["spec"]["hostNetwork"] = True
    said = plane.try_out(pod, space)
    assert said
    assert said.status == 403


def review(plane: Server, account: str, space: str, **what: Any) -> bool:
    """Whether an account of the test's namespace may do something."""
    body = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{space}:{account}", "groups": ["system:serviceaccounts"],
                 "resourceAttributes": what},
    }  # fmt: skip
    said = plane.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert said.status == 201, said.body
    return bool(said.body["status"]["allowed"])


def granted(space: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each account with each right of its Role, in this namespace."""
    names = {"deployments/scale": "emiliapipe", "leases": "duplexforge-autokick"}
    for (role, group, resource), verbs in ALLOWED.items():
        for verb in verbs:
            if not role.startswith("duplexforge-"):
                plural, _, part = resource.partition("/")
                found = {"namespace": space, "group": group, "resource": plural, "verb": verb}
                found |= {"subresource": part} if part else {}
                yield role, found | ({"name": names[resource]} if resource in names and verb != "create" else {})


def test_the_roles_give_what_they_say_and_nothing_else(plane: Server, space: str) -> None:
    kept: list[Object] = [one for one in rendered(K8S / "overlays" / "r2") if one["kind"] in ("Role", "RoleBinding")]
    for one in kept:
        assert one["kind"] not in CLUSTER_WIDE
        assert plane.keep(one, space).status == 201
    for account, right in granted(space):
        assert review(plane, account, space, **right), (account, right)
    for account in ("autokicker", "status"):
        assert not review(plane, account, space, namespace=space, resource="secrets", verb="get")
        assert not review(plane, account, space, namespace="default", resource="pods", verb="list")
        assert not review(plane, account, space, namespace=space, group="apps", resource="deployments", verb="delete",
                          name="emiliapipe")  # fmt: skip
    assert not review(plane, "status", space, namespace=space, resource="pods", verb="list")
    assert not review(plane, "autokicker", space, namespace=space, group="apps", resource="deployments",
                      subresource="scale", verb="patch", name="somebody-elses")  # fmt: skip
