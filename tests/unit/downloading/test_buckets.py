"""Buckets as sources, against the S3 server: what becomes a task, and that it can be fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from duplexforge.config import StoreSettings
from duplexforge.downloading.buckets import bucket_tasks, fetch_object
from duplexforge.downloading.entries import Said
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.watch import Watch
from duplexforge.errors import InputError, UsageError
from duplexforge.records import DownloadTask
from duplexforge.storage import Store, open_store
from tests.servers.s3_client import S3Server


@pytest.fixture
def settings(s3_server: S3Server) -> StoreSettings:
    """A deployment whose bucket is new."""
    return s3_server.settings(s3_server.fresh_bucket())


@pytest.fixture
def bucket(settings: StoreSettings) -> Store:
    """Its store with some audio."""
    store = open_store(settings)
    for name in (
        "in/a.mp3",
        "in/deep/b.FLAC",
        "in/notes.txt",
        "in/odd name & é.wav",
        "inner/c.mp3",
        "raw_audio/en/x/e.mp3",
    ):
        store.put(name, name.encode())
    return store


def read(url: str, settings: StoreSettings) -> tuple[list[DownloadTask], SeedReport]:
    """Tasks and notes."""
    notes = SeedReport()
    return list(bucket_tasks(url, settings, Said("de", "CC0"), notes)), notes


def test_audio_objects_become_tasks_that_can_be_fetched(settings: StoreSettings, bucket: Store, tmp_path: Path) -> None:
    where = settings.url
    tasks, notes = read(f"{where}/in/", settings)
    assert [task.title for task in tasks] == ["a.mp3", "b.FLAC", "odd name & é.wav"]
    assert [task.source for task in tasks] == ["in", "deep", "in"]
    assert dict(notes.skipped) == {".txt": 1}
    assert {(task.language, task.licence) for task in tasks} == {("de", "CC0")}
    for number, task in enumerate(tasks):
        (tmp_path / str(number)).mkdir()
        fetched = fetch_object(task.url, tmp_path / str(number), settings, Watch(1000))
        assert fetched.path.read_text().endswith(task.title or "")
    assert fetched.extension == "wav"


def test_an_object_keeps_its_id_until_it_is_another(settings: StoreSettings, bucket: Store) -> None:
    where = f"{settings.url}/in/a.mp3"
    ((first,), _), ((again,), _) = read(where, settings), read(where, settings)
    bucket.put("in/a.mp3", b"other bytes")
    ((changed,), _) = read(where, settings)
    assert first.id == again.id != changed.id


def test_another_bucket_of_the_same_service(settings: StoreSettings, bucket: Store, s3_server: S3Server) -> None:
    other = s3_server.settings(s3_server.fresh_bucket())
    open_store(other).put("raw_audio/x.mp3", b"x")
    tasks, _ = read(f"{other.url}/raw_audio", settings)
    assert [task.url for task in tasks] == [f"{other.url}/raw_audio/x.mp3"]


@pytest.mark.parametrize("path", ["/raw_audio", "/raw_audio/en/", "/raw_audio/en/x/e.mp3"])
def test_own_audio_is_sent_to_seed_process(settings: StoreSettings, bucket: Store, path: str) -> None:
    with pytest.raises(UsageError, match="seed process"):
        read(f"{settings.url}{path}", settings)


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://user:key@bucket/x", "s3://b?x=1/y"])
def test_an_address_without_a_bucket_is_said_so(settings: StoreSettings, url: str) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        read(url, settings)


def test_an_empty_prefix_is_said_so(settings: StoreSettings, bucket: Store) -> None:
    with pytest.raises(UsageError, match="no audio below"):
        read(f"{settings.url}/none/", settings)


def test_an_object_that_is_gone_or_too_large(settings: StoreSettings, bucket: Store, tmp_path: Path) -> None:
    for url, limit, reason in (
        (f"{settings.url}/in/none.mp3", 1000, "gone"),
        (f"{settings.url}/in/a.mp3", 3, "too_large"),
    ):
        with pytest.raises(InputError) as caught:
            fetch_object(url, tmp_path, settings, Watch(limit))
        assert caught.value.reason == reason
