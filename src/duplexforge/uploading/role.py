"""Publish one batch: build its shard, put it in the data set, write the ledger entry, bring the card up to date.

The ledger entry, created if absent, is the commit of this role. Publishing before it is safe because a repeated attempt
builds the same bytes and finds them there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from duplexforge import log
from duplexforge.errors import InputError, RetryLater
from duplexforge.layout import Layout
from duplexforge.records import LedgerEntry, UploadTask, now
from duplexforge.storage import Store
from duplexforge.uploading.card import render
from duplexforge.uploading.ledger import Batch, BatchId, Ledger, batch_id, read_batch
from duplexforge.uploading.shard import build
from duplexforge.uploading.target import Card, Target
from duplexforge.worker import Progress


class Fetched(NamedTuple):
    """A batch definition, and the folder in which its shard is built."""

    batch: Batch
    folder: Path


class UploadStep:
    """``worker.Step`` of the upload role."""

    def __init__(self, store: Store, layout: Layout, target: Target) -> None:
        self._store, self._layout, self._target = store, layout, target
        self._ledger = Ledger(store, layout)

    def done(self, task: UploadTask) -> bool:
        """Whether the batch has a ledger entry."""
        try:
            batch = batch_id(self._layout, task.batch_key)
        except InputError:  # fetch says what is wrong with it
            return False
        return self._store.head(self._layout.ledger(str(batch))) is not None

    def fetch(self, task: UploadTask, folder: Path) -> Fetched:
        """Read the definition. The audio follows in ``work``, where progress can be shown."""
        return Fetched(read_batch(self._store, self._layout, batch_id(self._layout, task.batch_key)), folder)

    def work(
        self,
        task: UploadTask,  # noqa: ARG002
        fetched: Fetched,
        attempt: str,  # noqa: ARG002 - what is published must not depend on the attempt
        progress: Progress,
    ) -> dict[str, Any]:
        """Build, publish, write the ledger. Returns shard, samples and hours for the task's record."""
        shard = build(self._store, fetched.batch, fetched.folder, beat=progress.beat)
        progress.check_lease()
        commit = self._target.publish(shard, card_of(self._ledger, shard.record), progress.beat)
        entry = shard.record.model_copy(update={"target": self._target.name, "commit": commit, "published_at": now()})
        won = self._store.put_if_absent(self._layout.ledger(entry.batch), entry.to_bytes())
        self._refresh(entry)
        if not won:
            return {"outcome": "published by another attempt"}
        hours = round(entry.hours.published, 4)
        return {"shard": entry.shard, "samples": entry.samples, "hours": hours, "sha256": entry.sha256}

    def _refresh(self, entry: LedgerEntry) -> None:
        # Uploaders that published at the same time did not see each other's entries; the last one now sees all of them.
        try:
            self._target.refresh(card_of(self._ledger))
        except RetryLater as error:
            log.get("upload").warning(
                "the batch is published, but the card may miss some batches until the next one is", batch=entry.batch,
                error=str(error),
            )  # fmt: skip


def card_of(ledger: Ledger, *more: LedgerEntry) -> Card:
    """Renders the card from the ledger as it is when called, and from what is about to be in it."""
    return lambda: render([*more, *ledger.entries()])


def refresh_card(store: Store, layout: Layout, target: Target) -> None:
    """Bring the card of a data set up to date with the ledger."""
    target.refresh(card_of(Ledger(store, layout)))


def republish(store: Store, layout: Layout, target: Target, batch: str, folder: Path) -> LedgerEntry:
    """Build a batch again in ``folder`` and put it in the place of what is published: the cure for a damaged shard.

    ``target`` must have been opened with ``replace``. The ledger entry is written anew.
    """
    shard = build(store, read_batch(store, layout, BatchId.read(batch)), folder)
    commit = target.publish(shard, card_of(Ledger(store, layout), shard.record), lambda _, __: None)
    entry = shard.record.model_copy(update={"target": target.name, "commit": commit, "published_at": now()})
    store.put(layout.ledger(batch), entry.to_bytes())
    refresh_card(store, layout, target)
    return entry
