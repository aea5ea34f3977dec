"""Episodes of a store and of the pipeline's own folders: what is given, what is refused, in which order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.converting.episode import Episode, Unreadable, video_id, web_address
from duplexforge.converting.processed import PipelineFolder, StoreSource
from tests.unit.converting import made

SOUND = {"event": "laughter", "label": "Giggle", "start": 3.75, "end": 4.0, "score": 0.5}


def test_episodes_come_whole_and_in_order_of_their_ids() -> None:
    store = made.memory()
    for name, language in (("yt-zzzzzzzzzzz", "en"), ("file-a", "de"), ("pod-b", "en")):
        made.commit(store, name, [made.segment(name, n) for n in range(3)], language=language, seconds=61.25)
    made.commit(store, "empty", [], outcome="no_speech")
    source = StoreSource(store, made.LAYOUT)
    found = [one for one in source.episodes() if isinstance(one, Episode)]
    assert [one.episode_id for one in found] == ["empty", "file-a", "pod-b", "yt-zzzzzzzzzzz"]
    last = found[-1]
    assert (last.title, last.source, last.licence) == ("Title of yt-zzzzzzzzzzz", "feed", "CC-BY-4.0")
    assert (last.duration, last.listener, last.sounds) == (61.25, None, ())
    assert [(one.start, one.end, one.text) for one in last.speech] == [
        (0.0, 1.75, "words 0"), (2.0, 3.75, "words 1"), (4.0, 5.75, "words 2"),
    ]  # fmt: skip
    assert found[0].outcome == "no_speech"
    assert source.left_out == {}


def test_events_tell_who_listened_also_when_nothing_was_heard() -> None:
    store = made.memory()
    made.commit(store, "a", [made.segment("a", 0)], events=[SOUND])
    made.commit(store, "b", [made.segment("b", 0)], events=[])
    made.commit(store, "c", [made.segment("c", 0)])
    found = [one for one in StoreSource(store, made.LAYOUT).episodes() if isinstance(one, Episode)]
    assert [(one.listener, len(one.sounds)) for one in found] == [("ast", 1), ("ast", 0), (None, 0)]
    assert found[0].sounds[0].label == "Giggle"


def test_what_is_not_committed_and_what_was_purged_stays_out() -> None:
    store = made.memory()
    for name in ("a", "b"):
        made.commit(store, name, [made.segment(name, 0)])
    made.purge(store, "a")
    store.put("processed/en/c/a1-nonce/all_segments.json", b"[]")
    source = StoreSource(store, made.LAYOUT)
    assert [one.episode_id for one in source.episodes()] == ["b"]
    assert source.left_out == {"purged": 1, "not_committed": 1}


def test_more_episodes_than_are_read_at_a_time() -> None:
    store = made.memory()
    names = [f"file-{n:03d}" for n in range(150)]
    for name in reversed(names):
        made.commit(store, name, [made.segment(name, 0)])
    assert [one.episode_id for one in StoreSource(store, made.LAYOUT).episodes()] == names


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        ("processed/en/a/manifest.json", b"{", "bad_record"),
        ("processed/en/a/manifest.json", b'{"version": 99}', "newer_version"),
        ("processed/en/a/a1-nonce/all_segments.json", b"[]", "checksum"),
        ("processed/en/a/a1-nonce/events.json", b"[]", "checksum"),
        ("processed/en/a/a1-nonce/all_segments.json", None, "input_missing"),
    ],
)
def test_a_broken_episode_is_named_and_the_others_come(key: str, body: bytes | None, reason: str) -> None:
    store = made.memory()
    for name in ("a", "b"):
        made.commit(store, name, [made.segment(name, 0)], events=[SOUND])
    if body is None:
        store.delete(key)
    else:
        store.put(key, body)
    first, second = StoreSource(store, made.LAYOUT).episodes()
    assert isinstance(first, Unreadable)
    assert (first.episode_id, first.reason) == ("a", reason)
    assert isinstance(second, Episode)


@pytest.mark.parametrize(
    "change", [{"start": -1.0}, {"start": float("nan")}, {"text": 5}, {"speaker": None}, {"end": float("inf")}]
)
def test_segments_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    store = made.memory()
    made.commit(store, "a", [made.segment("a", 0, **change)])
    [one] = StoreSource(store, made.LAYOUT).episodes()
    assert isinstance(one, Unreadable)
    assert one.reason == "bad_record"
    assert "all_segments.json" in one.sentence


def test_a_manifest_that_counts_other_segments_is_refused() -> None:
    store = made.memory()
    made.commit(store, "a", [made.segment("a", 0)], segments=2)
    [one] = StoreSource(store, made.LAYOUT).episodes()
    assert isinstance(one, Unreadable)
    assert "1 segments, its manifest says 2" in one.sentence


def test_what_the_pipeline_alone_has_written(tmp_path: Path) -> None:
    for folder, name in (("b", "ep-b"), ("a", "ep-c")):
        (tmp_path / folder).mkdir()
        rows = [made.segment(name, 0, language="de"), made.segment(name, 1, language="de"), made.segment(name, 2)]
        (tmp_path / folder / "all_segments.json").write_text(json.dumps(rows))
    (tmp_path / "a" / "events.json").write_text(json.dumps([SOUND]))
    for folder, text in (("empty", "[]"), ("broken", "{")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "all_segments.json").write_text(text)
    found = list(PipelineFolder([tmp_path / name for name in ("a", "b", "empty", "broken")]).episodes())
    assert [one.episode_id for one in found] == ["broken", "empty", "ep-b", "ep-c"]
    assert isinstance(found[0], Unreadable)
    assert isinstance(found[3], Episode)
    assert (found[3].language, found[3].listener, len(found[3].sounds)) == ("de", "unknown", 1)
    assert isinstance(found[2], Episode)
    assert (found[2].listener, found[2].duration) == (None, None)


def test_ids_and_addresses_as_others_know_them() -> None:
    assert [video_id(name) for name in ("yt-dQw4w9WgXcQ", "pod-00", "file-yt-1")] == [
        "dQw4w9WgXcQ",
        "pod-00",
        "file-yt-1",
    ]
    assert web_address("https://example.org/a") == "https://example.org/a"
    assert web_address("file:///home/somebody/a.mp3") is web_address("/home/somebody") is web_address(None) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_episode_or_a_sentence(body: bytes) -> None:
    store = made.memory()
    store.put("processed/en/a/manifest.json", body)
    [one] = StoreSource(store, made.LAYOUT).episodes()
    assert isinstance(one, Unreadable)
    assert one.sentence
