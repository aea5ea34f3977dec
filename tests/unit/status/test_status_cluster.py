"""The autokicker's last decisions, as its own journal writes them, read through an API server that speaks HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duplexforge.autokicker import journal
from duplexforge.config import AutokickSettings, StatusSettings
from duplexforge.status import cluster
from duplexforge.status.cluster import autokick, told
from duplexforge.status.overview import Autokick, Decision
from tests.servers.kube.client import KubeServer

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def settings(**fields: Any) -> StatusSettings:
    return StatusSettings(_env_file=None, **fields)


@pytest.fixture(scope="module")
def server() -> Iterator[KubeServer]:
    with KubeServer(bare=True) as made:
        yield made


@pytest.fixture
def inside(server: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubeServer:
    """A machine whose kubeconfig leads to the API server."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
    return server


def notes() -> dict[str, str]:
    """What an autokicker's journal leaves."""
    made = journal.Journal("nvidia.com/gpu", used=7200.0, yielded=1800.0)
    made.decisions.append(journal.Decision("2026-05-06T07:00:00Z", "yield", 16, 12, "4 GPUs for research/train-0"))
    made.decisions.append(journal.Decision("2026-05-06T07:05:00Z", "grow", 12, 13, "quiet for 60 s"))
    return made.notes()


def lease(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "factory", "annotations": notes()}, "spec": spec,
    }  # fmt: skip


def test_the_names_are_the_autokickers_own() -> None:
    assert (cluster.DECISIONS, cluster.TOTALS) == (journal.DECISIONS, journal.TOTALS)
    assert settings().lease_name == AutokickSettings(_env_file=None).lease_name


def test_what_the_journal_wrote_is_read(inside: KubeServer) -> None:
    at = datetime.now(UTC) - timedelta(seconds=5)
    inside.create(lease("seen", holderIdentity="pod-1_7", renewTime=at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    found = autokick(settings(lease_name="seen"))
    assert (found.state, found.leader, found.note) == ("seen", "pod-1_7", "led by pod-1_7")
    assert found.renewed is not None
    assert 4 < found.renewed < 60
    assert (found.gpu_hours_used, found.gpu_hours_yielded) == (2.0, 0.5)
    assert found.decisions == (
        Decision("2026-05-06T07:00:00Z", "yield", 16, 12, "4 GPUs for research/train-0"),
        Decision("2026-05-06T07:05:00Z", "grow", 12, 13, "quiet for 60 s"),
    )


def test_it_only_reads(inside: KubeServer) -> None:
    before = len(inside.requests())
    autokick(settings(lease_name="none"))
    assert [one["method"] for one in inside.requests()[before:]] == ["GET"]


@pytest.mark.parametrize("fields", [{}, {"namespace": "elsewhere"}])
def test_where_no_autokicker_has_run(inside: KubeServer, fields: dict[str, str]) -> None:
    found = autokick(settings(lease_name="never", **fields))
    assert found.state == "none"
    assert fields.get("namespace", "factory") in found.note


@pytest.mark.parametrize(("action", "words"), [("403", "may not read the Lease"), ("500", "answered 500")])
def test_refusals_and_outages_are_told_in_words(inside: KubeServer, action: str, words: str) -> None:
    inside.arm(action, verb="get", resource="leases")
    found = autokick(settings(lease_name="seen"))
    assert found.state == "unseen"
    assert words in found.note


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KubeServer(bare=True) as gone:
        path = gone.kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = autokick(settings())
    assert (found.state, found.decisions) == ("unseen", ())


@pytest.mark.parametrize("text", ["", "{", "nonsense: ["])
def test_no_kubeconfig_or_a_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "kubeconfig"
    if text:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert autokick(settings()).state == ("unseen" if text else "outside")


def test_without_any_sign_of_a_cluster_the_client_is_not_even_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert autokick(settings()) == Autokick("outside", "not in a cluster")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert "not installed" in autokick(settings()).note
    monkeypatch.delenv("KUBECONFIG")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    assert "not installed" in autokick(settings()).note


def test_it_can_be_left_alone() -> None:
    assert autokick(settings(status_cluster="off")).state == "off"


@pytest.mark.parametrize(
    "found",
    [
        {}, {cluster.DECISIONS: "{", cluster.TOTALS: "["}, {cluster.DECISIONS: "{}", cluster.TOTALS: "[]"},
        {cluster.DECISIONS: '[1, null, {"at": "x"}, {"at": 1, "word": 2, "before": "x", "after": 0, "reason": ""}]'},
        {cluster.TOTALS: '{"gpu_seconds_used": "many", "gpu_seconds_yielded": null}'},
    ],
)  # fmt: skip
def test_annotations_by_hand_do_no_harm(found: dict[str, str]) -> None:
    assert told(found, SimpleNamespace(), NOW) == Autokick("seen", "nobody leads")
