"""What becomes a processing task: records, audio put there by hand, and nothing that a download left half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duplexforge import storage
from duplexforge.config import QueueSettings, StoreSettings
from duplexforge.layout import Layout, safe_name
from duplexforge.processing.plan import ProcessPlan, seed_processing
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import AudioRecord, DownloadTask, ProcessTask
from duplexforge.storage import Store, open_store

LAYOUT = Layout()
FILE = "file-0123456789abcdef"


class Raw:
    """A store with raw audio, its processing queue and its download queue."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(StoreSettings(store_url=f"file://{folder}"))
        self.queue = PrefixQueue(self.store, LAYOUT, "processing", ProcessTask, QueueSettings())
        self.downloads = PrefixQueue(self.store, LAYOUT, "download", DownloadTask, QueueSettings())

    def commit(self, episode: str, *, language: str = "en", key: str | None = None, **changes: Any) -> str:
        """Write a record and its audio; the record's key."""
        audio = LAYOUT.raw_audio(language, "src", episode, "mp3")
        body = {
            "episode_id": episode, "language": language, "source": "src", "audio_key": audio, "url": "https://a.example/1",
            "etag": "e", "sha256": "0" * 64, "size": 1, "collected_at": "2026-01-01T00:00:00+00:00", **changes,
        }  # fmt: skip
        where = key or LAYOUT.raw_record(language, "src", episode)
        self.store.put(str(body["audio_key"]), b"a")
        self.store.put(where, AudioRecord(**body).to_bytes())
        return where

    def seed(self) -> ProcessPlan:
        """Scan and queue."""
        return seed_processing(self.store, LAYOUT, self.queue)

    def tasks(self) -> dict[str, ProcessTask]:
        """All waiting tasks by id."""
        keys = [meta.key for meta in self.store.list(LAYOUT.queue_prefix("processing", "todo"))]
        found = [ProcessTask.model_validate(json.loads(self.store.get(key))) for key in keys]
        return {task.id: task for task in found}


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    """An empty store."""
    return Raw(tmp_path / "store")


def test_a_record_becomes_a_task(raw: Raw) -> None:
    key = raw.commit("yt-abc", language="de")
    assert raw.seed().added == 1
    task = raw.tasks()["yt-abc"]
    assert (task.episode_id, task.language, task.etag) == ("yt-abc", "de", "e")
    assert (task.audio_key, task.record_key) == ("raw_audio/de/src/yt-abc.mp3", key)


def test_the_record_says_where_the_audio_is(raw: Raw) -> None:
    own = LAYOUT.raw_audio("en", "src", FILE, "mp3", nonce="a2-beef0000")
    raw.store.put(LAYOUT.raw_audio("en", "src", FILE, "mp3"), b"of an attempt that died")
    raw.commit(FILE, audio_key=own)
    plan = raw.seed()
    assert (plan.added, plan.uncommitted) == (1, 0)
    assert raw.tasks()[FILE].audio_key == own


def test_seeding_again_adds_nothing(raw: Raw) -> None:
    for number in range(20):
        raw.commit(f"ep-{number}")
    raw.store.put("raw_audio/en/mine/talk.wav", b"a")
    assert raw.seed().added == 21
    again = raw.seed()
    assert (again.found, again.added, again.known) == (21, 0, 21)


@pytest.mark.parametrize(
    ("key", "language", "episode"),
    [
        ("raw_audio/en-US/mine/My_Talk.MP3", "en", "My_Talk"),
        ("raw_audio/eng/mine/deep/er/talk.flac", "en", "talk"),
        ("raw_audio/nonsense/mine/talk.ogg", "unknown", "talk"),
        ("raw_audio/talk.opus", "unknown", "talk"),
        (f"raw_audio/en/mine/{FILE}.mp3", "en", FILE),
        ("raw_audio/en/mine/a talk, with 🎙.mp3", "en", None),
        ("raw_audio/en/mine/a..b.mp3", "en", None),
    ],
)
def test_audio_put_there_by_hand(raw: Raw, key: str, language: str, episode: str | None) -> None:
    raw.store.put(key, b"audio")
    assert raw.seed().added == 1
    (task,) = raw.tasks().values()
    assert task.language == language
    assert task.record_key is None
    assert raw.store.get(task.audio_key) == b"audio"
    assert safe_name(task.id) == task.id == task.episode_id
    assert task.id == episode or (episode is None and task.id.startswith("raw-"))


