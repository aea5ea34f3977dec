"""What there is to publish: committed episodes are gathered into frozen batches, and every batch becomes a task.

Two seeders may run at once. A batch is created if absent under the next number of its language, so whoever succeeds at
a number knew every batch before it; whoever fails reads all batches again and plans anew. Hence no episode stands in
two batches and the numbers have no holes, whatever crashes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.idset import IdSet
from duplexforge.layout import Layout, audio_extension
from duplexforge.queues.base import TaskQueue
from duplexforge.records import BatchLine, Manifest, UploadTask, now, parse
from duplexforge.storage import Store
from duplexforge.uploading import ledger
from duplexforge.uploading.ledger import BatchId

_THREADS = 16
_CHUNK = 1000


class Candidate(NamedTuple):
    """A committed episode that can be published: all that is kept of its manifest. Sorts as batches are filled."""

    language: str
    audio: str
    episode: str
    bytes: int


@dataclass
class UploadPlan:
    """What a seeding did, or with ``dry_run`` would do. Every committed episode is counted exactly once.

    ``batches`` are the new ones; ``episodes`` and ``bytes`` what they hold; ``known`` episodes stand in other batches;
    ``waiting`` ones are kept back for a fuller batch; ``left_out`` counts the rest by reason; ``tasks`` were queued.
    """

    batches: list[str] = field(default_factory=list)
    episodes: int = 0
    bytes: int = 0
    known: int = 0
    waiting: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """The counts for machines."""
        return {**vars(self), "left_out": dict(self.left_out)}

    def to_text(self) -> str:
        """The counts for people, one line each."""
        lines = [
            f"{len(self.batches)} new batches ({self.episodes} episodes, {self.bytes / 1e6:.1f} MB of audio)",
            f"{self.known} episodes stand in other batches, {self.waiting} wait for a fuller one",
            *(f"left out: {count} ({reason})" for reason, count in sorted(self.left_out.items())),
            "nothing was written (dry run)" if self.dry_run else f"{self.tasks} tasks queued",
        ]
        return "\n".join(lines)


Refuses = Callable[[Manifest], str | None]
"""Why an episode may not be published although it was processed; None: nothing speaks against it."""


def nobody(_: Manifest) -> str | None:
    """Refuses no episode."""
    return None


def seed_uploads(
    store: Store,
    layout: Layout,
    queue: TaskQueue[UploadTask],
    *,
    shard_bytes: int,
    flush: bool = True,
    dry_run: bool = False,
    attempt_limit: int = 3,
    refuses: Refuses = nobody,
) -> UploadPlan:
    """Put every committed, not yet planned episode into a batch, and every unpublished batch into the queue.

    A batch is full once it holds ``shard_bytes`` of audio; with ``flush`` off the last, partial one of a language waits
    for more episodes. Seeding again adds nothing that is there, and queues what a crash left without a task. ``refuses``
    is asked about every episode that is not planned yet: whoever opted out since it was processed is left out.
    """
    plan = UploadPlan(dry_run=dry_run)
    with IdSet() as taken:
        numbers = _existing(store, layout, taken)
        candidates = list(_candidates(store, layout, taken, plan, refuses))
        fresh = candidates
        while not _write(store, layout, group(fresh, shard_bytes, flush=flush), numbers, plan):
            numbers = _existing(store, layout, taken)
            planned = taken.known(one.episode for one in candidates)
            fresh = [one for one in candidates if one.episode not in planned]
    # Others' batches may have taken some meanwhile; what is neither theirs nor ours waits.
    last_round = sum(len(batch) for batch in group(fresh, shard_bytes, flush=flush))
    plan.waiting = len(fresh) - last_round
    plan.known += len(candidates) - plan.episodes - plan.waiting
    if not dry_run:
        plan.tasks = _queue_unpublished(store, layout, queue, attempt_limit)
    log.get("seed", stage="upload").info(
        "batches planned", new=len(plan.batches), episodes=plan.episodes, known=plan.known, waiting=plan.waiting,
        left_out=dict(plan.left_out), tasks=plan.tasks, dry_run=dry_run,
    )  # fmt: skip
    return plan


def group(candidates: Iterable[Candidate], shard_bytes: int, *, flush: bool = True) -> list[list[Candidate]]:
    """Batches of one language and one kind of audio, episodes in id order; each but the last of its kind is full."""
    batches: list[list[Candidate]] = []
    for _, alike in itertools.groupby(sorted(candidates), key=lambda one: (one.language, one.audio)):
        batch: list[Candidate] = []
        size = 0
        for one in alike:
            batch.append(one)
            size += one.bytes
            if size >= shard_bytes:
                batches.append(batch)
                batch, size = [], 0
        if batch and flush:
            batches.append(batch)
    return batches


def _existing(store: Store, layout: Layout, taken: IdSet) -> Counter[str]:
    """The next number of each language; the episodes that stand in a batch are added to ``taken``."""
    numbers: Counter[str] = Counter()
    for batch in ledger.batches(store, layout):
        taken.update(line.episode_id for line in batch.lines)
        numbers[batch.id.language] = batch.id.number + 1
    return numbers


def _write(
    store: Store, layout: Layout, batches: list[list[Candidate]], numbers: Counter[str], plan: UploadPlan
) -> bool:
    """Freeze the batches under the next numbers; False as soon as another seeder was faster."""
    for batch in batches:
        language = batch[0].language
        name = str(BatchId(language, numbers[language]))
        lines = [_line(layout, one) for one in batch]
        if not plan.dry_run and not store.put_if_absent(layout.batch(name), ledger.definition(lines)):
            return False
        numbers[language] += 1
        plan.batches.append(name)
        plan.episodes += len(batch)
        plan.bytes += sum(one.bytes for one in batch)
    return True


def _line(layout: Layout, one: Candidate) -> BatchLine:
    key = layout.manifest(one.language, one.episode)
    return BatchLine(episode_id=one.episode, language=one.language, manifest_key=key, bytes=one.bytes)


def _queue_unpublished(store: Store, layout: Layout, queue: TaskQueue[UploadTask], attempt_limit: int) -> int:
    published = ledger.published_ids(store, layout)
    return queue.put_many(
        UploadTask(id=name, batch_key=layout.batch(name), attempt_limit=attempt_limit, enqueued_at=now())
        for name in ledger.batch_ids(store, layout)
        if name not in published
    )


# -- looking at what is committed --------------------------------------------------------------------------------------


def _candidates(store: Store, layout: Layout, taken: IdSet, plan: UploadPlan, refuses: Refuses) -> Iterator[Candidate]:
    """Committed episodes that stand in no batch; manifests are read a chunk at a time and only ids and sizes kept."""
    seen: set[str] = set()

    purged = ledger.purged_ids(store, layout)

    def look(place: tuple[str, str]) -> Candidate | str | None:
        return "purged" if place[1] in purged else _look(store, layout, *place, refuses)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        places = _places(store, layout)
        while chunk := list(itertools.islice(places, _CHUNK)):
            planned = taken.known(episode for _, episode in chunk)
            unplanned = [place for place in chunk if place[1] not in planned]
            plan.known += len(chunk) - len(unplanned)
            for found in pool.map(look, unplanned):
                if isinstance(found, Candidate) and found.episode in seen:
                    plan.left_out["same id in another language"] += 1
                elif isinstance(found, Candidate):
                    seen.add(found.episode)
                    yield found
                elif found:
                    plan.left_out[found] += 1


def _places(store: Store, layout: Layout) -> Iterator[tuple[str, str]]:
    """Language and id of every episode folder, in order."""
    for language_folder in sorted(store.folders(layout.processed)):
        for folder in sorted(store.folders(language_folder)):
            language, episode = folder.rstrip("/").split("/")[-2:]
            try:
                ours = layout.episode(language, episode) == folder
            except ValueError:
                ours = False
            if ours:  # anything else was put there by hand and is nobody's episode
                yield language, episode


def _look(store: Store, layout: Layout, language: str, episode: str, refuses: Refuses) -> Candidate | str | None:
    """The candidate, the reason for which the episode is left out, or None when it is not committed."""
    key = layout.manifest(language, episode)
    body = store.find(key)
    if body is None:
        return None
    try:
        manifest = parse(Manifest, body, key)
    except InputError as error:
        log.get("seed", stage="upload").warning("episode left out", episode=episode, error=str(error))
        return error.reason
    if manifest.outcome != "ok":
        return manifest.outcome
    if refuses(manifest):
        return "opted_out"
    sizes = [(extension, entry.size) for entry in manifest.files if (extension := audio_extension(entry.name))]
    kinds = {extension for extension, _ in sizes}
    if not manifest.segments or not kinds:
        return "no_segments"
    if len(kinds) > 1:
        return "mixed_audio"
    return Candidate(language, kinds.pop(), episode, sum(size for _, size in sizes))
