"""Publish batches: build a shard, send it, commit it with others, write its ledger entry, bring the card up to date.

The ledger entry, created if absent, is the commit of this role. Publishing before it is safe because a repeated attempt
builds the same bytes and finds them there: an attempt that was killed after its commit only writes the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from duplexforge import log
from duplexforge.errors import InputError, RetryLater, Throttled
from duplexforge.layout import Layout
from duplexforge.records import LedgerEntry, UploadTask, now
from duplexforge.storage import Store
from duplexforge.uploading.card import render_all
from duplexforge.uploading.committer import Committer
from duplexforge.uploading.ledger import Batch, BatchId, Ledger, batch_id, live_batch, purged_ids
from duplexforge.uploading.shard import Beat, build
from duplexforge.uploading.target import Card, Sent, Target, silent
from duplexforge.uploading.turns import LENGTH, Turns
from duplexforge.worker import Progress


class Fetched(NamedTuple):
    """A batch definition without what was purged, and the folder in which its shard is built."""

    batch: Batch
    folder: Path


class UploadStep:
    """``worker.Step`` of the upload role. ``lanes`` shards are under way at once and share their commits."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        target: Target,
        *,
        lanes: int = 1,
        most: int = 50,
        wait_seconds: float = 0.0,
        turn_seconds: float = LENGTH,
    ) -> None:
        self._store, self._layout, self._target = store, layout, target
        self._ledger = Ledger(store, layout)
        self.lanes = lanes
        turns = Turns(store, layout, target.name, length=turn_seconds)
        self._committer: Committer[Sent, bool] = Committer(
            self._commit, turns.taken, lanes=lanes, most=most, wait_seconds=wait_seconds
        )

    def done(self, task: UploadTask) -> bool:
        """Whether the batch has a ledger entry."""
        try:
            batch = batch_id(self._layout, task.batch_key)
        except InputError:  # fetch says what is wrong with it
            return False
        return self._store.head(self._layout.ledger(str(batch))) is not None

    def fetch(self, task: UploadTask, folder: Path) -> Fetched:
        """Read the definition. The audio follows in ``work``, where progress can be shown."""
        return Fetched(live_batch(self._store, self._layout, batch_id(self._layout, task.batch_key)), folder)

    def work(
        self,
        task: UploadTask,  # noqa: ARG002
        fetched: Fetched,
        attempt: str,  # noqa: ARG002 - what is published must not depend on the attempt
        progress: Progress,
    ) -> dict[str, Any]:
        """Build, publish, write the ledger. Returns shard, samples and hours for the task's record."""
        with self._committer.lane():
            shard = build(self._store, fetched.batch, fetched.folder, beat=progress.beat)
            progress.check_lease()
            sent = self._target.send(shard, progress.beat)
            won = self._committer.publish(sent, progress)
        if not won:
            return {"outcome": "published by another attempt"}
        entry = shard.record
        hours = round(entry.hours.published, 4)
        return {"shard": entry.shard, "samples": entry.samples, "hours": hours, "sha256": entry.sha256}

    # -- a commit, made by one lane for all that wait ----------------------------------------------------------------

    def _commit(self, group: Sequence[Sent], beat: Beat) -> list[bool | Exception]:
        """Publish a group and write its ledger entries; whether each was the first of its batch, or what is wrong."""
        purged = purged_ids(self._store, self._layout)
        stale = [bool(purged.intersection(one.record.episodes)) for one in group]
        live = [one for one, old in zip(group, stale, strict=True) if not old]
        won = iter(self._publish(live, beat) if live else [])
        return [_purged(one) if old else next(won) for one, old in zip(group, stale, strict=True)]

    def _publish(self, group: Sequence[Sent], beat: Beat) -> list[bool]:
        shown: dict[str, bytes] = {}
        render = card_of(self._ledger, *(one.record for one in group))

        def card() -> dict[str, bytes]:
            nonlocal shown
            shown = render()
            return shown

        commit = self._target.commit(group, card, beat)
        change = {"target": self._target.name, "commit": commit, "published_at": now()}
        entries = [one.record.model_copy(update=change) for one in group]
        won = [self._store.put_if_absent(self._layout.ledger(one.batch), one.to_bytes()) for one in entries]
        self._refresh(shown, beat)
        return won

    def _refresh(self, shown: dict[str, bytes], beat: Beat) -> None:
        """Bring the card up to date when it is not what was just committed.

        Uploaders that publish at the same time do not see each other's entries; whoever writes the last one sees all.
        """
        card = card_of(self._ledger)
        if card() == shown:
            return
        try:
            self._target.refresh(card, beat)
        except RetryLater as error:
            log.get("upload").warning(
                "the shards are published, but the card may miss some until the next ones are", error=str(error)
            )


def _purged(sent: Sent) -> Throttled:
    return Throttled(f"an episode of {sent.record.batch} was purged, so its shard is built again", reason="purged")


def card_of(ledger: Ledger, *more: LedgerEntry) -> Card:
    """Renders the card from the ledger as it is when called, and from what is about to be in it."""
    # What is about to be there stands last: it replaces an older entry of its batch.
    return lambda: render_all([*ledger.entries(), *more])


def refresh_card(store: Store, layout: Layout, target: Target) -> None:
    """Bring the card of a data set up to date with the ledger."""
    target.refresh(card_of(Ledger(store, layout)))


def republish(store: Store, layout: Layout, target: Target, batches: Sequence[str], folder: Path) -> list[LedgerEntry]:
    """Build batches again in ``folder``, put them in the place of what is published in one commit, mend the ledger.

    The cure for damaged shards, and how purged episodes leave. ``target`` must have been opened with ``replace``.
    """
    ledger = Ledger(store, layout)
    with Turns(store, layout, target.name).taken(silent) as beat:
        sent = [_send_again(store, layout, target, BatchId.read(name), folder, beat) for name in batches]
        commit = target.commit(sent, card_of(ledger, *(one.record for one in sent)), beat)
        change = {"target": target.name, "commit": commit, "published_at": now()}
        entries = [one.record.model_copy(update=change) for one in sent]
        for entry in entries:
            store.put(layout.ledger(entry.batch), entry.to_bytes())
        target.refresh(card_of(ledger), beat)
    return entries


def _send_again(store: Store, layout: Layout, target: Target, batch: BatchId, folder: Path, beat: Beat) -> Sent:
    shard = build(store, live_batch(store, layout, batch), folder, beat=beat)
    sent = target.send(shard, beat)
    for path in (shard.tar, shard.parquet):  # one shard at a time on this disk
        path.unlink(missing_ok=True)
    return sent
