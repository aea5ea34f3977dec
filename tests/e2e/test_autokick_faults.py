"""What goes wrong around an autokicker: API errors, watches that break, rivals, its own death (faults 42 to 47)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.process import Autokicker, leader, wait_until
from tests.cluster.scenario import ours
from tests.servers.kube.client import KubeServer
from tests.servers.kube.kinds import Object
from tests.servers.kube.objects import NAMESPACE, deployment, guest, node
from tests.servers.kube.server import TOKEN
from tests.servers.kube.timeline import Moment

_SETTINGS: dict[str, float | str] = {
    "INTERVAL": 1, "QUIET_SECONDS": 3, "ESCALATION_SECONDS": 2, "LEADER_SECONDS": 1.5, "GROWTH_STEP": 4,
    "CLUSTER_TIMEOUT": 1,
}  # fmt: skip
_OUR_NODES = (node("node-a"), node("node-b"))
_QUICK = {"load": 0.05, "stop": 0.2}


class Place:
    """A cluster that is full of ours, and the autokickers that look after it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.server = stack.enter_context(KubeServer())
        self._folder, self._stack = folder, stack
        self._kubeconfig = self.server.kubeconfig(folder / "kubeconfig")
        self.server.create(*_OUR_NODES, deployment(replicas=17, sim=_QUICK))
        time.sleep(0.3)

    def kicker(self, name: str = "kicker", *arguments: str, **settings: float | str) -> Autokicker:
        """An autokicker that has started; nobody waits for it to lead."""
        made = Autokicker(self._folder, self._kubeconfig, {**_SETTINGS, **settings}, arguments, name)
        return self._stack.enter_context(made)

    def leads(self) -> str:
        """Wait for a leader; its name."""
        wait_until(lambda: leader(self.server), "a leader")
        wait_until(lambda: self.server.control("watches") >= 3, "watches")
        time.sleep(0.3)
        return leader(self.server)

    def now(self) -> Moment:
        """The cluster now."""
        return self.server.timeline().moments[-1]

    def comes(self, name: str, **changes: Any) -> None:
        """A guest comes."""
        self.server.create(guest(name, **{"sim": {"stop": 0.1}, **changes}))

    def served(self, name: str) -> None:
        """Wait until a guest has its node."""
        wait_until(lambda: self.server.timeline().ran(name) is not None, f"{name} runs")

    def kills(self) -> int:
        """How many of ours were told to stop so far."""
        return len(self.server.timeline().kills())

    def events(self, reason: str) -> list[Object]:
        """The Events with a reason."""
        return [one for one in self.server.control("events") if one["reason"] == reason]

    def writes(self) -> list[dict[str, Any]]:
        """The requests that changed the scale."""
        return [one for one in self.server.requests() if one["method"] != "GET" and "/scale" in one["target"]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of its own for each test."""
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_410_and_broken_watches_are_listed_again(place: Place) -> None:
    """Fault 43: the history is gone while watches are open; then they are cut; each time the next guest is served."""
    kicker = place.kicker()
    place.leads()
    place.server.control(compact=True)
    place.comes("first")
    place.served("first")
    place.server.control(cut=True)
    place.comes("second")
    place.served("second")
    assert place.kills() == 2, kicker.words


def test_two_autokickers_one_leads(place: Place) -> None:
    """Fault 44: one writes; when it is killed the other one leads, and nobody is stopped twice."""
    one = place.kicker("one")
    holder = place.leads()
    other = place.kicker("other")
    wait_until(lambda: "leads" in other.words, "the other one stands by")
    place.comes("first", gpus=2)
    place.served("first")
    assert leader(place.server) == holder
    one.kill()
    place.comes("second")
    place.served("second")
    assert leader(place.server) not in ("", holder)
    assert place.kills() == 3, other.words
    assert other.stop() == 0


@pytest.mark.slow
def test_a_leader_that_is_told_to_stop_hands_over_at_once(place: Place) -> None:
    """SIGTERM gives the Lease back: no waiting for it to expire. The scale stays as it is."""
    one = place.kicker("one", LEADER_SECONDS=300)
    holder = place.leads()
    place.kicker("other", LEADER_SECONDS=300)
    before = place.now().replicas
    assert one.stop() == 0
    wait_until(lambda: leader(place.server) not in ("", holder), "the other one leads")
    assert place.now().replicas == before


@pytest.mark.slow
@pytest.mark.parametrize("action", ["500", "503", "429", "drop", "lost"])
def test_writes_that_fail_are_tried_again(place: Place, action: str) -> None:
    """Fault 42: refused, or done with the answer lost; the guest is served all the same, for one kill."""
    kicker = place.kicker()
    place.leads()
    place.server.arm(action, verb="patch", resource="deployments/scale", times=2)
    place.comes("guest")
    place.served("guest")
    time.sleep(0.5)
    assert place.kills() == 1, kicker.words


@pytest.mark.slow
@pytest.mark.parametrize("resource", ["pods", "nodes", "deployments", "*"])
def test_what_cannot_be_seen_is_not_decided_on(place: Place, resource: str) -> None:
    """Fault 42: while lists fail the scale stays; afterwards the guest is served."""
    kicker = place.kicker()
    place.leads()
    before = len(place.writes())
    for verb in ("list", "watch", "get"):
        place.server.arm("500", verb=verb, resource=resource, times=10_000)
    place.server.control(compact=True)
    time.sleep(2.5)
    place.comes("guest")
    time.sleep(1.5)
    assert place.now().replicas == 17, kicker.words
    assert len(place.writes()) == before, kicker.words
    place.server.control(disarm=True)
    place.served("guest")
    assert place.kills() == 1, kicker.words


@pytest.mark.slow
def test_slow_answers_delay_and_do_no_harm(place: Place) -> None:
    """Fault 42: every answer half a second late."""
    kicker = place.kicker(LEADER_SECONDS=10)
    place.leads()
    place.server.arm("slow", times=200, seconds=0.5)
    place.comes("guest", gpus=3)
    place.served("guest")
    assert place.kills() == 3, kicker.words


@pytest.mark.slow
def test_events_that_come_twice_or_not_at_all(place: Place) -> None:
    """Fault 43: level-triggered, so twice is once; what was never told is found by the next listing."""
    kicker = place.kicker()
    place.leads()
    place.server.control(twice=True)
    place.comes("first")
    place.served("first")
    place.server.control(twice=False, mute=True)
    place.comes("second")
    place.served("second")
    assert place.kills() == 2, kicker.words


@pytest.mark.slow
def test_a_list_that_lags_behind(place: Place) -> None:
    """A guest that is served and gone is still in a stale list: nothing more is stopped for it than once."""
    kicker = place.kicker()
    place.leads()
    place.comes("guest", sim={"run": 1.0, "stop": 0.1})
    time.sleep(0.05)
    place.server.control(freeze=["pods"])
    time.sleep(3)
    place.server.control(freeze=[])
    place.served("guest")
    assert place.kills() <= 2, kicker.words


@pytest.mark.slow
def test_its_own_death_in_the_middle_of_a_yield(place: Place) -> None:
    """State is derived again: a successor stops nobody twice, and does not grow before the quiet time is over."""
    place.server.create(guest("sitter", gpus=0))
    one = place.kicker("one")
    place.leads()
    place.comes("guest", gpus=4)
    wait_until(lambda: place.kills() == 4, "four are told to stop")
    one.kill()
    two = place.kicker("two")
    place.served("guest")
    wait_until(lambda: '"leads now"' in two.words, "its successor leads")
    time.sleep(0.5)
    assert place.kills() == 4, two.words


def test_beside_an_hpa_it_stays_passive(place: Place) -> None:
    """Fault 47: two that set replicas would fight; it says so and writes nothing."""
    place.server.create({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "depth", "namespace": NAMESPACE},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "emiliapipe"}},
    })  # fmt: skip
    kicker = place.kicker()
    place.comes("guest")
    wait_until(lambda: place.events("Conflict"), "an Event")
    time.sleep(1)
    assert place.writes() == [], kicker.words
    told = place.events("Conflict")[0]
    assert told["type"] == "Warning"
    assert "depth" in told["message"]


@pytest.mark.slow
def test_a_scaled_object_is_paused(place: Place) -> None:
    """One writer of replicas: KEDA's own annotation; one that aims at another Deployment is left alone."""
    for name, target in (("ours", "emiliapipe"), ("theirs", "web")):
        place.server.create({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"scaleTargetRef": {"name": target}, "triggers": []},
        })  # fmt: skip
    place.kicker()
    place.leads()

    def paused() -> dict[str, Any]:
        found = place.server.control("scaled_objects")
        return {one["metadata"]["name"]: one["metadata"].get("annotations", {}) for one in found}

    wait_until(lambda: paused()["ours"], "the pause")
    assert paused() == {"ours": {"autoscaling.keda.sh/paused": "true"}, "theirs": {}}


