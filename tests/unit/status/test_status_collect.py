"""Every number of a snapshot, and that whatever does not add up is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import World, segment

from duplexforge.config import StoreSettings
from duplexforge.errors import InputError, StoreError
from duplexforge.layout import Layout
from duplexforge.log import hide
from duplexforge.records import DownloadTask, Ended, Hours, UploadTask
from duplexforge.status import collect as module
from duplexforge.status.collect import collect
from duplexforge.status.snapshot import Difference, HoursAccount, Language, Model, Snapshot
from duplexforge.storage import Store, open_store


def look(world: World) -> Snapshot:
    return collect(world.store, world.layout, world.queues)


def found(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    return {one.what: one.examples for one in snapshot.differences}


def test_an_empty_store_is_accounted_for(world: World) -> None:
    snapshot = look(world)
    assert (snapshot.inputs, snapshot.accounted, snapshot.hours) == (0, True, HoursAccount())
    assert snapshot.real_time_factor is None
    assert snapshot.classes == ()
    assert snapshot.queues["download"].open == 0


def test_each_episode_is_in_one_class(full: World) -> None:
    snapshot = look(full)
    classes = {one.name: (one.episodes, round(one.hours, 6), one.unknown) for one in snapshot.classes}
    assert classes == {
        "ok": (2, 3.0, 0),
        "no_speech": (1, 3.0, 0),
        "too_short": (1, 0.001, 0),
        "failed_download": (2, 0.0, 2),
        "failed_processing": (1, 1.0, 0),
        "waiting_download": (1, 0.0, 1),
        "waiting_processing": (3, 3.499, 1),
    }
    assert next(iter(classes)) == "ok"
    assert snapshot.inputs == 11
    assert snapshot.accounted, snapshot.differences
    assert snapshot.count("ok") == 2
    assert snapshot.count("nothing of the kind") == 0


def test_hours_add_up_to_the_source(full: World) -> None:
    hours = look(full).hours
    assert hours.source == pytest.approx(10.5)
    assert hours.parts == pytest.approx(
        {"published": 2.0, "flagged": 0.5, "no_speech": 3.501, "failed": 1.0, "waiting": 3.499}
    )
    assert hours.difference == pytest.approx(0.0)
    assert hours.unknown == 4


def test_what_the_manifests_say_is_summed(full: World) -> None:
    snapshot = look(full)
    assert (snapshot.segments, snapshot.flagged, snapshot.speakers) == (3, 2, 3)
    assert snapshot.flags == {"low_mos": 2, "too_long": 1}
    assert list(snapshot.flags) == ["low_mos", "too_long"]
    assert snapshot.stage_seconds == {"standardize": 8.0, "transcribe": 24.0}
    assert snapshot.processed_hours == pytest.approx(6.001)
    assert snapshot.real_time_factor == pytest.approx(32 / (6.001 * 3600))
    assert snapshot.languages[1] == Language("de", 1, 1.0, 0.5)
    assert [one.name for one in snapshot.languages] == ["en", "de"]
    assert set(snapshot.models) == {
        Model("score", "dnsmos", 3),
        Model("transcribe", "pocketsphinx", 1),
        Model("transcribe", "whisper", 3),
        Model("model", "pocketsphinx 5", 1),
        Model("model", "whisper-medium 1.0", 3),
    }
    assert list(snapshot.configurations.values()) == [4]


def test_queues_and_failures(full: World) -> None:
    full.queues["upload"].put_many([])
    snapshot = look(full)
    download = snapshot.queues["download"]
    assert (download.waiting, download.running, download.completed, download.failed) == (1, 0, 5, 2)
    assert [(one.stage, one.reason, one.count) for one in snapshot.failures] == [
        ("download", "gone", 2),
        ("processing", "corrupt", 1),
    ]
    assert [(one.id, one.message) for one in snapshot.failures[0].examples] == [
        ("yt-gone", "the video is private"),
        ("yt-gone2", "no such video"),
    ]


def test_failures_of_other_stages_are_counted_but_are_no_episodes(world: World) -> None:
    world.queues["upload"].put(UploadTask(id="batch-1", batch_key="tasks/upload_batches/batch_1.jsonl"))
    world.end("upload", InputError("the hub refused the commit", reason="hub"))
    snapshot = look(world)
    assert [(one.stage, one.reason) for one in snapshot.failures] == [("upload", "hub")]
    assert snapshot.inputs == 0


def test_examples_are_few_and_short_and_hold_no_secret(world: World) -> None:
    hide("hunter22")
    for number in range(6):
        world.fail("download", f"yt-{number}", "the key hunter22 was refused " + "x" * 1000, reason="refused")
    (failure,) = look(world).failures
    assert failure.count == 6
    assert len(failure.examples) == 3
    message = failure.examples[0].message
    assert message.startswith("the key *** was refused")
    assert len(message) <= 401


def test_the_ledger(full: World) -> None:
    full.publish("000002", ["pod-two"], published_at="2026-02-01T00:00:00+00:00")
    full.publish("000003", ["yt-one"], target="/srv/voices", commit=None)
    local, hub = look(full).published
    assert (local.target, local.commit, local.batches) == ("/srv/voices", None, 1)
    assert (hub.target, hub.commit) == ("somebody/voices", "commit000002")
    assert (hub.batches, hub.episodes, hub.samples, hub.shards, hub.bytes) == (2, 2, 6, 2, 5_000_000)
    assert hub.hours == pytest.approx(1.0)
    assert look(full).unpublished == 0


def test_unpublished_counts_usable_episodes_only(full: World) -> None:
    assert look(full).unpublished == 1


def test_episodes_are_rows(full: World) -> None:
    rows = {one.id: one for one in look(full).episodes}
    assert len(rows) == 11
    assert (rows["yt-one"].title, rows["yt-one"].segments, rows["yt-one"].speakers) == ("First <b>talk</b>", 2, 2)
    assert (rows["yt-unseeded"].outcome, rows["yt-unseeded"].hours) == ("waiting_processing", 0.5)
    assert rows["yt-unseeded"].title == "Downloaded only"
    assert rows["yt-nolength"].hours is None
    assert (rows["yt-gone"].title, rows["yt-gone"].source) == ("Private", "web")


def test_only_the_first_rows_of_a_class_are_kept(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    snapshot = look(full)
    assert len(snapshot.episodes) == len(snapshot.classes) == 7
    assert snapshot.inputs == 11


def test_json(full: World) -> None:
    shown = json.loads(json.dumps(look(full).to_json(), allow_nan=False))
    assert (shown["inputs"], shown["accounted"]) == (11, True)
    assert shown["hours"]["source"] == pytest.approx(10.5)
    assert shown["queues"]["download"]["failed"] == 2
    assert shown["hours_difference"] == pytest.approx(0.0)


# -- places that disagree --------------------------------------------------------------------------------------------


def lost_by_processing(world: World) -> str:
    world.raw("yt-x", 0.25)
    world.seed_process("yt-x")
    world.end("processing")
    return "Processing is said to be completed, but there is no manifest"


def lost_by_download(world: World) -> str:
    world.seed("yt-x")
    world.end("download")
    return "The download is said to be completed, but there is no raw record"


def two_manifests(world: World) -> str:
    for language in ("en", "de"):
        world.manifest("yt-x", Hours(source=1.0, published=1.0), language=language)
    return "An episode has two manifests"


def two_downloads(world: World) -> str:
    world.raw("yt-x", 1.0)
    world.raw("yt-x", 1.0, language="de")
    return "An episode was downloaded twice, below two prefixes"


def bad_sum(world: World) -> str:
    world.manifest("yt-x", Hours(source=1.0, published=0.5))
    return "The hours of a manifest do not add up"


def negative_part(world: World) -> str:
    world.manifest("yt-x", Hours(source=1.0, published=1.5, no_speech=-0.5))
    return "The hours of a manifest do not add up"


def published_twice(world: World) -> str:
    world.manifest("yt-x", Hours(source=1.0, published=1.0), [segment("yt-x", 0)])
    world.publish("000001", ["yt-x"])
    world.publish("000002", ["yt-x"])
    return "An episode was published twice to the same place"


def published_from_nothing(world: World) -> str:
    world.publish("000001", ["yt-x"])
    return "An episode is published but has no manifest"


WRONG = [
    lost_by_processing,
    lost_by_download,
    two_manifests,
    two_downloads,
    bad_sum,
    negative_part,
    published_twice,
    published_from_nothing,
]


@pytest.mark.parametrize("break_it", WRONG, ids=lambda one: one.__name__)
def test_a_wrong_state_is_named(world: World, break_it: Callable[[World], str]) -> None:
    what = break_it(world)
    snapshot = look(world)
    assert not snapshot.accounted
    assert found(snapshot)[what] == ("yt-x",)
    assert snapshot.inputs <= 1


def test_hours_of_a_lost_episode_are_missing_from_the_parts(world: World) -> None:
    lost_by_processing(world)
    snapshot = look(world)
    assert snapshot.count("unaccounted") == 1
    assert snapshot.hours.source == pytest.approx(0.25)
    assert snapshot.hours.difference == pytest.approx(0.25)
    assert Difference("Hours of the source are in no part", 1, ("0.2500 h",)) in snapshot.differences


def test_differences_name_a_few_and_count_all(world: World) -> None:
    world.publish("000001", [f"yt-{number}" for number in range(9)])
    (difference,) = look(world).differences
    assert (difference.count, len(difference.examples)) == (9, 5)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("raw_audio/en/web/yt-x.json", "bad_record"),
        ("processed/en/yt-x/manifest.json", "bad_record"),
        ("tasks/upload_batches/batch_1.published.json", "bad_record"),
    ],
)
def test_a_damaged_record_is_named_and_the_rest_is_read(full: World, key: str, reason: str) -> None:
    full.store.put_if_absent(key, b"{ not json")
    snapshot = look(full)
    assert found(snapshot)[f"A record cannot be read ({reason})"] == (key,)
    assert snapshot.inputs == 11


def test_a_damaged_failure_is_named(world: World) -> None:
    key = world.layout.failed("download", "yt-x")
    world.store.put_if_absent(key, b"[]")
    (difference,) = look(world).differences
    assert difference.what == "The failed tasks of download cannot all be read"
    assert key in difference.examples[0]


def test_a_folder_that_is_no_episode(world: World) -> None:
    world.store.put_if_absent("processed/en/not an id/manifest.json", b"{}")
    (difference,) = look(world).differences
    assert difference.examples == ("processed/en/not an id/",)


def test_a_newer_record_is_refused_not_guessed_at(world: World) -> None:
    world.store.put_if_absent("processed/en/yt-x/manifest.json", b'{"version": 2}')
    assert "A record cannot be read (newer_version)" in found(look(world))


# -- states that look odd and are right ------------------------------------------------------------------------------


def test_a_manifest_outranks_what_the_queues_say(world: World) -> None:
    """A zombie that commits after its task was given up, and a worker between its commit and its ``complete``."""
    world.fail("processing", "yt-zombie", "the worker vanished", reason="expired")
    world.manifest("yt-zombie", Hours(source=1.0, published=1.0))
    world.seed_process("yt-late")
    world.manifest("yt-late", Hours(source=1.0, published=1.0))
    snapshot = look(world)
    assert snapshot.accounted, snapshot.differences
    assert [(one.name, one.episodes) for one in snapshot.classes] == [("ok", 2)]


def test_a_raw_record_outranks_a_failed_download(world: World) -> None:
    world.fail("download", "yt-x", "timed out")
    world.raw("yt-x", 1.0)
    snapshot = look(world)
    assert [one.name for one in snapshot.classes] == ["waiting_processing"]
    assert snapshot.hours.waiting == pytest.approx(1.0)


def test_a_failure_without_a_raw_record_takes_its_words_from_the_task(world: World) -> None:
    world.fail("processing", "yt-x", "the audio is not in the store", reason="input_missing")
    (row,) = look(world).episodes
    assert (row.id, row.outcome, row.language, row.hours) == ("yt-x", "failed_processing", "en", None)


def test_other_outcomes_are_classes_of_their_own(world: World) -> None:
    world.manifest("yt-x", Hours(source=1.0, no_speech=1.0), outcome="unsupported_language")
    world.manifest("yt-y", Hours(source=1.0, no_speech=1.0), outcome="no_speech")
    world.seed("yt-z")
    assert [one.name for one in look(world).classes] == ["no_speech", "unsupported_language", "waiting_download"]


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf")])
def test_a_length_that_is_none_is_unknown(world: World, duration: float) -> None:
    world.raw("yt-x", 1.0)
    key = world.layout.raw_record("en", "web", "yt-x")
    body = json.loads(world.store.get(key)) | {"duration": "@"}
    world.store.put(key, json.dumps(body).replace('"@"', json.dumps(duration)).encode())
    snapshot = look(world)
    assert (snapshot.hours.source, snapshot.hours.unknown, snapshot.inputs) == (0.0, 1, 1)


def test_tasks_by_hand_whose_name_is_not_the_episode(world: World) -> None:
    body = {"episode_id": "yt-hand", "language": "en", "audio_key": "raw_audio/en/web/yt-hand.mp3"}
    world.raw("yt-hand", 1.0)
    world.store.put_if_absent(world.layout.todo("processing", "monday-3"), json.dumps(body).encode())
    task = DownloadTask(id="video.17", url="https://example.org/17", episode_id="yt-seventeen")
    world.store.put_if_absent(world.layout.completed("download", "video.17"), Ended.of(task, "completed", 1).to_bytes())
    world.raw("yt-seventeen", 1.0)
    world.store.put_if_absent(world.layout.todo("processing", "scribble"), b"not a task")
    snapshot = look(world)
    assert snapshot.accounted, snapshot.differences
    assert sorted(one.id for one in snapshot.episodes) == ["scribble", "yt-hand", "yt-seventeen"]


def test_a_stage_without_a_queue_counts_as_empty(full: World) -> None:
    snapshot = collect(full.store, full.layout, {})
    assert snapshot.queues == {}
    assert snapshot.failures == ()
    assert snapshot.count("ok") == 2
    assert snapshot.count("waiting_processing") == 4  # the failed one has a raw record still


def test_a_running_task_is_waiting(world: World) -> None:
    world.seed("yt-x")
    lease = world.queues["download"].claim()
    assert lease is not None
    snapshot = look(world)
    assert (snapshot.queues["download"].running, snapshot.count("waiting_download")) == (1, 1)
    lease.release()


def done(world: World) -> list[Callable[[], Any]]:
    return [
        lambda: world.seed("yt-x"),
        lambda: world.raw("yt-x", 1.0),
        lambda: world.end("download"),
        lambda: world.seed_process("yt-x"),
        lambda: world.manifest("yt-x", Hours(source=1.0, published=1.0)),
        lambda: world.end("processing"),
        lambda: world.publish("000001", ["yt-x"]),
    ]


def download_fails(world: World) -> list[Callable[[], Any]]:
    return [lambda: world.seed("yt-x"), lambda: world.end("download", InputError("gone"))]


def processing_fails(world: World) -> list[Callable[[], Any]]:
    return [*done(world)[:4], lambda: world.end("processing", InputError("corrupt"))]


@pytest.mark.parametrize("life", [done, download_fails, processing_fails], ids=lambda one: one.__name__)
def test_an_episode_that_moves_while_it_is_read_is_counted_once(life: Callable[[World], Any]) -> None:
    """Whatever it did before and whatever it does between two listings of the reader, it is never lost or doubled."""
    length = len(life(World(open_store(StoreSettings(store_url="memory://")))))
    for before in range(1, length + 1):
        for more in range(length - before + 1):
            request = 0
            while moved_at(life, before, more, request):
                request += 1
            assert request > 5


def moved_at(life: Callable[[World], Any], before: int, more: int, request: int) -> bool:
    """Collect while ``more`` steps happen ahead of listing number ``request``; False when there were fewer listings."""
    world = World(open_store(StoreSettings(store_url="memory://")))
    steps = life(world)
    for step in steps[:before]:
        step()
    real = {name: getattr(world.store, name) for name in ("pages", "folders")}
    seen = 0

    def moving(name: str) -> Callable[..., Any]:
        def listing(prefix: str, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen - 1 == request:
                # The steps list the store too, which must not count.
                vars(world.store).update(real)
                for step in steps[before : before + more]:
                    step()
            return real[name](prefix, **options)

        return listing

    vars(world.store).update({name: moving(name) for name in real})
    snapshot = look(world)
    assert snapshot.inputs == 1, (before, more, request)
    assert snapshot.accounted, (before, more, request, snapshot.differences)
    return seen > request


def test_a_store_that_does_not_answer_is_an_error(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(key: str) -> bytes:
        raise StoreError("the store did not answer")

    monkeypatch.setattr(full.store, "find", broken)
    with pytest.raises(StoreError):
        look(full)


def test_other_prefixes(tmp_path: Path) -> None:
    store: Store = open_store(StoreSettings(store_url=f"file://{tmp_path}"))
    world = World(store, Layout(raw="a/raw/", processed="b/out/v2/", tasks="c/"))
    world.whole("yt-one", Hours(source=1.0, published=1.0), [segment("yt-one", 0)])
    world.publish("000001", ["yt-one"])
    snapshot = look(world)
    assert snapshot.accounted
    assert (snapshot.count("ok"), snapshot.published[0].samples) == (1, 3)
