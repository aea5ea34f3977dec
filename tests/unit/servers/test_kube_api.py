"""The stand-in before the official client: lists, watches, patches, subresources, conflicts, refusals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException

from tests.servers.kube.client import KubeServer
from tests.servers.kube.objects import NAMESPACE, deployment, guest, node

SPACE, NAME = NAMESPACE, "emiliapipe"


@pytest.fixture(scope="module")
def server() -> Iterator[KubeServer]:
    """One server for the tests that leave it as they found it; pods here never become ready by themselves."""
    with KubeServer() as started:
        started.create(node("node-a"), deployment(replicas=3, sim={"stop": 0.1}))
        yield started


@pytest.fixture
def core(server: KubeServer) -> client.CoreV1Api:
    """The core API."""
    return client.CoreV1Api(server.api_client())


@pytest.fixture
def apps(server: KubeServer) -> client.AppsV1Api:
    """The apps API."""
    return client.AppsV1Api(server.api_client())


def _configmap(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def _refused(status: int, call: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
    with pytest.raises(ApiException) as caught:
        call(*arguments, **named)
    assert caught.value.status == status
    told: dict[str, Any] = json.loads(caught.value.body)
    assert told["kind"] == "Status"
    return told


def test_typed_lists_with_selectors_and_pages(core: client.CoreV1Api) -> None:
    """The client's models take what the server tells."""
    found = core.list_pod_for_all_namespaces(
        label_selector="app=emiliapipe,lowprio", field_selector="spec.nodeName=node-a"
    )
    assert [pod.status.phase for pod in found.items] == ["Running"] * 3
    assert core.list_namespaced_pod("nowhere").items == []
    first = core.list_namespaced_pod(SPACE, limit=2)
    rest = core.list_namespaced_pod(SPACE, limit=2, _continue=first.metadata._continue)
    assert len(first.items) == 2
    assert [one.metadata.name for one in first.items + rest.items] == [one.metadata.name for one in found.items]
    assert rest.metadata._continue is None
    assert _refused(400, core.list_namespaced_pod, SPACE, label_selector="a b")["reason"] == "BadRequest"


def test_objects_are_made_read_replaced_and_deleted(core: client.CoreV1Api) -> None:
    """With the refusals that clients rely on."""
    made = core.create_namespaced_config_map(SPACE, _configmap("made", a="1"))
    assert made.metadata.uid
    assert _refused(409, core.create_namespaced_config_map, SPACE, _configmap("made"))["reason"] == "AlreadyExists"
    made.data["a"] = "2"
    newer = core.replace_namespaced_config_map("made", SPACE, made)
    assert int(newer.metadata.resource_version) > int(made.metadata.resource_version)
    assert _refused(409, core.replace_namespaced_config_map, "made", SPACE, made)["reason"] == "Conflict"
    same = core.replace_namespaced_config_map("made", SPACE, newer)
    assert same.metadata.resource_version == newer.metadata.resource_version
    core.delete_namespaced_config_map("made", SPACE)
    assert _refused(404, core.read_namespaced_config_map, "made", SPACE)["reason"] == "NotFound"


def test_the_three_kinds_of_patch(core: client.CoreV1Api) -> None:
    """As the client sends them: a dict is a strategic merge patch, a list a JSON patch."""
    core.create_namespaced_config_map(SPACE, _configmap("patched", a="1", b="2"))
    assert core.patch_namespaced_config_map("patched", SPACE, {"data": {"a": None, "c": "3"}}).data == {
        "b": "2",
        "c": "3",
    }
    steps = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "replace", "path": "/data/b", "value": "9"}]
    assert core.patch_namespaced_config_map("patched", SPACE, steps).data == {"b": "9", "c": "3"}
    assert _refused(422, core.patch_namespaced_config_map, "patched", SPACE, steps)["reason"] == "Invalid"
    stale = {"metadata": {"resourceVersion": "1"}, "data": {"z": "1"}}
    assert _refused(409, core.patch_namespaced_config_map, "patched", SPACE, stale)["reason"] == "Conflict"


def test_the_scale(apps: client.AppsV1Api) -> None:
    """Read, patched with a version, refused with an old one, refused below nothing."""
    scale = apps.read_namespaced_deployment_scale(NAME, SPACE)
    assert (scale.spec.replicas, scale.status.replicas, scale.status.selector) == (3, 3, "app=emiliapipe")
    body = {"metadata": {"resourceVersion": scale.metadata.resource_version}, "spec": {"replicas": 2}}
    assert apps.patch_namespaced_deployment_scale(NAME, SPACE, body).spec.replicas == 2
    assert _refused(409, apps.patch_namespaced_deployment_scale, NAME, SPACE, body)["reason"] == "Conflict"
    assert _refused(422, apps.patch_namespaced_deployment_scale, NAME, SPACE, {"spec": {"replicas": -1}})["code"] == 422
    scale = apps.read_namespaced_deployment_scale(NAME, SPACE)
    scale.spec.replicas = 3
    assert apps.replace_namespaced_deployment_scale(NAME, SPACE, scale).spec.replicas == 3
    assert apps.read_namespaced_deployment(NAME, SPACE).spec.replicas == 3


def test_the_status_is_apart(core: client.CoreV1Api) -> None:
    """A change of the object does not change its status, nor the other way about."""
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}}
    core.create_namespaced_persistent_volume_claim(SPACE, claim)
    changed = core.patch_namespaced_persistent_volume_claim("data", SPACE, {"status": {"phase": "Bound"}})
    assert changed.status.phase == "Pending"
    changed = core.patch_namespaced_persistent_volume_claim_status("data", SPACE, {"status": {"phase": "Bound"}})
    assert changed.status.phase == "Bound"


