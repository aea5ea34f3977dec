"""The collector: it tells what the full account tells, and a second look costs listings and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import conftest
import pytest
from conftest import World, fill

from duplexforge import config
from duplexforge.config import QueueSettings, Settings
from duplexforge.errors import Preempted, StoreError
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import Hours, ProcessTask
from duplexforge.status import saved
from duplexforge.status.collect import collect
from duplexforge.status.collector import Collector
from duplexforge.status.overview import Autokick, Cost, Done, Overview
from duplexforge.storage import open_store
from tests.servers.s3_client import S3Server

OUTSIDE = Autokick("outside", "not in a cluster")
Looking = Callable[..., Collector]


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    monkeypatch.chdir(tmp_path)
    return lambda **flags: config.load("status", status_cluster="off", **flags)


@pytest.fixture
def looking(wanted: Callable[..., Settings]) -> Iterator[Looking]:
    """Makes collectors of a world, and closes them."""
    made: list[Collector] = []

    def make(world: World, **flags: float) -> Collector:
        made.append(Collector(world.store, world.layout, wanted(**flags), autokick=lambda: OUTSIDE))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


@pytest.fixture
def lately(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the world's helper commits, it commits now."""
    monkeypatch.setattr(conftest, "WHEN", datetime.now(UTC).isoformat())


def test_it_agrees_with_the_full_account(full: World, looking: Looking) -> None:
    overview, snapshot = looking(full).look(), collect(full.store, full.layout, full.queues)
    assert {name: done.hours for name, done in overview.languages.items()} == {
        one.name: pytest.approx(one.source) for one in snapshot.languages
    }
    assert overview.done.hours == pytest.approx(snapshot.processed_hours)
    assert overview.cost.stage_seconds == snapshot.stage_seconds
    assert overview.outcomes == {name: snapshot.count(name) for name in ("ok", "no_speech", "too_short")}
    assert {(one.stage, one.reason): one.count for one in overview.failures} == {
        (one.stage, one.reason): one.count for one in snapshot.failures
    }
    for stage, stats in snapshot.queues.items():
        now = overview.stages[stage]
        assert (now.waiting, now.running, now.completed, now.failed) == (
            stats.waiting, stats.running, stats.completed, stats.failed,
        )  # fmt: skip
    assert overview.unread == 0


def test_an_empty_store(world: World, looking: Looking) -> None:
    overview = looking(world).look()
    assert (overview.done, overview.failures, overview.workers, overview.cost) == (Done(), (), (), Cost())
    assert list(overview.stages) == ["download", "processing", "upload"]
    assert overview.autokick == OUTSIDE


def test_what_was_done_lately(world: World, looking: Looking, lately: None) -> None:
    world.manifest("yt-one", Hours(source=2.0))
    world.manifest("yt-two", Hours(source=1.0), language="de")
    done = looking(world).look().done
    assert (done.hour_episodes, done.hour_hours, done.day_hours) == (2, 3.0, 3.0)


def test_the_second_look_reads_nothing_again(
    s3_server: S3Server, wanted: Callable[..., Settings], lately: None
) -> None:
    bucket = s3_server.fresh_bucket()
    world = World(open_store(s3_server.settings(bucket)))
    fill(world)
    with closing(Collector(world.store, world.layout, wanted(), autokick=lambda: OUTSIDE)) as collector:
        first = collector.look()
        before = s3_server.requests(bucket)
        second = collector.look()
        after = s3_server.requests(bucket)
        assert after["get"] == before["get"]
        assert after["list"] > before["list"]
        assert (second.done, second.failures) == (first.done, first.failures)
        world.manifest("yt-new", Hours(source=1.0))
        assert collector.look().done.episodes == first.done.episodes + 1
        # The listing of leases changes nothing; the new manifest is one read.
        assert s3_server.requests(bucket)["get"] == before["get"] + 1


def test_leases_are_shown_with_the_expired_ones_in_front(world: World, looking: Looking) -> None:
    world.seed("yt-one")
    world.seed_process("yt-two")
    short = QueueSettings(_env_file=None, lease_seconds=0.5)
    lost = PrefixQueue(world.store, world.layout, "processing", ProcessTask, short).claim()
    held = world.queues["download"].claim()
    assert lost
    assert held
    time.sleep(0.7)
    overview = looking(world).look()
    assert [(lease.stage, lease.task, lease.expired) for lease in overview.leases] == [
        ("processing", "yt-two", True), ("download", "yt-one", False),
    ]  # fmt: skip
    (worker,) = overview.workers
    assert (worker.stages, worker.leases, worker.expired) == (("download", "processing"), 2, 1)
    assert overview.stages["processing"].expired == 1


