"""The overview as Prometheus metrics, for KEDA and Grafana. The names stand in :mod:`duplexforge.metrics`.

All samples of a scrape come from one look, and a series whose subject is gone (a reason, a language) goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from duplexforge import metrics
from duplexforge.status.overview import Overview, StageNow

Sample = tuple[str, tuple[str, ...], float]
_AGES = {"waiting": "oldest_waiting", "running": "oldest_running", "failed": "oldest_failed"}


def exposed(overview: Overview, age: float) -> bytes:
    """The metrics in Prometheus' text format; ``age`` is how many seconds ago the overview was taken."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(samples(overview, age)))
    return generate_latest(registry)


def samples(overview: Overview, age: float) -> Iterator[Sample]:
    """Each sample: which gauge, its labels, its value."""
    for stage, now in overview.stages.items():
        yield from _stage(stage, now)
    for one in overview.failures:
        yield "failures", (one.stage, one.reason), one.count
    yield "workers", (), len(overview.workers)
    for outcome, count in overview.outcomes.items():
        yield "episodes", (outcome,), count
    for language, done in overview.languages.items():
        yield "hours", (language,), done.hours
    yield "recent", ("hour",), overview.done.hour_hours
    yield "recent", ("day",), overview.done.day_hours
    for stage, seconds in overview.cost.stage_seconds.items():
        yield "computing", (stage,), seconds
    if overview.cost.dollars_per_1000 is not None:
        yield "cost", (), overview.cost.dollars_per_1000
    if overview.autokick.state == "seen":
        yield "gpu", ("used",), overview.autokick.gpu_hours_used
        yield "gpu", ("yielded",), overview.autokick.gpu_hours_yielded
    yield "leader", (), float(overview.autokick.state == "seen" and bool(overview.autokick.leader))
    yield "unread", (), overview.unread
    yield "age", (), age
    yield "spent", (), overview.seconds


def _stage(stage: str, now: StageNow) -> Iterator[Sample]:
    for state in ("waiting", "running", "completed", "failed"):
        yield "tasks", (stage, state), getattr(now, state)
    for state, name in _AGES.items():
        # A queue without such tasks has an age of nothing: alerts on it must not see a gap.
        yield "oldest", (stage, state), getattr(now, name) or 0.0
    yield "delayed", (stage,), now.delayed
    yield "leases", (stage, "live"), now.running
    yield "leases", (stage, "expired"), now.expired


class _Families(Collector):
    """What the client's registry asks for samples."""

    def __init__(self, found: Iterable[Sample]) -> None:
        self._found = list(found)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family for each gauge that has a sample."""
        made: dict[str, GaugeMetricFamily] = {}
        for name, labels, value in self._found:
            if name not in made:
                full, meaning, names = metrics.STATUS[name]
                made[name] = GaugeMetricFamily(full, meaning, labels=names)
            made[name].add_metric(labels, value)
        yield from made.values()
