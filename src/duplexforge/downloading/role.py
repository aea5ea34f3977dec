"""Download one item: wait for its turn, fetch it, see what it is, send the audio, commit its record.

The record, created if absent, is the commit. Audio goes to its plain key when that is free or already holds the same
bytes, else to a key with the attempt's name in it, so nothing an attempt writes can alter what a committed record
names. A feed task has no audio: its items are put into the queue (``expand``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from duplexforge import log, storage
from duplexforge.downloading.admission import Admission
from duplexforge.downloading.convert import as_audio
from duplexforge.downloading.expand import expand
from duplexforge.downloading.fetch import Ways, fetch_item, is_file, is_object, secrets_of
from duplexforge.downloading.identity import source_word, web_url
from duplexforge.downloading.item import Item
from duplexforge.downloading.pacing import Pacing
from duplexforge.downloading.public import public_url
from duplexforge.downloading.site_options import extractor_args
from duplexforge.downloading.turns import Turns
from duplexforge.downloading.watch import never
from duplexforge.errors import ConfigError, DuplexforgeError, InputError, RetryLater
from duplexforge.layout import Layout, language_subtag, safe_name
from duplexforge.queues.base import TaskQueue
from duplexforge.records import AudioRecord, DownloadTask, FileEntry, now
from duplexforge.storage import Store
from duplexforge.worker import Progress


class DownloadStep:
    """``worker.Step`` of the download role."""

    def __init__(self, store: Store, layout: Layout, ways: Ways, *, pacing: Pacing | None = None) -> None:
        """``pacing`` is the store's own unless a test gives another."""
        self._store, self._layout, self._ways = store, layout, ways
        settings = ways.settings
        extractor_args(settings.extractor_args)  # a wrong setting is told at the start, not at the first item
        for secret in secrets_of(settings):
            log.hide(secret)
        self._admission = Admission(store, layout, settings, ways.route)
        self._turns = Turns(pacing or Pacing(store, layout, settings.egress), settings)
        self._stopping: Callable[[], bool] = never
        self._queue: TaskQueue[DownloadTask] | None = None

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """Ask ``stopping`` between the blocks of a download (a worker's ``stopping.is_set``): a task whose download was
        broken off goes back uncounted, where one that is killed after the grace time would count as failed."""
        self._stopping = stopping

    def expand_into(self, queue: TaskQueue[DownloadTask]) -> None:
        """Put the items of feed tasks into ``queue``: the worker's own."""
        self._queue = queue

    def done(self, task: DownloadTask) -> bool:
        """Whether the episode's record exists; a feed is done when its task has ended."""
        return task.kind == "item" and committed(self._store, self._layout, task)

    def fetch(self, task: DownloadTask, folder: Path) -> Item | None:
        """Bring the item to ``folder`` when it is its turn; None for a feed. InputError or RetryLater when it cannot
        be had, Throttled when it must wait, SiteBroken when nothing of its site can."""
        episode_of(task)
        self._admission.before(task)
        if task.kind == "feed":
            return None
        if is_file(task) or is_object(task):
            return fetch_item(task, folder, self._ways, stopping=self._stopping)
        with self._turns.turn(web_url(task.url), task.id, self._stopping):
            self._admission.at_the_site(task)
            item = fetch_item(task, folder, self._ways, stopping=self._stopping)
        self._admission.after(task, item)
        return item

    def work(self, task: DownloadTask, fetched: Item | None, attempt: str, progress: Progress) -> dict[str, Any]:
        """Send the audio and commit its record. Returns bytes, seconds and extension for the task's record; for a feed
        what ``expand`` counts."""
        if fetched is None:
            return self._expand(task, progress)
        path, extension, seconds = as_audio(fetched, progress, self._ways.settings.audio_format)
        # Again, for what no site told before.
        self._ways.watch().lasts(seconds)
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

    def _expand(self, task: DownloadTask, progress: Progress) -> dict[str, Any]:
        if self._queue is None:
            raise ConfigError("this worker cannot expand feeds: it was given no queue to put their items into")
        progress.beat("expanding a feed")
        with self._turns.turn(web_url(task.url), task.id, self._stopping):
            return expand(
                task,
                self._queue,
                self._ways.settings,
                opt_out=self._admission.opt_out(),
                beat=lambda: progress.beat("expanding a feed"),
            )

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
            url=public_url(task.url),
            title=task.title or item.title,
            uploader=task.uploader or item.uploader,
            licence=task.licence or item.licence,
            published=task.published or item.published,
            extractor=item.extractor,
            video_id=task.video_id or item.video_id,
            page_url=item.page_url,
            duration=seconds,
            etag=meta.etag,
            sha256=entry.sha256,
            size=entry.size,
            collected_at=now(),
            origins=[public_url(url) for url in task.origins] if task.origins else None,
        )


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