@pytest.mark.parametrize(("price", "dollars"), [(None, None), (2.0, pytest.approx(32 / 3600 / 4 / 6.001 * 1000 * 2.0))])
def test_the_cost_is_reckoned_and_never_invented(
    full: World, looking: Looking, price: float | None, dollars: float | None
) -> None:
    cost = looking(full, gpu_price_per_hour=price, episodes_per_gpu=4).look().cost
    assert cost.gpu_hours == pytest.approx(32 / 3600 / 4)
    assert cost.dollars_per_1000 == dollars


def test_no_audio_costs_nothing() -> None:
    assert Cost.of({}, 0.0, sharers=1, price=3.0) == Cost()
    assert Cost.of({"a": 1.0}, 0.0, sharers=1, price=3.0).dollars_per_1000 is None


def test_a_damaged_manifest_is_counted_and_the_rest_is_read(full: World, looking: Looking) -> None:
    full.store.put("processed/en/yt-bad/manifest.json", b"{")
    overview = looking(full).look()
    assert (overview.unread, overview.done.episodes) == (1, 4)


def test_a_stopped_look_ends(full: World, looking: Looking) -> None:
    collector = looking(full)
    collector.stop()
    with pytest.raises(Preempted):
        collector.look()


def test_a_store_that_does_not_answer_is_an_error_and_the_next_look_goes_on(
    s3_server: S3Server, wanted: Callable[..., Settings]
) -> None:
    bucket = s3_server.fresh_bucket()
    world = World(open_store(s3_server.settings(bucket), attempts=1))
    fill(world)
    with closing(Collector(world.store, world.layout, wanted(), autokick=lambda: OUTSIDE)) as collector:
        s3_server.arm("error", match=bucket, method="GET", skip=12)
        with pytest.raises(StoreError):
            collector.look()
        assert collector.look().done.episodes == 4


def test_a_look_that_broke_off_leaves_nothing_behind(full: World, looking: Looking) -> None:
    """Failures seen by a broken look and revived since must not count in the next one."""
    collector = looking(full)
    collector.look()
    listing = full.store.pages

    def broken(prefix: str, *, after: str | None = None) -> Any:
        if prefix == full.layout.queue_prefix("upload", "todo"):
            raise StoreError("the store did not answer")
        return listing(prefix, after=after)

    full.store.pages = broken  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        collector.look()
    del full.store.pages  # type: ignore[attr-defined]
    for record in list(full.queues["download"].dead()):
        assert full.queues["download"].revive(record.id)
    assert [(one.stage, one.reason) for one in collector.look().failures] == [("processing", "corrupt")]


def test_what_a_broken_look_has_read_is_not_read_again(
    s3_server: S3Server, wanted: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved.save, "__kwdefaults__", {"worth": 1})
    bucket = s3_server.fresh_bucket()
    world = World(open_store(s3_server.settings(bucket), attempts=1))
    world.fail("download", "yt-gone", "gone")
    world.manifest("yt-one", Hours(source=1.0))
    with closing(Collector(world.store, world.layout, wanted(), autokick=lambda: OUTSIDE)) as collector:
        s3_server.arm("error", match=f"{bucket}/processed", method="GET", times=1)
        with pytest.raises(StoreError):
            collector.look()
    before = s3_server.requests(bucket)["get"]
    with closing(Collector(world.store, world.layout, wanted(), autokick=lambda: OUTSIDE)) as other:
        assert (other.look().failures[0].count, other.look().done.episodes) == (1, 1)
    # The tally and the manifest; not the failure, which the broken look had read.
    assert s3_server.requests(bucket)["get"] == before + 2


def test_everything_goes_into_json(full: World, looking: Looking) -> None:
    full.queues["download"].claim()
    told = json.loads(json.dumps(looking(full).look().to_json()))
    assert told["stages"]["download"]["failed"] == 2
    assert told["autokick"]["state"] == "outside"
    assert told["leases"][0]["stage"] == "download"
    assert set(told) == set(Overview.__dataclass_fields__)


def test_the_tally_of_many_is_saved_for_the_next_one(
    world: World, looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved.save, "__kwdefaults__", {"worth": 3})
    for number in range(4):
        world.manifest(f"yt-{number}", Hours(source=1.0))
    looking(world).look()
    assert world.store.head(world.layout.tally())
    # Damaged behind its back: the next one does not read it, for it is in the tally.
    world.store.put(world.layout.manifest("en", "yt-0"), b"{")
    overview = looking(world).look()
    assert (overview.done.episodes, overview.unread) == (4, 0)
