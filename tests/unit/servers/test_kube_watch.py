"""Watches of the stand-in before the official client: changes, selectors, bookmarks, 410, and what networks do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.servers.kube.client import KubeServer
from tests.servers.kube.kinds import CONFIG_MAPS
from tests.servers.kube.objects import NAMESPACE
from tests.servers.kube.store import Refused, Store

SPACE = NAMESPACE


@pytest.fixture(scope="module")
def server() -> Iterator[KubeServer]:
    """One empty server."""
    with KubeServer() as started:
        yield started


@pytest.fixture
def core(server: KubeServer) -> client.CoreV1Api:
    """The core API."""
    return client.CoreV1Api(server.api_client())


def _configmap(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def _watched(core: client.CoreV1Api, version: str, seconds: int = 1, **wanted: Any) -> list[tuple[str, str]]:
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, SPACE, resource_version=version, timeout_seconds=seconds, **wanted
    )
    return [(event["type"], event["raw_object"]["metadata"].get("name", "")) for event in stream]


def test_a_watch_tells_every_change_since_a_version(core: client.CoreV1Api) -> None:
    """In order; what comes to be selected is added, what ceases to be is gone."""
    version = core.list_namespaced_config_map(SPACE).metadata.resource_version
    core.create_namespaced_config_map(SPACE, _configmap("seen"))
    core.patch_namespaced_config_map("seen", SPACE, {"metadata": {"labels": {"x": "1"}}})
    core.patch_namespaced_config_map("seen", SPACE, {"metadata": {"labels": {"x": None}}})
    core.delete_namespaced_config_map("seen", SPACE)
    assert _watched(core, version) == [(word, "seen") for word in ("ADDED", "MODIFIED", "MODIFIED", "DELETED")]
    assert _watched(core, version, label_selector="x=1") == [("ADDED", "seen"), ("DELETED", "seen")]


def test_a_watch_goes_on_while_things_happen_and_sends_bookmarks(server: KubeServer, core: client.CoreV1Api) -> None:
    """Changes come as they are made; a bookmark brings a version without a change."""
    server.control(bookmarks=0.2)
    version = core.list_namespaced_config_map(SPACE).metadata.resource_version
    later = threading.Timer(0.4, lambda: core.create_namespaced_config_map(SPACE, _configmap("later")))
    later.start()
    told = _watched(core, version, allow_watch_bookmarks=True)
    later.join()
    assert ("ADDED", "later") in told
    assert ("BOOKMARK", "") in told
    server.control(bookmarks=1.0)


def test_410_for_a_version_that_is_forgotten_and_in_the_middle(server: KubeServer, core: client.CoreV1Api) -> None:
    """Both as an event of the watch, as the real one sends it."""
    old = core.list_namespaced_config_map(SPACE).metadata.resource_version
    server.control(compact=True)
    with pytest.raises(ApiException) as caught:
        _watched(core, old)
    assert caught.value.status == 410
    new = core.list_namespaced_config_map(SPACE).metadata.resource_version
    threading.Timer(0.2, lambda: server.control(compact=True)).start()
    with pytest.raises(ApiException) as caught:
        _watched(core, new, seconds=20)
    assert caught.value.status == 410


def test_watches_that_are_cut_muted_or_told_twice(server: KubeServer, core: client.CoreV1Api) -> None:
    """What networks and proxies do to them."""

    def during(seconds: int, **control: Any) -> list[tuple[str, str]]:
        version = core.list_namespaced_config_map(SPACE).metadata.resource_version
        name = f"during-{time.monotonic_ns()}"

        def act() -> None:
            server.control(**control)
            core.create_namespaced_config_map(SPACE, _configmap(name))

        timer = threading.Timer(0.2, act)
        timer.start()
        told = _watched(core, version, seconds)
        timer.join()
        return told

    assert during(30, cut=True) == []
    assert during(1, mute=True) == []
    server.control(mute=False)
    told = during(1, twice=True)
    server.control(twice=False)
    assert len(told) == 2
    assert told[0] == told[1]


def test_the_store_refuses_what_it_has_forgotten() -> None:
    """By version, without HTTP."""
    store = Store(lambda: 0.0)
    store.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": SPACE}})
    assert len(list(store.since(CONFIG_MAPS, 1))) == 1
    store.compact()
    with pytest.raises(Refused) as caught:
        list(store.since(CONFIG_MAPS, 1))
    assert caught.value.status == 410
