"""Take episodes out of a published data set for good: the shards that hold them are made again without them.

The order makes every crash harmless. First the record of the purge and the opt-out list say that the episode must not be
published, downloaded or seeded any more; from then on every shard is built without it. Then the shards that hold it are
built again from the manifests and replaced in one commit, then the audio goes when it should. Purging again finishes what
was left. Batch definitions stay as they are: a purge record is what is subtracted from them, and a shard that loses all
its samples stays as an empty one, so that the numbers of shards have no holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duplexforge import log
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import Layout, safe_name
from duplexforge.records import AudioRecord, Manifest, Purged, now, parse
from duplexforge.storage import Store
from duplexforge.uploading.ledger import Batch, Ledger, batches
from duplexforge.uploading.role import republish
from duplexforge.uploading.target import Target, silent
from duplexforge.uploading.turns import Turns


@dataclass
class PurgePlan:
    """What a purge did, or with ``dry_run`` would do.

    ``shards`` were made again; ``planned`` batches hold an episode and are not published; ``unknown`` episodes stand in
    no batch (they are kept out all the same); ``deleted`` counts objects of the store, ``kept`` names audio that is not ours.
    """

    episodes: list[str]
    shards: list[str] = field(default_factory=list)
    samples: int = 0
    planned: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    deleted: int = 0
    kept: list[str] = field(default_factory=list)
    commit: str | None = None
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plan for machines."""
        return dict(vars(self))

    def to_text(self) -> str:
        """The plan for people."""
        verb = ("would be", "would be") if self.dry_run else ("was", "were")
        lines = [
            f"{len(self.shards)} published shards {verb[1]} made again without {len(self.episodes)} episodes"
            + ("" if self.dry_run else f" ({self.samples} samples are gone)"),
            *(f"  {shard}" for shard in self.shards),
            *(f"the batch {name} is not published yet; it will be without them" for name in self.planned),
            *(f"{episode} stands in no batch; it is kept out of the next ones" for episode in self.unknown),
            *(f"{key} lies outside the store's audio and was left there" for key in self.kept),
        ]
        if self.deleted:
            lines.append(f"{self.deleted} objects of theirs {verb[1]} deleted from the store")
        return "\n".join(lines)


def purge(
    store: Store,
    layout: Layout,
    target: Target,
    episodes: Sequence[str],
    folder: Path,
    *,
    reason: str | None = None,
    delete_audio: bool = False,
    dry_run: bool = False,
) -> PurgePlan:
    """Take ``episodes`` out. ``target`` must have been opened with ``replace``; ``folder`` takes the new shards.

    Raises UsageError for what cannot be an episode id, and InputError when a shard cannot be built again because the
    store no longer has the other episodes of it as their manifests say.
    """
    ids = list(dict.fromkeys(episodes))
    for one in ids:
        try:
            safe_name(one)
        except ValueError as error:
            raise UsageError(f"{error}: it is no episode id") from error
    plan = PurgePlan(ids, dry_run=dry_run)
    if not dry_run:
        # In a turn of its own: whoever commits after it sees these records before it commits.
        with Turns(store, layout, target.name).taken(silent):
            _forbid(store, layout, ids, reason)
    found = _holding(store, layout, set(ids))
    names = _published(store, layout, target, found, plan)
    if names and not dry_run:
        before = sum(entry.samples for entry in Ledger(store, layout).entries() if entry.batch in names)
        entries = republish(store, layout, target, names, folder)
        plan.samples = before - sum(entry.samples for entry in entries)
        plan.commit = entries[0].commit
    plan.unknown = sorted(set(ids) - {line.episode_id for batch in found for line in batch.lines})
    if delete_audio:
        _delete_audio(store, layout, ids, found, plan)
    log.get("purge").info(
        "purged",
        episodes=len(ids),
        shards=len(plan.shards),
        samples=plan.samples,
        deleted=plan.deleted,
        dry_run=dry_run,
    )
    return plan


