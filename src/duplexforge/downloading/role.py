"""Download one item: fetch it, see what it is, send the audio, commit its record.

The record, created if absent, is the commit. Audio goes to its plain key when that is free or already holds the same
bytes, else to a key with the attempt's name in it, so nothing an attempt writes can alter what a committed record
names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from duplexforge import storage
from duplexforge.config import DownloadSettings
from duplexforge.downloading.audio import extract, probe
from duplexforge.downloading.fetch import fetch_item
from duplexforge.downloading.identity import source_word
from duplexforge.downloading.item import Item
from duplexforge.downloading.watch import never
from duplexforge.errors import DuplexforgeError, InputError, RetryLater
from duplexforge.layout import Layout, language_subtag, safe_name
from duplexforge.records import AudioRecord, DownloadTask, FileEntry, now
from duplexforge.storage import Store
from duplexforge.worker import Progress


class DownloadStep:
    """``worker.Step`` of the download role."""

    def __init__(self, store: Store, layout: Layout, settings: DownloadSettings) -> None:
        self._store, self._layout, self._settings = store, layout, settings
        self._stopping: Callable[[], bool] = never

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """Ask ``stopping`` between the blocks of a download (a worker's ``stopping.is_set``): a task whose download was
        broken off goes back uncounted, where one that is killed after the grace time would count as failed."""
        self._stopping = stopping

    def done(self, task: DownloadTask) -> bool:
        """Whether the episode's record exists."""
        return committed(self._store, self._layout, task)

    def fetch(self, task: DownloadTask, folder: Path) -> Item:
        """Bring the item to ``folder``. InputError or RetryLater when it cannot be had."""
        episode_of(task)
        return fetch_item(task, folder, self._settings, stopping=self._stopping)

    def work(self, task: DownloadTask, fetched: Item, attempt: str, progress: Progress) -> dict[str, Any]:
        """Send the audio and commit its record. Returns bytes, seconds and extension for the task's record."""
        path, extension, seconds = _as_audio(fetched, progress)
        entry = storage.file_entry(path, path.name)
        progress.beat("upload")
        key, own = self._send(path, entry, task=task, extension=extension, attempt=attempt)
        try:
            progress.check_lease()
        except DuplexforgeError:
            self._drop(own)
            raise
        record = self._record(task, fetched, entry, key=key, seconds=seconds)
        # An error of this call leaves open whether the record is there, so only a clear "no" lets the audio go.
        if not self._store.put_if_absent(record_key(self._layout, task), record.to_bytes()):
            self._drop(own)
            return {"outcome": "committed by another attempt"}
        return {"bytes": entry.size, "seconds": seconds, "extension": extension}

    def _send(
        self, path: Path, entry: FileEntry, *, task: DownloadTask, extension: str, attempt: str
    ) -> tuple[str, str | None]:
        """Send the audio; its key, and the same key again when no other attempt can ever name it."""
        place = (language_subtag(task.language), _source(task), episode_of(task), extension)
        plain = self._layout.raw_audio(*place)
        # Larger files go in parts, which cannot be create-if-absent.
        small = entry.size <= storage.SINGLE_PUT_LIMIT
        if small and (self._store.upload(path, plain, absent=True) or self._holds(plain, entry, path.parent)):
            return plain, None
        own = self._layout.raw_audio(*place, nonce=attempt)
        self._store.upload(path, own)
        return own, own

    def _holds(self, key: str, entry: FileEntry, folder: Path) -> bool:
        """Whether ``key`` holds these very bytes: what an attempt that died after its upload left."""
        meta = self._store.head(key)
        if meta is None or meta.size != entry.size:
            return False
        try:
            return self._store.download(key, folder / "there") == entry.sha256
        except FileNotFoundError:
            return False

    def _drop(self, own: str | None) -> None:
        if own is not None:
            self._store.delete(own)

    def _record(
        self, task: DownloadTask, item: Item, entry: FileEntry, *, key: str, seconds: float | None
    ) -> AudioRecord:
        meta = self._store.head(key)
        if meta is None or meta.size != entry.size:
            raise RetryLater(f"{key} is not in the store as it was sent", reason="store")
        return AudioRecord(
            episode_id=episode_of(task),
            language=language_subtag(task.language),
            source=_source(task),
            audio_key=key,
            url=task.url,
            title=task.title or item.title,
            uploader=task.uploader or item.uploader,
            licence=task.licence or item.licence,
            published=task.published or item.published,
            duration=seconds,
            etag=meta.etag,
            sha256=entry.sha256,
            size=entry.size,
            collected_at=now(),
        )


def _as_audio(item: Item, progress: Progress) -> tuple[Path, str, float | None]:
    """The item as an audio file: path, extension, seconds (None when it cannot be told).

    A file that claims to be audio and cannot be opened is kept as it is: the processing role rejects it, once.
    """
    found = probe(item.path)
    if found is None:
        if item.extension is None:
            raise InputError("what the address holds is nothing that can be played", reason="not_audio")
        return item.path, item.extension, None
    if found.extension is not None:
        return item.path, item.extension or found.extension, found.seconds
    if not found.has_audio:
        raise InputError("it is a video without sound", reason="not_audio")
    target = item.path.with_name("audio.m4a")
    extract(item.path, target, lambda: progress.beat("taking the audio out"))
    taken = probe(target)
    return target, "m4a", taken.seconds if taken else None


def _source(task: DownloadTask) -> str:
    # A body may have been written by hand; a word that is not fit for a key is made so, the same each time.
    return source_word(task.source, "web")


def episode_of(task: DownloadTask) -> str:
    """The episode id of a task; InputError(``bad_record``) when it cannot stand in an object key."""
    try:
        return safe_name(task.episode_id or task.id)
    except ValueError as error:
        raise InputError(f"the task's episode_id: {error}", reason="bad_record") from error


def record_key(layout: Layout, task: DownloadTask) -> str:
    """The key of the record that makes ``task`` done."""
    return layout.raw_record(task.language, _source(task), episode_of(task))


def committed(store: Store, layout: Layout, task: DownloadTask) -> bool:
    """Whether the episode of ``task`` has a record: what makes the task done, whoever wrote it."""
    try:
        key = record_key(layout, task)
    except InputError:  # a sweep asks this of every failed task, also of one that failed for its id
        return False
    return store.head(key) is not None