def _edited(**changes: Any) -> dict[str, Any]:
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "emiliapipe", "namespace": NAMESPACE}}
    thing["metadata"] |= changes.pop("metadata", {})  # type: ignore[operator]
    return {"after": 0.0, "patch": {**thing, **changes}}


@pytest.mark.slow
def test_a_persons_bounds_are_kept_and_an_edit_is_reported(place: Place) -> None:
    """Fault 47: annotations bound it; a bare edit of the replicas is reported, and grown out of again."""
    kicker = place.kicker()
    place.leads()
    place.comes("guest")
    place.served("guest")
    wait_until(lambda: place.now().replicas >= 16, "growth after the quiet time")
    place.server.control(plan=[_edited(spec={"replicas": 5})])
    wait_until(lambda: place.events("ReplicasChanged"), "an Event")
    notes = {"duplexforge.io/autokick-max": "6"}
    place.server.control(plan=[_edited(metadata={"annotations": notes})])
    wait_until(lambda: len(place.now().placed) == place.now().replicas == 6, "the bound")
    time.sleep(1.5)
    assert place.now().replicas == 6, kicker.words


def _rules(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """A Role in our namespace: what the README's namespaced variant grants."""
    wanted = [
        ([""], ["pods"], ["get", "list", "watch", "patch"]),
        ([""], ["events"], ["create", "patch"]),
        ([""], ["configmaps"], ["get", "list", "watch"]),
        (["apps"], ["deployments"], ["get", "list", "watch", "patch"]),
        (["apps"], ["deployments/scale"], ["get", "patch"]),
        (["coordination.k8s.io"], ["leases"], ["get", "list", "watch", "create", "update", "patch"]),
        (["autoscaling"], ["horizontalpodautoscalers"], ["get", "list", "watch"]),
        (["keda.sh"], ["scaledobjects"], ["get", "list", "watch", "patch"]),
    ]
    names = ("apiGroups", "resources", "verbs")
    return [dict(zip(names, one, strict=True)) | {"namespace": NAMESPACE} for one in wanted] + list(more)


@pytest.mark.slow
def test_with_a_role_of_its_namespace_alone(place: Place) -> None:
    """No nodes, no other namespaces: a guest beside us is served, from what is known of our own pods."""
    place.server.control(allow=_rules())
    kicker = place.kicker()
    wait_until(lambda: leader(place.server), "a leader")
    time.sleep(0.5)
    place.comes("guest", gpus=2, namespace=NAMESPACE)
    place.served("guest")
    assert place.kills() <= 8, kicker.words


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_says_what_it_would_do(place: Place) -> None:
    """Not even the Lease."""
    kicker = place.kicker("dry", "--dry-run")
    wait_until(lambda: place.server.control("watches") >= 3, "watches")
    place.comes("guest")
    wait_until(lambda: "research/guest" in kicker.words, "words about the guest")
    time.sleep(0.5)
    assert [one for one in place.server.requests() if one["method"] != "GET"] == []
    assert place.kills() == 0


@pytest.mark.slow
def test_explain_says_what_it_sees(place: Place) -> None:
    """In words, and nothing is written; the token is nowhere."""
    place.comes("guest", gpus=3)
    place.comes("broken", gpus=9)
    kicker = place.kicker("unused", "--dry-run")
    told = kicker.command("--explain")
    assert told.returncode == 0, told.stderr
    for words in ("research/guest", "research/broken", "emiliapipe"):
        assert words in told.stdout
    assert place.writes() == []
    assert TOKEN not in told.stdout + told.stderr + kicker.words


@pytest.mark.slow
def test_without_rights_it_keeps_still_and_says_why(place: Place) -> None:
    """403 for everything: no scale is written, the log says what is refused, and no secret."""
    place.server.control(allow=[])
    kicker = place.kicker()
    wait_until(lambda: "leases is forbidden" in kicker.words, "a complaint about the Lease")
    wait_until(lambda: "pods is forbidden" in kicker.words, "a complaint about pods")
    assert kicker.process.poll() is None
    assert place.now().replicas == 17
    assert TOKEN not in kicker.words


@pytest.mark.slow
def test_a_token_that_is_refused_ends_it_with_a_sentence(place: Place) -> None:
    """401 at the start: temporary failure, so that its pod is started again; no traceback."""
    place.server.arm("401", times=10_000)
    kicker = place.kicker()
    assert kicker.process.wait(30) == 75
    assert "401" in kicker.words
    assert "Traceback" not in kicker.words
    assert TOKEN not in kicker.words


def test_the_deployment_of_the_scenarios_is_ours() -> None:
    """What the harness calls ours is what the autokicker calls ours: its label by default."""
    template = copy.deepcopy(ours(1)["spec"]["template"])
    assert template["metadata"]["labels"]["lowprio"] == "true"
