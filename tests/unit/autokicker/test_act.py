"""Carrying out a decision: deletion costs first, the scale against what was seen, Events, and words for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duplexforge.autokicker import explain, parse
from duplexforge.autokicker.act import Hands
from duplexforge.autokicker.cluster import Cluster, ClusterError
from duplexforge.autokicker.decide import Action, decide
from duplexforge.autokicker.memory import Memory
from duplexforge.autokicker.observe import observe, ours
from duplexforge.autokicker.role import Look
from duplexforge.autokicker.world import Observation
from tests.servers.kube import objects
from tests.servers.kube.client import KubeServer
from tests.unit.autokicker.made import guest, many, node, seen
from tests.unit.autokicker.processes import deployment, replicas, until
from tests.unit.autokicker.virtual import settings

COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.fixture
def server() -> Iterator[KubeServer]:
    with KubeServer() as running:
        made = objects.deployment(replicas=4, sim={"stop": 0.2})
        running.create(objects.node("node-a", gpus=2), objects.node("node-b", gpus=2), made)
        until(lambda: deployment(running).get("status", {}).get("readyReplicas") == 4)
        yield running


@pytest.fixture
def cluster(server: KubeServer, tmp_path: Path) -> Cluster:
    return Cluster(3.0, str(server.kubeconfig(tmp_path / "kubeconfig")))


def look(server: KubeServer, cluster: Cluster) -> Observation:
    pods, _ = cluster.listing("/api/v1/pods")
    nodes, _ = cluster.listing("/api/v1/nodes")
    mine = ours(deployment(server))
    return observe(mine, map(parse.pod, pods), [*map(parse.node, nodes)], settings(), now=1.0)


def costs(seen: Observation) -> dict[str, int]:
    return {pod.name: pod.deletion_cost for pod in seen.ours}


def writes(server: KubeServer) -> list[dict[str, Any]]:
    return [one for one in server.requests() if one["method"] != "GET"]


def test_the_chosen_pods_go_and_no_others(server: KubeServer, cluster: Cluster) -> None:
    view = look(server, cluster)
    chosen = tuple(pod for pod in view.placed if pod.node == "node-b")
    hands = Hands(cluster, "factory", me="test")
    assert hands.carry_out(Action("yield", 2, "they wait", chosen), view)
    until(lambda: len(look(server, cluster).ours) == 2)
    assert {pod.node for pod in look(server, cluster).ours} == {"node-a"}
    assert writes(server)[-2]["target"].endswith("/scale"), "the costs come before the scale, the Event after it"
    told = server.control("events")[-1]
    assert (told["reason"], told["message"], told["involvedObject"]["name"]) == ("Yielding", "they wait", "emiliapipe")


def test_a_spared_pod_loses_its_mark_when_it_matters(server: KubeServer, cluster: Cluster) -> None:
    view = look(server, cluster)
    first, second = view.placed[:2]
    cluster.annotate(f"/api/v1/namespaces/factory/pods/{first.name}", {COST: "-1000000"})
    view = look(server, cluster)
    hands = Hands(cluster, "factory", me="test")
    assert hands.carry_out(Action("yield", 3, "they wait", (second,)), view)
    until(lambda: len(look(server, cluster).ours) == 3)
    after = look(server, cluster)
    assert second.name not in costs(after)
    assert set(costs(after).values()) == {0}


def test_a_change_of_the_version_alone_does_not_matter_and_of_the_replicas_does(
    server: KubeServer, cluster: Cluster
) -> None:
    view = look(server, cluster)
    hands = Hands(cluster, "factory", me="test")
    cluster.annotate("/apis/apps/v1/namespaces/factory/deployments/emiliapipe", {"note": "somebody writes"})
    assert hands.carry_out(Action("grow", 5, "room"), view)
    assert replicas(server) == 5
    assert not hands.carry_out(Action("grow", 9, "room"), view), "five are not the four that were seen"
    assert replicas(server) == 5


def test_a_cost_that_cannot_be_written_leaves_the_scale(server: KubeServer, cluster: Cluster) -> None:
    view = look(server, cluster)
    server.arm("403", verb="patch", resource="pods")
    with pytest.raises(ClusterError):
        Hands(cluster, "factory", me="test").carry_out(Action("yield", 2, "they wait", view.placed[:2]), view)
    assert replicas(server) == 4


def test_an_event_that_cannot_be_written_is_no_reason_to_stop(server: KubeServer, cluster: Cluster) -> None:
    view = look(server, cluster)
    server.arm("403", verb="create", resource="events")
    assert Hands(cluster, "factory", me="test").carry_out(Action("yield", 3, "they wait", view.placed[:1]), view)
    assert replicas(server) == 3


def test_a_dry_run_writes_nothing(server: KubeServer, cluster: Cluster) -> None:
    view, before = look(server, cluster), len(writes(server))
    hands = Hands(cluster, "factory", me="test", dry_run=True)
    assert hands.carry_out(Action("yield", 2, "they wait", view.placed[:2]), view)
    hands.tell(view.target, "Conflict", "words", warning=True)
    assert len(writes(server)) == before


# -- words -------------------------------------------------------------------------------------------------------------


def explained(view: Observation, **config: Any) -> tuple[dict[str, Any], str]:
    wanted = settings(**config)
    action, _ = decide(view, Memory(), wanted)
    found = Look(view, action, "leader-1")
    return explain.to_json(found, wanted), explain.to_text(found, wanted)


def test_the_words_name_room_guests_and_victims() -> None:
    told, text = explained(seen([*many(8, "a"), *many(8, "b", 8)], [guest("big", 9), guest("two", 2)], open_tasks=7))
    assert told["would"]["do"] == "yield"
    assert told["would"]["stop"][0] == {"pod": "own-00", "node": "a", "ready": True, "lost_work": 0.0}
    assert "a: 8 in all, 8 ours, 0 others', 0 free" in text
    assert "research/two (2): gets room; ours make room for it" in text
    assert "research/big (9): cannot be helped" in text
    assert "It would give way, from 16 to 14 replicas" in text
    assert "stop own-01 on a (1 s of work lost)" in text
    assert "Queue: 7 open tasks." in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rival": "HPA cpu"}, "It would keep its hands off: HPA cpu scales emiliapipe too"),
        ({"paused": True}, "It would keep its hands off: paused by the annotation"),
        ({"unsure": "the queue cannot be read (gone)"}, "Queue: the queue cannot be read (gone)."),
        ({"nodes": (), "complete": True}, "No node has nvidia.com/gpu."),
    ],
)
def test_the_words_of_other_states(changes: dict[str, Any], words: str) -> None:
    assert words in explained(seen(many(3, "a"), **changes))[1]


def test_what_may_not_be_seen_is_said() -> None:
    hidden = replace(seen(many(3, "a")), nodes=None, complete=False)
    told, text = explained(hidden)
    assert told["nodes"] is None
    assert "one pending probe tells" in text
    assert "Queue: not configured" in text


def test_nodes_without_the_resource_are_left_out() -> None:
    told, _ = explained(seen(many(1, "a"), nodes=[node("a"), node("cpu-only", 0)]))
    assert [one["node"] for one in told["nodes"]] == ["a"]
