"""Others that set replicas: a second autokicker, an HPA, KEDA, a person (faults 44 and 47)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.place import Place
from tests.cluster.process import leader, wait_until
from tests.servers.kube.objects import NAMESPACE


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of its own for each test."""
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


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
