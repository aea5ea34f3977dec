"""Every object is one that an API server takes: Kubernetes' own by its published schemas, strictly; others by crds.py."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.manifests import crds
from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.tree import everything, workloads

# The oldest that is still supported somewhere, and the one of the pinned client.
VERSIONS = ("1.30", "1.37")
OBJECTS = everything()
CUSTOM = {name: one for name, one in OBJECTS.items() if (one["apiVersion"], one["kind"]) in crds.SPECS}


def validate(one: Object, version: str) -> None:
    """Raises when an object is not valid."""
    if (one["apiVersion"], one["kind"]) in crds.SPECS:
        jsonschema.validate(one, crds.schema(one["apiVersion"], one["kind"]))
    else:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", sorted({one["kind"] for one in OBJECTS.values()}))
def test_valid(kind: str, version: str) -> None:
    for name, one in OBJECTS.items():
        if one["kind"] == kind:
            try:
                validate(one, version)
            except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
                pytest.fail(f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")


def misspelt(container: Any) -> None:
    container["resource"] = container.pop("resources")


def wrong_type(container: Any) -> None:
    container["ports"] = [{"name": "http", "containerPort": "many"}]


def nameless(container: Any) -> None:
    del container["name"]


@pytest.mark.parametrize("change", [misspelt, wrong_type, nameless])
def test_what_an_api_server_would_refuse_is_refused(change: Any) -> None:
    one = copy.deepcopy(next(iter(workloads().values())))
    change(pod_specs(one)[0]["containers"][0])
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(one, VERSIONS[-1])


@pytest.mark.parametrize("name", CUSTOM)
def test_a_field_that_nobody_knows_is_refused_in_custom_resources(name: str) -> None:
    one = copy.deepcopy(CUSTOM[name])
    one["spec"]["unheardOf"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validate(one, VERSIONS[-1])


def test_every_custom_kind_that_is_described_is_used() -> None:
    assert {(one["apiVersion"], one["kind"]) for one in CUSTOM.values()} == set(crds.SPECS)


def test_names_are_names() -> None:
    import re

    for name, one in OBJECTS.items():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", one["metadata"]["name"]), name
        for spec in pod_specs(one):
            for container in spec["containers"]:
                ports = [port["name"] for port in container.get("ports", ())]
                assert all(len(port) <= 15 for port in ports), "a port's name has at most 15 letters"
                assert len(set(ports)) == len(ports), name
