"""Builds one shard: a WebDataset tar, and the same rows without the audio as parquet.

The bytes depend on the episodes alone: samples in order of episode and index, no times, no owners, one fixed JSON. A
build that was killed and is done again gives the same files, which is what makes publishing repeatable.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from duplexforge.layout import audio_extension
from duplexforge.records import Hours, LedgerEntry
from duplexforge.storage import Store, file_entry
from duplexforge.uploading.episodes import Episode, bad, read_episode
from duplexforge.uploading.histograms import DURATIONS, SCORES
from duplexforge.uploading.ledger import Batch, BatchId
from duplexforge.uploading.schema import parquet_schema, row

Beat = Callable[[str, float], None]
_THREADS = 8


@dataclass(frozen=True)
class Shard:
    """The two files of a shard on this machine, and the ledger entry it will get (target and time still empty)."""

    tar: Path
    parquet: Path
    record: LedgerEntry


@dataclass
class _Tally:
    """What went into the tar so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    hours: Hours = field(default_factory=Hours)
    flagged: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    audio: str = ""

    def add(self, key: str, entry: dict[str, Any], stem: str) -> str:
        """Count a sample; returns the extension of its audio. InputError when it does not fit the shard."""
        extension = audio_extension(entry["audio"]) or ""
        self.audio = self.audio or extension
        if extension != self.audio:
            raise bad(f"{entry['audio']} is not {self.audio}, as the other samples of {stem} are")
        if key in self.keys:
            raise bad(f"the segment id {entry['segment_id']} stands twice in {stem}")
        self.keys.add(key)
        self.rows.append(row(entry, key, f"{stem}.tar"))
        self.flagged += bool(entry["flags"])
        self.flags.update(set(entry["flags"]))
        self.licences[entry["licence"] or ""] += 1
        self.seconds.append(entry["duration"])
        if entry["dnsmos"] is not None:
            self.scores.append(entry["dnsmos"])
        return extension


def _silent(_: str, __: float) -> None:
    return None


def build(store: Store, batch: Batch, folder: Path, *, beat: Beat = _silent) -> Shard:
    """Build the shard of ``batch`` in ``folder``. ``beat`` is called with every sample and may raise to stop.

    A batch without episodes (all were purged) gives a tar and a parquet file without samples: the numbers of shards stay
    dense, and nobody's list of addresses breaks.

    Every byte is checked against manifest and segment on its way from the store into the tar;
    InputError(``shard_input``) names the file that is missing or different.
    """
    stem = batch.id.stem
    name = stem.replace("/", "-")
    tar_path, parquet_path = folder / f"{name}.tar", folder / f"{name}.parquet"
    tally = _Tally()
    lines = sorted(batch.lines, key=lambda line: line.episode_id)
    # PAX is plain USTAR as long as a name has at most 100 characters, and the only correct way beyond.
    with tarfile.open(tar_path, "w", format=tarfile.PAX_FORMAT) as tar, ThreadPoolExecutor(_THREADS) as pool:
        for number, line in enumerate(lines):
            beat(f"episode {line.episode_id}", number / len(lines))
            episode = read_episode(store, line)
            tally.hours = tally.hours + episode.manifest.hours
            for key, entry, body in _samples(store, episode, pool):
                extension = tally.add(key, entry, stem)
                _member(tar, f"{key}.{extension}", body)
                _member(tar, f"{key}.json", to_json(entry))
                beat(f"episode {line.episode_id}", number / len(lines))
    write_parquet(tally.rows, parquet_path)
    episodes = [line.episode_id for line in lines]
    return Shard(tar_path, parquet_path, _record(batch.id, episodes, tally, tar_path, parquet_path))


def _samples(store: Store, episode: Episode, pool: ThreadPoolExecutor) -> Iterable[tuple[str, dict[str, Any], bytes]]:
    pairs = zip(episode.samples(), episode.audio(store, pool), strict=True)
    return ((key, entry, body) for (key, entry), body in pairs)


def to_json(entry: dict[str, Any]) -> bytes:
    """The JSON member of a sample."""
    return json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _member(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)  # time 0, owner 0 without names, mode 0644
    info.size = len(body)
    tar.addfile(info, io.BytesIO(body))


def write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the metadata rows with the fixed schema; the same rows give the same bytes."""
    schema = parquet_schema()
    with pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer:
        # A row group without rows is one that readers stumble over.
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=10_000)


def _record(batch: BatchId, episodes: list[str], tally: _Tally, tar: Path, parquet: Path) -> LedgerEntry:
    tar_file, parquet_file = file_entry(tar, tar.name), file_entry(parquet, parquet.name)
    return LedgerEntry(
        batch=str(batch),
        language=batch.language,
        shard=batch.stem,
        episodes=episodes,
        samples=len(tally.rows),
        hours=tally.hours,
        size=tar_file.size,
        sha256=tar_file.sha256,
        parquet_size=parquet_file.size,
        parquet_sha256=parquet_file.sha256,
        audio=tally.audio,
        flagged=tally.flagged,
        flags=dict(sorted(tally.flags.items())),
        licences=dict(sorted(tally.licences.items())),
        durations=DURATIONS.counts(tally.seconds),
        scores=SCORES.counts(tally.scores),
        target="",
        published_at="",
    )
