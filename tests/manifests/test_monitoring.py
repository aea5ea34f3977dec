"""Alerts, dashboard and monitors speak of metrics that exist and of pods that are there."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram

from duplexforge import metrics
from tests.manifests.kustomize import Object, pod_specs
from tests.manifests.tree import CASES, K8S, rendered

MONITORED = CASES / "monitored-r2"
DASHBOARD: dict[str, Any] = json.loads(
    (K8S / "components" / "monitoring" / "dashboard.json").read_text(encoding="utf-8")
)
_OF_PROMETHEUS = {"le", "namespace", "pod", "job", "instance", "endpoint"}


@cache
def samples() -> dict[str, set[str]]:
    """Every series that the program exposes, with the names of its labels."""
    found: dict[str, set[str]] = {name: set(labels) for name, _, labels in metrics.STATUS.values()}
    for one in [*vars(metrics).values(), *metrics.SPEED.values()]:
        if isinstance(one, Counter | Gauge | Histogram):
            name, labels = one._name, set(one._labelnames)
            endings = {Counter: ["_total"], Gauge: [""], Histogram: ["_bucket", "_sum", "_count"]}[type(one)]
            found |= {name + ending: labels for ending in endings}
    return found


def rules() -> list[Object]:
    """The alerts."""
    (one,) = [found for found in rendered(MONITORED) if found["kind"] == "PrometheusRule"]
    return [rule for group in one["spec"]["groups"] for rule in group["rules"]]


EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in rules()} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_expressions_name_series_and_labels_that_exist(title: str) -> None:
    text = EXPRESSIONS[title]
    series = re.findall(r"(duplexforge_\w+)(?:\{([^}]*)\})?", text)
    assert series, "an expression about nothing of ours"
    known: set[str] = set()
    for name, selector in series:
        assert name in samples(), name
        known |= samples()[name]
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            assert label in samples()[name] | _OF_PROMETHEUS, f"{name} has no label {label}"
    for grouping in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text):
        for label in filter(None, (part.strip() for part in grouping.split(","))):
            assert label in known | _OF_PROMETHEUS, label
    for pair in ("()", "{}", "[]"):
        assert text.count(pair[0]) == text.count(pair[1])


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_counters_are_read_as_rates(title: str) -> None:
    for name in re.findall(r"duplexforge_\w+(?:_total|_bucket)\b", EXPRESSIONS[title]):
        assert re.search(rf"(rate|increase)\({name}", EXPRESSIONS[title]), f"{name} only ever grows"


VALUES = {
    "stage": {"download", "processing", "upload"},
    "state": {"waiting", "running", "completed", "failed", "live", "expired", "wanted", "placed", "pending"},
    "outcome": {"completed", "failed", "retried", "released", "skipped"},
    "window": {"hour", "day"},
    "verdict": {"helped", "served", "beyond", "ignored"},
}


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_labels_have_values_that_the_program_gives(title: str) -> None:
    for label, value in re.findall(r'(\w+)=~?"([^"$]+)"', EXPRESSIONS[title]):
        assert set(value.split("|")) <= VALUES[label], f"{label}={value}"


def test_those_values_are_the_programs() -> None:
    from dataclasses import fields

    from duplexforge.autokicker import journal
    from duplexforge.roles import TASKS
    from duplexforge.worker import Tally

    assert VALUES["stage"] == set(TASKS)
    assert VALUES["outcome"] <= {field.name for field in fields(Tally)}
    import inspect

    source = inspect.getsource(journal)
    assert all(f'"{word}"' in source for word in VALUES["verdict"])


def test_alerts_say_what_happens_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["description"]) > 40


def test_alerts_name_commands_that_there_are() -> None:
    import typer.main

    from duplexforge.cli import app

    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for rule in rules():
        for word in re.findall(r"duplexforge ([a-z]+)", rule["annotations"]["description"]):
            assert word in known | {"wrote"}, word


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert DASHBOARD["uid"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] in {"timeseries", "stat", "bargauge"}
        assert panel["datasource"]["uid"] == "${datasource}"
    assert {one["name"] for one in DASHBOARD["templating"]["list"]} == {"datasource", "namespace"}


def test_the_dashboard_is_in_a_config_map_that_the_sidecar_finds() -> None:
    (one,) = [found for found in rendered(MONITORED) if found["metadata"]["name"] == "duplexforge-dashboard"]
    assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(one["data"]["duplexforge.json"]) == DASHBOARD


def test_monitors_find_their_pods_and_ports() -> None:
    things = rendered(MONITORED)
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in things if one["kind"] == "Deployment"}
    (service,) = [one for one in things if one["kind"] == "ServiceMonitor"]
    (status,) = [one for one in things if one["kind"] == "Service"]
    assert service["spec"]["selector"]["matchLabels"].items() <= status["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in service["spec"]["endpoints"]} <= {
        port["name"] for port in status["spec"]["ports"]
    }
    (monitor,) = [one for one in things if one["kind"] == "PodMonitor"]
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    assert set(expression["values"]) == set(pods) - {"status"}
    ports = [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    opened = {port["name"] for name in expression["values"] for port in pods[name]["spec"]["containers"][0]["ports"]}
    assert sorted(ports) == sorted(opened)


def test_whoever_scrapes_is_let_in() -> None:
    things = rendered(MONITORED)
    (policy,) = [one for one in things if one["metadata"]["name"] == "duplexforge-scrape"]
    (port,) = policy["spec"]["ingress"][0]["ports"]
    for one in things:
        if one["kind"] == "Deployment":
            for opened in pod_specs(one)[0]["containers"][0]["ports"]:
                assert port["port"] <= opened["containerPort"] <= port["endPort"]