def test_a_lease_has_one_holder(server: KubeServer) -> None:
    """Of twenty that take it at the same version, one succeeds."""
    api = client.CoordinationV1Api(server.api_client())
    lease = {"metadata": {"name": "lead"}, "spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 15}}
    made = api.create_namespaced_lease(SPACE, lease)
    outcomes: list[int] = []

    def take(who: int) -> None:
        body = {"metadata": {"name": "lead", "resourceVersion": made.metadata.resource_version},
                "spec": {"holderIdentity": f"kicker-{who}"}}  # fmt: skip
        try:
            client.CoordinationV1Api(server.api_client()).replace_namespaced_lease("lead", SPACE, body)
            outcomes.append(200)
        except ApiException as error:
            outcomes.append(error.status)

    threads = [threading.Thread(target=take, args=(who,)) for who in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [200] + [409] * 19


def test_custom_objects_and_discovery(server: KubeServer) -> None:
    """KEDA's objects through the custom-object API and the dynamic client, which asks what there is."""
    api = client.CustomObjectsApi(server.api_client())
    body = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "depth"}, "spec": {}}
    api.create_namespaced_custom_object("keda.sh", "v1alpha1", SPACE, "scaledobjects", body)
    note = {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}
    told = api.patch_namespaced_custom_object("keda.sh", "v1alpha1", SPACE, "scaledobjects", "depth", note)
    assert told["metadata"]["annotations"] == {"autoscaling.keda.sh/paused": "true"}
    found = dynamic.DynamicClient(server.api_client()).resources.get(api_version="apps/v1", kind="Deployment")
    assert found.get(namespace=SPACE, name=NAME).spec.replicas == 3
    assert client.VersionApi(server.api_client()).get_code().git_version == "v1.36.0"
    _refused(404, api.list_cluster_custom_object, "example.com", "v1", "things")


def test_rbac_refuses_what_no_rule_allows(server: KubeServer, core: client.CoreV1Api) -> None:
    """A Role of one namespace: neither nodes nor the pods of others."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "namespace": SPACE}
    server.control(allow=[rule])
    try:
        assert len(core.list_namespaced_pod(SPACE).items) == 3
        told = _refused(403, core.list_node)
        assert told["message"].endswith('cannot list resource "nodes" in API group "" at the cluster scope')
        _refused(403, core.list_pod_for_all_namespaces)
        _refused(403, core.list_namespaced_pod, "research")
        _refused(403, core.delete_namespaced_pod, "any", SPACE)
    finally:
        server.control(allow=None)
    assert len(core.list_node().items) == 1


def test_without_the_token_nothing_is_told(server: KubeServer) -> None:
    """401, and the control page needs none."""
    _refused(401, client.CoreV1Api(client.ApiClient(client.Configuration(host=server.url))).list_node)


@pytest.mark.parametrize(("action", "status"), [("500", 500), ("503", 503), ("403", 403)])
def test_faults_that_are_armed(server: KubeServer, core: client.CoreV1Api, action: str, status: int) -> None:
    """As often as armed, and only for what was named."""
    server.arm(action, verb="list", resource="nodes", times=1)
    assert len(core.list_namespaced_pod(SPACE).items) == 3
    _refused(status, core.list_node)
    assert len(core.list_node().items) == 1


def test_a_frozen_list_is_old_in_all(server: KubeServer, core: client.CoreV1Api) -> None:
    """Objects and version as they were; other kinds are told as they are."""
    server.control(freeze=["configmaps"])
    before = core.list_namespaced_config_map(SPACE)
    core.create_namespaced_config_map(SPACE, _configmap("unseen"))
    again = core.list_namespaced_config_map(SPACE)
    assert again.metadata.resource_version == before.metadata.resource_version
    assert len(again.items) == len(before.items)
    assert core.read_namespaced_config_map("unseen", SPACE)
    server.control(freeze=[])
    assert len(core.list_namespaced_config_map(SPACE).items) == len(before.items) + 1


def test_a_kubeconfig_leads_there(server: KubeServer, tmp_path: Path) -> None:
    """For processes that are configured as people configure them."""
    path = server.kubeconfig(tmp_path / "config")
    found = config.new_client_from_config(str(path))
    assert len(client.CoreV1Api(found).list_node().items) == 1


def test_a_pod_that_is_told_to_stop_is_marked_first(server: KubeServer, core: client.CoreV1Api) -> None:
    """With its grace; one without a node is gone at once."""
    server.create(guest("stays", gpus=0, sim={"stop": 30}), guest("waits", gpus=99))
    core.delete_namespaced_pod("waits", "research")
    _refused(404, core.read_namespaced_pod, "waits", "research")
    core.delete_namespaced_pod("stays", "research", grace_period_seconds=20)
    marked = core.read_namespaced_pod("stays", "research")
    assert (marked.metadata.deletion_grace_period_seconds, marked.status.phase) == (20, "Running")
    core.delete_namespaced_pod("stays", "research", grace_period_seconds=0)
    _refused(404, core.read_namespaced_pod, "stays", "research")


def test_bare_has_nobody_behind_it() -> None:
    """As envtest starts one: objects, and no controllers."""
    with KubeServer(bare=True) as bare:
        bare.create(node("node-a"), deployment(replicas=3))
        time.sleep(0.1)
        assert client.CoreV1Api(bare.api_client()).list_pod_for_all_namespaces().items == []
