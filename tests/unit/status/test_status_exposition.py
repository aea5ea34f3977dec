"""The metrics: text that Prometheus' own parser reads, with the names that KEDA and the dashboard rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_status_board import EMPTY, FULL

from duplexforge import metrics
from duplexforge.status.exposition import exposed
from duplexforge.status.overview import Overview, Reason

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(overview: Overview, age: float = 2.5) -> Series:
    families = text_string_to_metric_families(exposed(overview, age).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for one in families for sample in one.samples
    }


def test_the_series() -> None:
    found = read(FULL)

    def value(name: str, **labels: str) -> float:
        return found[f"duplexforge_{name}", tuple(sorted(labels.items()))]

    assert value("queue_tasks", stage="download", state="waiting") == 1200
    assert value("queue_tasks", stage="processing", state="completed") == 40
    assert value("queue_oldest_seconds", stage="processing", state="running") == 3700
    assert value("queue_oldest_seconds", stage="download", state="running") == 0
    assert value("queue_delayed_tasks", stage="download") == 3
    assert value("queue_failures", stage="download", reason="gone") == 2
    assert value("queue_leases", stage="processing", state="live") == 2
    assert value("queue_workers") == 2
    assert value("processed_episodes", outcome="no_speech") == 1
    assert value("processed_hours", language="de") == 20
    assert value("processed_recent_hours", window="hour") == 3.25
    assert value("processed_stage_seconds", pipeline_stage="score") == 3600
    assert value("dollars_per_1000_hours") == pytest.approx(25)
    assert value("autokick_gpu_hours", whose="yielded") == 33.5
    assert value("autokick_seen") == 1
    assert value("status_age_seconds") == 2.5
    assert value("status_look_seconds") == 1.25


def test_all_that_is_named_is_filled_and_nothing_else() -> None:
    assert {name for name, _ in read(FULL)} == {name for name, _, _ in metrics.STATUS.values()}


def test_labels_are_those_that_are_named() -> None:
    named = {name: set(labels) for name, _, labels in metrics.STATUS.values()}
    for name, labels in read(FULL):
        assert {label for label, _ in labels} == named[name]


def test_an_idle_store_has_zeros_for_alerts_and_no_dollars() -> None:
    found = read(EMPTY)
    assert found["duplexforge_queue_tasks", (("stage", "download"), ("state", "waiting"))] == 0
    assert found["duplexforge_autokick_seen", ()] == 0
    assert not any(
        name in ("duplexforge_dollars_per_1000_hours", "duplexforge_autokick_gpu_hours") for name, _ in found
    )


def test_what_is_gone_is_gone() -> None:
    assert read(FULL).keys() - read(replace(FULL, failures=())).keys() == {
        ("duplexforge_queue_failures", (("reason", "gone"), ("stage", "download")))
    }


@pytest.mark.parametrize("reason", ['a"b', "a\\b", "a\nb", "é", ""])
def test_odd_reasons_come_through(reason: str) -> None:
    found = read(replace(FULL, failures=(Reason("download", reason, 1),)))
    assert ("duplexforge_queue_failures", (("reason", reason), ("stage", "download"))) in found
