"""Compares what is published with the ledger, with the queue and, sample by sample, with the manifests it was made from.

Problems come back as sentences; an empty list means that every committed episode stands in exactly one batch, that every
batch is published exactly once and unharmed, and that no purged episode is. :func:`verify_target` looks at names, sizes
and checksums only and works on the Hub too; :func:`verify_folder` opens the shards; :func:`verify_plan` looks at what
was not planned or not done.
"""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.records import LedgerEntry, UploadTask
from duplexforge.storage import Store
from duplexforge.uploading.card import CARD, is_current
from duplexforge.uploading.episodes import read_episode
from duplexforge.uploading.ledger import Batch, BatchId, Ledger, batches, purged_ids, read_batch
from duplexforge.uploading.plan import Refuses, nobody, seed_uploads
from duplexforge.uploading.schema import parquet_schema, row
from duplexforge.uploading.shard import to_json
from duplexforge.uploading.target import Target
from duplexforge.uploading.targets import LocalTarget

# Member name → checksum of its bytes and their number.
Members = dict[str, tuple[str, int]]
_WORST = 20


def verify_all(
    target: Target, store: Store, layout: Layout, queue: TaskQueue[UploadTask], *, refuses: Refuses = nobody
) -> list[str]:
    """Everything that can be compared from here: the shards of a folder are opened, those of a Hub are not fetched.

    ``refuses`` tells which committed episodes are rightly in no batch.
    """
    if isinstance(target, LocalTarget):
        problems = verify_folder(target.folder, store, layout)
    else:
        problems = verify_target(target, store, layout)
    return [*problems, *verify_plan(store, layout, queue, refuses)]


def verify_plan(store: Store, layout: Layout, queue: TaskQueue[UploadTask], refuses: Refuses = nobody) -> list[str]:
    """Compare manifests, batches and queue: nothing committed that stands in no batch, no task open or failed."""
    problems = []
    plan = seed_uploads(store, layout, queue, shard_bytes=1, dry_run=True, refuses=refuses)
    if plan.episodes:
        problems.append(f"{plan.episodes} committed episodes stand in no batch: `duplexforge seed upload` plans them")
    stats = queue.stats()
    if stats.open:
        problems.append(f"{stats.open} upload tasks are not done: `duplexforge upload --drain` does them")
    dead = (f"the upload task {one.id} failed ({one.reason}): {one.message}" for one in queue.dead())
    return [*problems, *_some(dead)]


def verify_target(target: Target, store: Store, layout: Layout) -> list[str]:
    """Compare the files of a data set with the ledger: each there, none too many, sizes and checksums right."""
    entries = Ledger(store, layout).entries()
    problems = [*_ledger_problems(store, layout, entries)]
    wanted: dict[str, tuple[int, str]] = {}
    for entry in entries:
        wanted[f"{entry.shard}.tar"] = (entry.size, entry.sha256)
        wanted[f"{entry.shard}.parquet"] = (entry.parquet_size, entry.parquet_sha256)
    found = {file.name: (file.size, file.sha256) for file in target.files()}
    problems += [f"{name} is in the ledger but not in the data set" for name in wanted if name not in found]
    problems += [f"{name} is in the data set but not in the ledger" for name in found if name not in wanted]
    for name in sorted(wanted.keys() & found.keys()):
        size, sha256 = found[name]
        if size != wanted[name][0]:
            problems.append(f"{name} has {size} bytes, the ledger says {wanted[name][0]}")
        elif sha256 and sha256 != wanted[name][1]:
            problems.append(f"{name} does not have the checksum in the ledger")
    if entries and not is_current(target.card() or "", entries):
        problems.append(f"{CARD} does not say what the ledger says")
    return problems


def verify_folder(folder: Path, store: Store, layout: Layout) -> list[str]:
    """Compare a published folder with ledger, batch definitions and manifests; the problems found, in words."""
    problems = verify_target(LocalTarget(folder), store, layout)
    entries = Ledger(store, layout).entries()
    seen: Counter[str] = Counter()
    purged = purged_ids(store, layout)
    for entry in entries:
        batch = partial(_live, store, layout, entry, purged)
        problems += _shard_problems(folder, store, entry, batch, seen)
    problems += [f"the segment {name} is published {count} times" for name, count in seen.items() if count > 1]
    return problems


