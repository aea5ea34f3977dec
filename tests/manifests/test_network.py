"""Every pod has a policy that closes what it does not need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.tree import K8S, deployments, rendered, title

DNS = {("UDP", 53), ("TCP", 53)}
HTTPS = {("TCP", 443)}
# Beyond DNS and 443: plain HTTP for feeds and files that have nothing else, and the port of most API servers.
MORE = {
    "download": {("TCP", 80)}, "seed": {("TCP", 80)}, "autokick": {("TCP", 6443)}, "status": {("TCP", 6443)},
}  # fmt: skip


def labels_of(one: Object) -> dict[str, str]:
    """The labels of an object's pods."""
    spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    found: dict[str, str] = spec["template"]["metadata"]["labels"]
    return found


def policies(folder: Path, pods: dict[str, str]) -> list[Any]:
    """The policies that hold for pods with these labels."""
    return [
        one["spec"] for one in rendered(folder)
        if one["kind"] == "NetworkPolicy"
        and one["spec"]["podSelector"].get("matchLabels", {}).items() <= pods.items()
    ]  # fmt: skip


@pytest.mark.parametrize("folder", deployments(), ids=title)
def test_every_pod_is_closed_but_for_what_it_needs(folder: Path) -> None:
    for one in rendered(folder):
        if not pod_specs(one):
            continue
        pods = labels_of(one)
        mine = policies(folder, pods)
        assert {kind for policy in mine for kind in policy["policyTypes"]} == {"Ingress", "Egress"}
        anywhere = {
            (port["protocol"], port["port"])
            for policy in mine for rule in policy.get("egress", ()) if "to" not in rule for port in rule["ports"]
        }  # fmt: skip
        assert anywhere == DNS | HTTPS | MORE.get(pods["app.kubernetes.io/component"], set())
        for policy in mine:
            for rule in policy.get("ingress", ()):
                assert rule["from"], "open to everybody"
                assert rule["ports"], "open at every port"


def test_narrower_ways_out_go_to_one_address() -> None:
    for policy in policies(K8S / "overlays" / "aws", {"app.kubernetes.io/part-of": "duplexforge"}):
        for rule in policy.get("egress", ()):
            assert [peer["ipBlock"]["cidr"] for peer in rule["to"]] == ["169.254.170.23/32"]


def test_a_namespace_of_its_own_is_closed_by_default() -> None:
    (closed,) = [one for one in policies(K8S / "overlays" / "r2", {}) if one["podSelector"] == {}]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in closed
    assert "ingress" not in closed
    (space,) = [one for one in rendered(K8S / "overlays" / "r2") if one["kind"] == "Namespace"]
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
