"""The autokicker as a process against the API server stand-in: what only shows with HTTP, threads and signals."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from tests.servers.kube import objects
from tests.servers.kube.client import KubeServer
from tests.unit.autokicker.processes import Running, call, command, deployment, replicas, until

LEASE = "/apis/coordination.k8s.io/v1/namespaces/factory/leases/duplexforge-autokick"


@pytest.fixture
def server() -> Iterator[KubeServer]:
    """A cluster of one node with four GPUs and our Deployment, empty."""
    with KubeServer() as running:
        running.create(objects.node("node-a", gpus=4), objects.deployment(sim={"stop": 0.3, "load": 0.1}))
        yield running


@pytest.fixture
def kubeconfig(server: KubeServer, tmp_path: Path) -> Path:
    return server.kubeconfig(tmp_path / "kubeconfig")


def reasons(server: KubeServer) -> list[str]:
    return [event["reason"] for event in server.control("events")]


def test_it_fills_yields_says_why_and_stops_when_told(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    with Running(tmp_path, kubeconfig, "--health-port", "0") as kicker:
        until(lambda: replicas(server) == 5)
        server.create(objects.guest("guest", gpus=2, sim={"run": 1.5}))
        until(lambda: server.timeline().ran("guest") is not None)
        until(lambda: replicas(server) == 5)
        decisions = json.loads(
            call(server, "GET", LEASE)["metadata"]["annotations"]["duplexforge.io/autokick-decisions"]
        )
        assert kicker.stop() == 0
    kinds = [one["word"] for one in decisions]
    assert kinds.count("yield") == 1
    assert "research/guest waits for nvidia.com/gpu" in next(
        one["reason"] for one in decisions if one["word"] == "yield"
    )
    assert len(server.timeline().kills()) == 2
    assert "Yielding" in reasons(server)
    assert replicas(server) == 5, "the scale stays as it is"
    assert call(server, "GET", LEASE)["spec"]["holderIdentity"] == "", "another may take over at once"


@pytest.mark.slow
def test_gpu_time_is_noted_where_nothing_is_decided(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    def noted() -> dict[str, str]:
        return call(server, "GET", LEASE)["metadata"].get("annotations") or {}

    with Running(tmp_path, kubeconfig, INTERVAL="1", MAX_REPLICAS="2"):
        until(lambda: replicas(server) == 2)
        decisions = noted()["duplexforge.io/autokick-decisions"]
        until(lambda: json.loads(noted()["duplexforge.io/autokick-totals"])["gpu_seconds_used"] > 20, seconds=60)
        assert noted()["duplexforge.io/autokick-decisions"] == decisions


def test_explain_says_what_it_sees_and_changes_nothing(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    server.create(objects.guest("big", gpus=9), objects.guest("gated", schedulingGates=[{"name": "x.io/hold"}]))
    before = len(server.requests())
    told = command(tmp_path, kubeconfig, "--explain")
    assert told.returncode == 0, told.stderr
    assert "node-a: 4 in all, 0 ours, 0 others', 4 free" in told.stdout
    assert "research/big (9): cannot be helped; no node takes it: larger than the node" in told.stdout
    assert "It would add pods, from 0 to 1 replicas" in told.stdout
    data = json.loads(command(tmp_path, kubeconfig, "--explain", "--json").stdout)
    assert data["would"]["do"] == "grow"
    assert data["replicas"] == {"wanted": 0, "placed": 0, "pending": 0}
    assert {one["word"] for one in data["others"]} == {"beyond", "ignored"}
    assert {one["method"] for one in server.requests()[before:]} == {"GET"}


@pytest.mark.slow
def test_once_acts_once_and_dry_run_never(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    assert command(tmp_path, kubeconfig, "--once", "--dry-run").returncode == 0
    assert replicas(server) == 0
    assert command(tmp_path, kubeconfig, "--once", "--json").returncode == 0
    assert replicas(server) == 1
    with Running(tmp_path, kubeconfig, "--dry-run") as kicker:
        until(lambda: "grow" in kicker.said())
        assert kicker.stop() == 0
    assert replicas(server) == 1
    assert {one["method"] for one in server.requests() if "lease" not in one["target"]} == {"GET", "PATCH"}


@pytest.mark.slow
def test_two_autokickers_one_leader_and_the_other_takes_over(
    server: KubeServer, kubeconfig: Path, tmp_path: Path
) -> None:
    with Running(tmp_path, kubeconfig, name="one") as one:
        until(lambda: replicas(server) == 5)
        with Running(tmp_path, kubeconfig, name="two") as two:
            until(lambda: "standing by" in two.said())
            blocked = command(tmp_path, kubeconfig, "--once")
            assert blocked.returncode == 75
            assert "only one may set the replicas" in blocked.stderr
            assert "grow" not in two.said()
            one.process.kill()
            server.create(objects.guest("guest", gpus=1, sim={"run": 60}))
            until(lambda: server.timeline().ran("guest") is not None)
            assert two.stop() == 0
    assert len(server.timeline().kills()) == 1
    assert call(server, "GET", LEASE)["spec"]["leaseTransitions"] >= 1


@pytest.mark.slow
def test_an_hpa_keeps_its_hands_off_and_keda_is_paused(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    aim = {"scaleTargetRef": {"kind": "Deployment", "name": "emiliapipe"}}
    keda = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": aim}
    own = {"ownerReferences": [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "so", "uid": "1"}]}
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {**aim, "maxReplicas": 3}}
    server.create(
        {**keda, "metadata": {"name": "so", "namespace": "factory"}},
        {**hpa, "metadata": {"name": "keda-so", "namespace": "factory", **own}},
    )
    with Running(tmp_path, kubeconfig) as kicker:
        until(lambda: replicas(server) > 0)
        paused = server.control("scaled_objects")[0]["metadata"]["annotations"]
        assert paused["autoscaling.keda.sh/paused"] == "true", "before the first write"
        until(lambda: replicas(server) == 5)
        server.create({**hpa, "metadata": {"name": "cpu", "namespace": "factory"}})
        until(lambda: "Conflict" in reasons(server))
        server.create(objects.guest("guest", gpus=1))
        assert command(tmp_path, kubeconfig, "--once").returncode == 75, "the passive one leads all the same"
        assert replicas(server) == 5
        assert kicker.stop() == 0
    refused = command(tmp_path, kubeconfig, "--once")
    assert refused.returncode == 78
    assert "HPA cpu scales emiliapipe too" in refused.stderr


NAMESPACED = [
    {"namespace": "factory", "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
]


@pytest.mark.slow
def test_a_namespaced_role_is_enough(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    server.control(allow=NAMESPACED)
    with Running(tmp_path, kubeconfig, NODE_GPUS="4") as kicker:
        until(lambda: replicas(server) == 5)
        server.create(objects.guest("guest", gpus=2, namespace="factory", sim={"run": 60}))
        until(lambda: server.timeline().ran("guest") is not None)
        assert "nodes may not be listed" in kicker.said()
        assert kicker.stop() == 0
    assert len(server.timeline().kills()) == 2
    refused = command(tmp_path, kubeconfig, "--once", PROBE="false")
    assert refused.returncode == 78
    assert "PROBE=false wants to see nodes" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("action", ["500", "503", "403", "429", "drop"])
def test_a_server_that_fails_leaves_the_scale_as_it_is(
    server: KubeServer, kubeconfig: Path, tmp_path: Path, action: str
) -> None:
    with Running(tmp_path, kubeconfig) as kicker:
        until(lambda: replicas(server) == 5)
        server.arm(action, verb="list", resource="pods", times=1000, seconds=1)
        server.control(cut=True)
        until(lambda: "the scale stays as it is" in kicker.said())
        server.create(objects.guest("guest", gpus=1))
        writes = [one for one in server.requests() if one["method"] == "PATCH" and "scale" in one["target"]]
        assert replicas(server) == 5
        server.control(disarm=True)
        until(lambda: server.timeline().ran("guest") is not None, 40)
        assert len([one for one in server.requests() if "scale" in one["target"]]) > len(writes)
        assert kicker.stop() == 0


@pytest.mark.slow
def test_watches_that_break_lie_or_expire_do_no_harm(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    with Running(tmp_path, kubeconfig) as kicker:
        until(lambda: replicas(server) == 5)
        server.control(compact=True)
        server.control(twice=True)
        server.create(objects.guest("first", gpus=1, sim={"run": 60}))
        until(lambda: server.timeline().ran("first") is not None)
        # Events that never come: the next listing finds the guest.
        server.control(twice=False, mute=True)
        server.create(objects.guest("second", gpus=1, sim={"run": 60}))
        until(lambda: server.timeline().ran("second") is not None)
        assert kicker.stop() == 0
    assert len(server.timeline().kills()) == 2


@pytest.mark.slow
def test_a_person_who_scales_is_told_how_to_bound_it(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    path = "/apis/apps/v1/namespaces/factory/deployments/emiliapipe"
    with Running(tmp_path, kubeconfig) as kicker:
        until(lambda: replicas(server) == 5)
        call(server, "PATCH", path, {"spec": {"replicas": 2}})
        until(lambda: "ReplicasChanged" in reasons(server))
        call(server, "PATCH", path, {"metadata": {"annotations": {"duplexforge.io/autokick-max": "2"}}})
        until(lambda: replicas(server) == 2)
        call(server, "PATCH", path, {"metadata": {"annotations": {"duplexforge.io/autokick-paused": "true"}}})
        until(lambda: "Paused" in reasons(server))
        call(server, "PATCH", path, {"spec": {"replicas": 3}})
        until(lambda: "paused by the annotation" in kicker.said())
        assert replicas(server) == 3
        assert kicker.stop() == 0


@pytest.mark.slow
def test_health_pages_and_metrics(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Running(tmp_path, kubeconfig, "--health-port", str(port)) as kicker:
        until(lambda: replicas(server) == 5)
        pages = {page: _page(port, page) for page in ("livez", "readyz", "metrics")}
        assert kicker.stop() == 0
    assert (pages["livez"], pages["readyz"]) == ("ok\n", "ok\n")
    assert "duplexforge_autokick_leading 1.0" in pages["metrics"]
    assert 'duplexforge_autokick_replicas{state="placed"} 4.0' in pages["metrics"]
    assert 'duplexforge_autokick_decisions_total{decision="grow"}' in pages["metrics"]


def _page(port: int, name: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
def test_wrong_surroundings_get_one_sentence(server: KubeServer, kubeconfig: Path, tmp_path: Path) -> None:
    nowhere = command(tmp_path, tmp_path / "none", "--explain", KUBERNETES_SERVICE_HOST="")
    assert nowhere.returncode == 78
    assert "set KUBECONFIG" in nowhere.stderr
    missing = command(tmp_path, kubeconfig, "--explain", TARGET_DEPLOYMENT="nobody")
    assert missing.returncode == 75
    assert "there is no Deployment nobody in factory" in missing.stderr
    assert command(tmp_path, kubeconfig, "--explain", "--once").returncode == 2
    assert command(tmp_path, kubeconfig, "--explain", POLICY="some").returncode == 78
    for said in (nowhere, missing):
        assert len(said.stderr.strip().splitlines()) == 1
        assert "test-token" not in said.stderr
    assert deployment(server)["spec"]["replicas"] == 0


@pytest.mark.slow
def test_the_queue_bounds_growth_and_its_leases_choose_the_victim(
    server: KubeServer, kubeconfig: Path, tmp_path: Path
) -> None:
    store = open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path / 'store'}"))
    queue = PrefixQueue(store, Layout(), "processing", ProcessTask, QueueSettings(_env_file=None))
    for number in range(3):
        queue.put(
            ProcessTask(id=f"t{number}", episode_id=f"t{number}", language="en", audio_key="raw_audio/en/x/a.mp3")
        )
    with Running(tmp_path, kubeconfig, STORE_URL=f"file://{tmp_path / 'store'}", QUEUE_SECONDS="0.2") as kicker:
        until(lambda: replicas(server) == 3)
        mine = [pod["metadata"]["name"] for pod in call(server, "GET", "/api/v1/namespaces/factory/pods")["items"]]
        idle = mine.pop(1)
        for name in mine:
            queue.owner = f"{name}:1"
            assert queue.claim() is not None
        time.sleep(1.5)
        server.create(objects.guest("guest", gpus=2, sim={"run": 60}))
        until(lambda: server.timeline().ran("guest") is not None)
        assert kicker.stop() == 0
    assert list(server.timeline().kills()) == [idle], "the one with no task in work"
