"""Compares what is published with the ledger and, sample by sample, with the manifests it was made from.

Problems come back as sentences; an empty list means that every published episode is there exactly once and unharmed.
:func:`verify_target` looks at names, sizes and checksums only and works on the Hub too; :func:`verify_folder` opens the
shards.
"""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.records import LedgerEntry
from duplexforge.storage import Store
from duplexforge.uploading.card import CARD, render
from duplexforge.uploading.episodes import read_episode
from duplexforge.uploading.ledger import BatchId, Ledger, batch_ids, read_batch
from duplexforge.uploading.schema import parquet_schema, row
from duplexforge.uploading.shard import to_json
from duplexforge.uploading.target import Target
from duplexforge.uploading.targets import LocalTarget

# Member name → checksum of its bytes and their number.
Members = dict[str, tuple[str, int]]
_WORST = 20


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
    return problems


def verify_folder(folder: Path, store: Store, layout: Layout) -> list[str]:
    """Compare a published folder with ledger, batch definitions and manifests; the problems found, in words."""
    problems = verify_target(LocalTarget(folder), store, layout)
    entries = Ledger(store, layout).entries()
    seen: Counter[str] = Counter()
    for entry in entries:
        problems += _shard_problems(folder, store, layout, entry, seen)
    problems += [f"the segment {name} is published {count} times" for name, count in seen.items() if count > 1]
    card = folder / CARD
    if entries and (not card.is_file() or card.read_text(encoding="utf-8") != render(entries)):
        problems.append(f"{CARD} does not say what the ledger says")
    return problems


def _ledger_problems(store: Store, layout: Layout, entries: list[LedgerEntry]) -> Iterator[str]:
    published = {entry.batch for entry in entries}
    episodes: Counter[str] = Counter()
    for name in batch_ids(store, layout):
        episodes.update(line.episode_id for line in read_batch(store, layout, BatchId.read(name)).lines)
        if name not in published:
            yield f"the batch {name} is planned but not published"
    for episode, count in episodes.items():
        if count > 1:
            yield f"the episode {episode} stands in {count} batches"


# -- one shard, sample by sample ---------------------------------------------------------------------------------------


def _shard_problems(
    folder: Path, store: Store, layout: Layout, entry: LedgerEntry, seen: Counter[str]
) -> Iterator[str]:
    try:
        expected, rows = _expected(store, layout, entry)
    except InputError as error:
        yield f"{entry.shard} cannot be compared with its source: {error}"
        return
    seen.update(str(one["segment_id"]) for one in rows)
    if len(rows) != entry.samples:
        yield f"the ledger says that {entry.shard} has {entry.samples} samples, its episodes have {len(rows)}"
    yield from _tar_problems(folder / f"{entry.shard}.tar", f"{entry.shard}.tar", expected)
    yield from _parquet_problems(folder / f"{entry.shard}.parquet", f"{entry.shard}.parquet", rows)


def _expected(store: Store, layout: Layout, entry: LedgerEntry) -> tuple[Members, list[dict[str, Any]]]:
    """What the manifests say the shard holds: its members in order, and its rows."""
    members: Members = {}
    rows: list[dict[str, Any]] = []
    lines = read_batch(store, layout, BatchId.read(entry.batch)).lines
    for line in sorted(lines, key=lambda line: line.episode_id):
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