def _ledger_problems(store: Store, layout: Layout, entries: list[LedgerEntry]) -> Iterator[str]:
    known = {entry.batch: entry for entry in entries}
    purged = purged_ids(store, layout)
    count: Counter[str] = Counter()
    for batch in batches(store, layout):
        count.update(line.episode_id for line in batch.lines)
        entry = known.pop(str(batch.id), None)
        if entry is None:
            yield f"the batch {batch.id} is planned but not published"
            continue
        for episode in sorted(purged.intersection(entry.episodes)):
            yield f"the episode {episode} is purged but still in {entry.shard}: `duplexforge purge` takes it out"
        lines = {line.episode_id for line in batch.lines} - purged
        if lines != set(entry.episodes) - purged:
            yield f"the ledger does not name the episodes of the batch {batch.id}"
    yield from (f"the batch {name} is published, but nothing defines it" for name in known)
    for episode, number in count.items():
        if number > 1:
            yield f"the episode {episode} stands in {number} batches"


# -- one shard, sample by sample ---------------------------------------------------------------------------------------


def _live(store: Store, layout: Layout, entry: LedgerEntry, purged: set[str]) -> Batch:
    return read_batch(store, layout, BatchId.read(entry.batch)).without(purged)


def _shard_problems(
    folder: Path, store: Store, entry: LedgerEntry, batch: Callable[[], Batch], seen: Counter[str]
) -> Iterator[str]:
    try:
        expected, rows = _expected(store, batch(), entry)
    except InputError as error:
        yield f"{entry.shard} cannot be compared with its source: {error}"
        return
    seen.update(str(one["segment_id"]) for one in rows)
    if len(rows) != entry.samples:
        yield f"the ledger says that {entry.shard} has {entry.samples} samples, its episodes have {len(rows)}"
    yield from _tar_problems(folder / f"{entry.shard}.tar", f"{entry.shard}.tar", expected)
    yield from _parquet_problems(folder / f"{entry.shard}.parquet", f"{entry.shard}.parquet", rows)


def _expected(store: Store, batch: Batch, entry: LedgerEntry) -> tuple[Members, list[dict[str, Any]]]:
    """What the manifests say the shard holds: its members in order, and its rows."""
    members: Members = {}
    rows: list[dict[str, Any]] = []
    for line in sorted(batch.lines, key=lambda line: line.episode_id):
        episode = read_episode(store, line)
        for key, fields in episode.samples():
            audio, text = episode.files[fields["audio"]], to_json(fields)
            members[f"{key}.{entry.audio}"] = (audio.sha256, audio.size)
            members[f"{key}.json"] = (hashlib.sha256(text).hexdigest(), len(text))
            rows.append(row(fields, key, f"{entry.shard}.tar"))
    return members, rows


def _tar_problems(path: Path, name: str, expected: Members) -> Iterator[str]:
    if not path.is_file():
        return  # said already
    found: Members = {}
    try:
        for member, body in _members(path):
            if member in found:
                yield f"{name} holds {member} twice"
            found[member] = (hashlib.sha256(body).hexdigest(), len(body))
    except (tarfile.TarError, EOFError, OSError) as error:
        yield f"{name} is cut short or damaged after {len(found)} members: {error}"
    yield from _some(f"{name} lacks {member}" for member in expected if member not in found)
    yield from _some(f"{name} holds {member}, which no manifest names" for member in found if member not in expected)
    both = [member for member in expected if member in found]
    wrong = (member for member in both if found[member] != expected[member])
    yield from _some(f"{member} in {name} is not what its manifest says" for member in wrong)
    if both != [member for member in found if member in expected]:
        yield f"the members of {name} are not in order"


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            yield member.name, file.read() if file else b""


def _parquet_problems(path: Path, name: str, expected: list[dict[str, Any]]) -> Iterator[str]:
    if not path.is_file():
        return
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        yield f"{name} cannot be read: {str(error).splitlines()[0]}"
        return
    if table.schema.remove_metadata() != parquet_schema():
        yield f"{name} has other columns than it should"
        return
    found = table.to_pylist()
    if len(found) != len(expected):
        yield f"{name} has {len(found)} rows, its episodes have {len(expected)} segments"
    wrong = (one["key"] for one, other in zip(expected, found, strict=False) if one != other)
    yield from _some(f"the row of {key} in {name} is not what its manifest says" for key in wrong)


def _some(problems: Iterator[str]) -> Iterator[str]:
    """The first of many problems of one kind, and how many more there are."""
    yield from itertools.islice(problems, _WORST)
    if more := sum(1 for _ in problems):
        yield f"and {more} more like this"