def test_notes_beside_audio_are_no_records(raw: Raw) -> None:
    raw.store.put("raw_audio/en/mine/talk.mp3", b"a")
    raw.store.put("raw_audio/en/mine/talk.json", b'{"title": "written by another program"}')
    raw.store.put("raw_audio/en/mine/alone.json", b"oops")
    raw.store.put("raw_audio/en/mine/readme.txt", b"hello")
    plan = raw.seed()
    assert list(raw.tasks()) == ["talk"]
    assert [key for key, _ in plan.refused] == ["raw_audio/en/mine/alone.json"]


def test_a_newer_record_is_left_to_a_newer_program(raw: Raw) -> None:
    raw.commit("ep-1", version=99)
    plan = raw.seed()
    assert raw.tasks() == {}
    assert "version 99" in plan.refused[0][1]


def test_what_downloads_left_half_done_is_left_alone(raw: Raw) -> None:
    raw.store.put(LAYOUT.raw_audio("en", "src", FILE, "mp3"), b"uploaded, not committed")
    raw.store.put(LAYOUT.raw_audio("en", "src", "pod-0123456789abcdef", "mp3", nonce="a1-beef0000"), b"no commit ever")
    raw.downloads.put(DownloadTask(id=FILE, episode_id=FILE, url="https://a.example/1"))
    plan = raw.seed()
    assert (plan.found, plan.uncommitted) == (0, 2)


@pytest.mark.parametrize(
    "keys",
    [
        ("raw_audio/en/a/talk.mp3", "raw_audio/en/b/talk.mp3"),
        ("raw_audio/en/a/talk.mp3", "raw_audio/en/a/talk.wav"),
        ("raw_audio/de/a/talk.mp3", "raw_audio/en/a/talk.mp3"),
    ],
)
def test_two_of_one_name_are_reported(raw: Raw, keys: tuple[str, str]) -> None:
    for key in keys:
        raw.store.put(key, b"a")
    plan = raw.seed()
    assert (plan.found, plan.added) == (2, 1)
    assert plan.duplicates == [(keys[1], "talk")]
    assert keys[1] in plan.to_text()


@pytest.mark.parametrize("episode", ["../evil", "a b", ""])
def test_ids_that_fit_no_key_are_refused(raw: Raw, episode: str) -> None:
    raw.commit("ep-1", key="raw_audio/en/src/x.json", audio_key="raw_audio/en/src/x.mp3", **{"episode_id": episode})
    plan = raw.seed()
    assert plan.added == 0
    assert len(plan.refused) == 1


def test_records_and_audio_may_stand_on_different_pages(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAGE", 3)
    for number in range(7):
        raw.commit(f"ep-{number}")
        raw.store.put(f"raw_audio/en/src/bare-{number}.wav", b"a")
    plan = raw.seed()
    assert (plan.found, plan.added) == (14, 14)
    assert sum(task.record_key is None for task in raw.tasks().values()) == 7


def test_a_dry_run_leaves_the_queue_alone(raw: Raw) -> None:
    raw.commit("ep-1")
    plan = seed_processing(raw.store, LAYOUT, raw.queue, dry_run=True)
    assert (plan.found, plan.added) == (1, 1)
    assert raw.tasks() == {}
    assert seed_processing(raw.store, LAYOUT, None, dry_run=True).to_json() == plan.to_json()
    assert json.loads(json.dumps(plan.to_json()))["dry_run"] is True


def test_an_empty_store_has_no_work(raw: Raw) -> None:
    assert raw.seed().to_text() == "0 raw episodes found: 0 added, 0 known"