def _forbid(store: Store, layout: Layout, ids: Sequence[str], reason: str | None) -> None:
    said = " ".join((reason or "").split())[:200]
    known = (store.find(layout.opt_out()) or b"").decode("utf-8-sig", "replace")
    listed = {line.partition("#")[0].strip() for line in known.splitlines()}
    fresh = [f"{one}  # purged{f': {said}' if said else ''}\n" for one in ids if one not in listed]
    if fresh:
        text = known if not known or known.endswith("\n") else f"{known}\n"
        store.put(layout.opt_out(), (text + "".join(fresh)).encode())
    for one in ids:
        record = Purged(episode_id=one, reason=said or None, purged_at=now())
        store.put_if_absent(layout.purged(one), record.to_bytes())


def _holding(store: Store, layout: Layout, ids: set[str]) -> list[Batch]:
    """The definitions that name one of the episodes."""
    return [batch for batch in batches(store, layout) if any(line.episode_id in ids for line in batch.lines)]


def _published(store: Store, layout: Layout, target: Target, found: list[Batch], plan: PurgePlan) -> list[str]:
    """The batches whose published shard must be made again."""
    ledger = {entry.batch: set(entry.episodes) for entry in Ledger(store, layout).entries()}
    ids = set(plan.episodes)
    # An uploader that died between its commit and the ledger has published a shard that only the data set knows of.
    unsure = any(str(batch.id) not in ledger for batch in found)
    there = {file.name for file in target.files()} if unsure else set()
    names: list[str] = []
    for batch in found:
        name = str(batch.id)
        if name in ledger:
            if ledger[name] & ids:
                names.append(name)
        elif f"{batch.id.stem}.tar" in there:
            names.append(name)
        else:
            plan.planned.append(name)
    plan.shards = [batch.id.stem for batch in found if str(batch.id) in names]
    return names


def _delete_audio(store: Store, layout: Layout, ids: Sequence[str], found: list[Batch], plan: PurgePlan) -> None:
    """Delete what the store holds of the episodes, their manifests last, by which the rest is found."""
    lines = {line.episode_id: line for batch in found for line in batch.lines}
    for episode in ids:
        keys: list[str] = []
        for folder in _folders(store, layout, episode, lines[episode].language if episode in lines else None):
            manifest = f"{folder}manifest.json"
            keys += [meta.key for meta in store.list(folder) if meta.key != manifest]
            keys += _raw_keys(store, layout, manifest, plan)
            keys += [manifest] if store.head(manifest) else []
        keys = keys or _unprocessed(store, layout, episode)
        plan.deleted += len(keys)
        if not plan.dry_run:
            for key in keys:
                store.delete(key)


def _folders(store: Store, layout: Layout, episode: str, language: str | None) -> list[str]:
    """The folders of a processed episode: one, unless nobody knows its language."""
    if language is not None:
        return [layout.episode(language, episode)]
    languages = [folder.rstrip("/").rsplit("/", 1)[-1] for folder in store.folders(layout.processed)]
    return [layout.episode(name, episode) for name in languages if store.head(layout.manifest(name, episode))]


def _raw_keys(store: Store, layout: Layout, manifest_key: str, plan: PurgePlan) -> list[str]:
    """The downloaded audio of a processed episode and its record, as its manifest tells."""
    body = store.find(manifest_key)
    if body is None:
        return []
    try:
        manifest = parse(Manifest, body, manifest_key)
    except InputError as error:
        log.get("purge").warning("the manifest does not say where the audio is", error=str(error))
        return []
    if not manifest.audio_key.startswith(layout.raw):
        plan.kept.append(manifest.audio_key)
        return []
    record = f"{manifest.audio_key.rsplit('/', 1)[0]}/{manifest.episode_id}.json"
    return [key for key in (manifest.audio_key, record) if store.head(key)]


def _unprocessed(store: Store, layout: Layout, episode: str) -> list[str]:
    """The audio and record of an episode that was never processed: one look into every source."""
    for language in store.folders(layout.raw):
        for source in store.folders(language):
            key = f"{source}{episode}.json"
            if (body := store.find(key)) is not None:
                audio = parse(AudioRecord, body, key).audio_key
                return [one for one in (audio, key) if store.head(one)]
    return []
