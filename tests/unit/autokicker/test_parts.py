"""Election, mirrors, requests, journal and the work in progress, each by itself against a real server or store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplexforge.autokicker import parse
from duplexforge.autokicker.cluster import CONFLICT, Cluster, ClusterError, deployments, pods
from duplexforge.autokicker.decide import Action
from duplexforge.autokicker.election import Election
from duplexforge.autokicker.guests import Verdict
from duplexforge.autokicker.journal import DECISIONS, TOTALS, Journal
from duplexforge.autokicker.watch import Collection, Mirror
from duplexforge.autokicker.work import Work
from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.errors import ConfigError
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import ProcessTask
from duplexforge.storage import open_store
from tests.servers.kube import objects
from tests.servers.kube.client import KubeServer
from tests.unit.autokicker.made import GPU, many, ours, pod, seen
from tests.unit.autokicker.processes import until


@pytest.fixture(scope="module")
def server() -> Iterator[KubeServer]:
    with KubeServer() as running:
        yield running


@pytest.fixture
def cluster(server: KubeServer, tmp_path: Path) -> Cluster:
    return Cluster(3.0, str(server.kubeconfig(tmp_path / "kubeconfig")))


# -- requests ----------------------------------------------------------------------------------------------------------


def test_the_namespace_is_the_kubeconfigs(cluster: Cluster) -> None:
    assert cluster.namespace == "factory"


def test_without_a_way_to_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="set KUBECONFIG"):
        Cluster(1.0, str(tmp_path / "none"))


def test_a_stale_version_is_a_conflict_and_the_scale_stays(server: KubeServer, cluster: Cluster) -> None:
    server.create(objects.deployment("scaled", replicas=1))
    replicas, version = cluster.scale_now("factory", "scaled")
    assert replicas == 1
    cluster.scale("factory", "scaled", 3, version)
    with pytest.raises(ClusterError) as refused:
        cluster.scale("factory", "scaled", 5, version)
    assert refused.value.status == CONFLICT
    assert cluster.scale_now("factory", "scaled")[0] == 3


@pytest.mark.parametrize(("action", "status"), [("500", 500), ("403", 403), ("429", 429), ("drop", 0)])
def test_refusals_carry_their_status(server: KubeServer, cluster: Cluster, action: str, status: int) -> None:
    server.arm(action, verb="list", resource="nodes", seconds=7)
    with pytest.raises(ClusterError) as refused:
        cluster.listing("/api/v1/nodes")
    assert refused.value.status == status
    assert "test-token" not in str(refused.value)
    assert refused.value.after == (7.0 if action == "429" else None)


def test_a_server_that_never_answers_is_given_up(server: KubeServer, cluster: Cluster) -> None:
    server.arm("slow", verb="list", resource="nodes", seconds=5)
    began = time.monotonic()
    with pytest.raises(ClusterError, match="no answer"):
        cluster.listing("/api/v1/nodes")
    assert time.monotonic() - began < 5


def test_what_may_not_be_listed_or_is_not_there(server: KubeServer, cluster: Cluster) -> None:
    server.control(allow=[{"namespace": "factory", "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    try:
        assert cluster.allowed(pods("factory"))
        assert not cluster.allowed(pods())
        assert not cluster.allowed("/api/v1/nodes")
    finally:
        server.control(allow=None)
    assert cluster.allowed("/api/v1/nodes")
    assert not cluster.allowed("/apis/example.com/v1/things")


# -- mirrors -----------------------------------------------------------------------------------------------------------


def names(mirror: Mirror[Any]) -> set[str]:
    return {value.name for value in mirror.values()}


def test_a_mirror_follows_lists_afresh_and_says_when_it_cannot(server: KubeServer, cluster: Cluster) -> None:
    changes: list[float] = []
    what = Collection("pods", pods("watched"), parse.pod)
    mirror = Mirror(cluster, what, 1.0, lambda: changes.append(time.monotonic()))
    assert mirror.fault
    mirror.start()
    try:
        until(lambda: not mirror.fault)
        server.create(objects.guest("one", namespace="watched", gpus=0))
        until(lambda: names(mirror) == {"one"})
        server.control(mute=True)
        server.create(objects.guest("two", namespace="watched", gpus=0))
        until(lambda: names(mirror) == {"one", "two"})
        server.control(mute=False)
        server.control(compact=True)
        server.create(objects.guest("three", namespace="watched", gpus=0))
        until(lambda: len(names(mirror)) == 3)
        server.arm("500", verb="list", resource="pods", times=100)
        until(lambda: mirror.fault)
        assert len(names(mirror)) == 3, "what was seen is kept, and marked"
        server.control(disarm=True)
        until(lambda: not mirror.fault)
        server.control(plan=[{"after": 0, "delete": objects.guest("one", namespace="watched")}])
        until(lambda: names(mirror) == {"two", "three"})
    finally:
        mirror.stop()
    assert len(changes) >= 4


# -- election ----------------------------------------------------------------------------------------------------------


def candidate(cluster: Cluster, me: str, name: str, length: float = 1.0) -> Election:
    return Election(cluster, "factory", name, me=me, length=length, changed=lambda: None)


def test_one_leads_and_gives_way_when_it_steps_down(cluster: Cluster) -> None:
    one, two = candidate(cluster, "one", "given"), candidate(cluster, "two", "given")
    one.once()
    two.once()
    assert (one.leading, two.leading, two.holder) == (True, False, "one")
    one.stop()
    two.once()
    assert (one.leading, two.leading) == (False, True)


def test_a_silent_leader_stops_leading_before_it_is_replaced(cluster: Cluster) -> None:
    one, two = candidate(cluster, "one", "silent", 1.0), candidate(cluster, "two", "silent", 1.0)
    one.once()
    two.once()
    while not two.leading:
        assert not (one.leading and two.leading)
        time.sleep(0.02)
        two.once()
    assert not one.leading
    one.once()
    assert (one.leading, one.holder) == (False, "two")


def test_of_many_that_take_a_lease_at_once_one_wins(cluster: Cluster) -> None:
    from concurrent.futures import ThreadPoolExecutor

    all_of_them = [candidate(cluster, f"c{number}", "contended", 5.0) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: one.once(), all_of_them))
    assert sum(one.leading for one in all_of_them) == 1


def test_a_leader_that_cannot_renew_stops_in_time(server: KubeServer, cluster: Cluster) -> None:
    one = candidate(cluster, "one", "cut", 1.0)
    one.once()
    server.arm("500", resource="leases", times=100)
    try:
        with pytest.raises(ClusterError):
            one.once()
        until(lambda: not one.leading, 2)
    finally:
        server.control(disarm=True)


# -- journal -----------------------------------------------------------------------------------------------------------


def test_the_journal_counts_what_was_used_and_yielded() -> None:
    journal = Journal(GPU)
    waiting, running = pod("g", 2), pod("g", 2, node="a")
    helped = Action("yield", 14, "because", verdicts=(Verdict("research/g", 2, "helped", ""),))
    journal.account(seen(many(8, "a"), [waiting], now=100.0), helped)
    journal.account(seen(many(6, "a"), [running], now=110.0), Action("hold", 14, ""))
    assert (journal.used, journal.yielded) == (60.0, 20.0)
    journal.account(seen([*many(6, "a"), ours("x", "b")], now=120.0), Action("hold", 14, ""))
    assert (journal.used, journal.yielded) == (130.0, 20.0)


def test_the_journal_goes_on_where_the_last_leader_ended() -> None:
    first, second = Journal(GPU, used=5.0, yielded=2.0), Journal(GPU)
    for number in range(30):
        first.add(Action("yield", number, f"reason {number}"), number + 1, 1_767_398_400.0)
    second.restore(first.notes())
    assert (second.used, second.yielded) == (5.0, 2.0)
    assert [one.after for one in second.decisions] == list(range(10, 30))
    assert second.decisions[-1].at == "2026-01-03T00:00:00Z"


@pytest.mark.parametrize("notes", [{}, {DECISIONS: "[", TOTALS: "7"}, {DECISIONS: '[{"odd": 1}]', TOTALS: "[]"}])
def test_notes_that_cannot_be_read_are_begun_afresh(notes: dict[str, str]) -> None:
    journal = Journal(GPU)
    journal.restore(notes)
    assert (list(journal.decisions), journal.used) == ([], 0.0)
    assert json.loads(journal.notes()[TOTALS])["gpu_seconds_used"] == 0.0


# -- work in progress --------------------------------------------------------------------------------------------------


def test_lost_work_is_what_was_done_since_the_last_checkpoint(tmp_path: Path) -> None:
    store = open_store(StoreSettings(_env_file=None, store_url=f"file://{tmp_path}"))
    layout, wanted = Layout(), QueueSettings(_env_file=None)
    queue = PrefixQueue(store, layout, "processing", ProcessTask, wanted)
    for number in range(2):
        queue.put(
            ProcessTask(id=f"t{number}", episode_id=f"t{number}", language="en", audio_key="raw_audio/en/x/a.mp3")
        )
    work = Work(store, layout, "processing")
    assert work.by_pod() == {}
    queue.owner = "pod-a:1"
    first = queue.claim()
    queue.owner = "pod-b:1"
    second = queue.claim()
    assert first is not None
    assert second is not None
    time.sleep(0.3)
    store.put(layout.checkpoint("processing", first.task_id, "abc"), b"{}")
    lost = work.by_pod()
    assert set(lost) == {"pod-a", "pod-b"}
    assert lost["pod-a"] < lost["pod-b"]
    first.release()
    second.complete({})
    assert work.by_pod() == {}


def test_paths_are_quoted() -> None:
    assert deployments("a b") == "/apis/apps/v1/namespaces/a%20b/deployments"
