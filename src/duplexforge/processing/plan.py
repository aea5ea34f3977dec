"""What work there is for the processing role: committed raw episodes, and audio that was put there by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from duplexforge.errors import InputError
from duplexforge.layout import Layout, audio_extension, hashed_id, language_subtag, safe_name
from duplexforge.queues.base import TaskQueue
from duplexforge.records import AudioRecord, ProcessTask, now, parse
from duplexforge.storage import ObjectMeta, Store

_THREADS = 16
_SHOWN = 20
# The key of an attempt that could not have the plain one: <episode>.a<attempt>-<nonce>.<ext>.
_ATTEMPT = re.compile(r"\.a\d+-[0-9A-Za-z]{6,64}$")
_OURS = re.compile(r"(?:file|pod|url)-[0-9a-f]{16}|yt-[A-Za-z0-9_-]{11}")


@dataclass
class ProcessPlan:
    """The outcome of a scan of the raw audio.

    ``found`` episodes of which ``added`` were new to the queue (with ``dry_run``: would be offered to it), ``known``
    were in it and ``duplicates`` (key, id) carry the id of another one. ``uncommitted`` audio objects belong to
    downloads that are running or died. ``refused`` (key, why) could not become tasks.
    """

    found: int = 0
    added: int = 0
    known: int = 0
    uncommitted: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return asdict(self)

    def to_text(self) -> str:
        """The outcome for people."""
        verb = "would be offered to the queue (dry run)" if self.dry_run else "added"
        lines = [f"{self.found} raw episodes found: {self.added} {verb}, {self.known} known"]
        if self.uncommitted:
            lines.append(f"{self.uncommitted} audio objects of downloads that have not finished were left alone")
        lines += [f"left out: {key} has the id of another one, rename it" for key, _ in self.duplicates[:_SHOWN]]
        lines += [f"refused: {key}: {why}" for key, why in self.refused[:_SHOWN]]
        return "\n".join(lines)


def seed_processing(
    store: Store,
    layout: Layout,
    queue: TaskQueue[ProcessTask] | None,
    *,
    attempt_limit: int = 3,
    dry_run: bool = False,
) -> ProcessPlan:
    """Put every raw episode into ``queue``, in a stream; running it again adds only what is new.

    An episode is a record, or an audio object without one. The id of the latter is its file name without extension, so
    two such files of one name are one episode too many and reported. ``dry_run`` touches no queue (which may be None
    then).
    """
    scan = _Scan(store, layout, ProcessPlan(dry_run=dry_run))
    fields = {"attempt_limit": attempt_limit, "enqueued_at": now()}
    tasks = (task.model_copy(update=fields) for task in scan.tasks())
    if dry_run or queue is None:
        scan.plan.added = sum(1 for _ in tasks)
        return scan.plan
    scan.plan.added = queue.put_many(tasks)
    scan.plan.known = scan.plan.found - scan.plan.added - len(scan.plan.duplicates)
    return scan.plan


class Left(Enum):
    """Why an audio object gets no task of its own."""

    RECORDED = "a record speaks for it"
    UNCOMMITTED = "its download has not finished"


class _Scan:
    """One pass over the raw prefix, a page of keys at a time."""

    def __init__(self, store: Store, layout: Layout, plan: ProcessPlan) -> None:
        self._store, self._layout, self.plan = store, layout, plan

    def tasks(self) -> Iterator[ProcessTask]:
        """A task per episode, each id once."""
        seen: set[str] = set()
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for page in self._store.pages(self._layout.raw):
                yield from self._unique(self._page(page, pool), seen)

    def _unique(self, tasks: Iterator[tuple[str, ProcessTask]], seen: set[str]) -> Iterator[ProcessTask]:
        for key, task in tasks:
            self.plan.found += 1
            if task.id in seen:
                self.plan.duplicates.append((key, task.id))
                continue
            seen.add(task.id)
            yield task

    def _page(self, page: list[ObjectMeta], pool: ThreadPoolExecutor) -> Iterator[tuple[str, ProcessTask]]:
        records = [meta.key for meta in page if meta.key.endswith(".json")]
        audio = [meta for meta in page if audio_extension(meta.key)]
        read = dict(zip(records, pool.map(self._record, records), strict=True))
        for key, record in read.items():
            if isinstance(record, AudioRecord):
                yield from self._recorded(key, record)
        # A record may stand on another page than its audio; then it is read once more.
        for task in pool.map(lambda meta: self._bare(meta, read), audio):
            if isinstance(task, ProcessTask):
                yield task.audio_key, task
            else:
                self.plan.uncommitted += task is Left.UNCOMMITTED
        self._refuse_broken(read, audio)

    def _record(self, key: str) -> AudioRecord | InputError | None:
        """The record at ``key``, why it is none, or None when there is nothing."""
        body = self._store.find(key)
        if body is None:
            return None
        try:
            return parse(AudioRecord, body, key)
        except InputError as error:
            return error

    def _recorded(self, key: str, record: AudioRecord) -> Iterator[tuple[str, ProcessTask]]:
        try:
            episode = safe_name(record.episode_id)
        except ValueError as error:
            self.plan.refused.append((key, str(error)))
            return
        yield (
            key,
            ProcessTask(
                id=episode,
                episode_id=episode,
                language=language_subtag(record.language),
                audio_key=record.audio_key,
                etag=record.etag,
                record_key=key,
            ),
        )

    def _bare(self, meta: ObjectMeta, read: dict[str, AudioRecord | InputError | None]) -> ProcessTask | Left:
        """The task of an audio object that no record speaks for, or why it gets none."""
        folder, _, name = meta.key.rpartition("/")
        stem = name.rsplit(".", 1)[0]
        episode = _ATTEMPT.sub("", stem)
        key = f"{folder}/{episode}.json"
        record = read[key] if key in read else self._record(key)
        if _speaks(record):
            return Left.RECORDED
        if episode != stem:
            return Left.UNCOMMITTED
        if _OURS.fullmatch(stem):
            if self._downloading(stem):
                return Left.UNCOMMITTED
            # A download removes its task after its commit: without a task the record is there by now, or never will be.
            if _speaks(self._record(key)):
                return Left.RECORDED
        return self._bare_task(meta, stem)

    def _bare_task(self, meta: ObjectMeta, stem: str) -> ProcessTask:
        parts = meta.key.removeprefix(self._layout.raw).split("/")
        try:
            episode = safe_name(stem)
        except ValueError:
            episode = hashed_id("raw", meta.key)
        language = language_subtag(parts[0]) if len(parts) > 1 else language_subtag(None)
        return ProcessTask(id=episode, episode_id=episode, language=language, audio_key=meta.key, etag=meta.etag)

    def _downloading(self, episode: str) -> bool:
        """Whether a download of the episode waits, runs or was given up; a revived one will commit a record."""
        keys = (self._layout.todo, self._layout.failed)
        return any(self._store.head(key("download", episode)) is not None for key in keys)

    def _refuse_broken(self, read: dict[str, AudioRecord | InputError | None], audio: list[ObjectMeta]) -> None:
        """Report records that are none, but not the notes that other programs keep beside the audio they belong to."""
        stems = {f"{meta.key.rsplit('.', 1)[0]}.json" for meta in audio}
        for key, record in read.items():
            if isinstance(record, InputError) and (key not in stems or record.reason == "newer_version"):
                self.plan.refused.append((key, str(record)))


def _speaks(record: AudioRecord | InputError | None) -> bool:
    """Whether a record stands for its audio: a readable one, or one of a newer program, which is never guessed at."""
    return isinstance(record, AudioRecord) or (isinstance(record, InputError) and record.reason == "newer_version")
