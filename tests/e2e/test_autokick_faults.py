"""What goes wrong around an autokicker: API errors, watches that break, rights that lack (faults 42, 43, 45)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.place import Place
from tests.cluster.process import leader, wait_until
from tests.servers.kube.objects import NAMESPACE, guest
from tests.servers.kube.server import TOKEN


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
