"""The windows of a finished data set as WebDataset tar shards: ``shards/<split>-<00000>.tar``.

A sample is ``<key>.user.flac``, ``<key>.agent.flac`` and ``<key>.json`` side by side, samples are in the order of their
keys, times are fixed. The JSON has the token sequence of the window, so that whoever reads shards needs nothing else.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from duplexforge.duplex.writing import RowPlace, places_of, read_row
from duplexforge.framing import DuplexFormat, Stream
from duplexforge.loading.packing import Packing, pack, unpack_part
from duplexforge.loading.schema import SHARDS, SPLITS, STORAGE
from duplexforge.loading.sequence import parse_events, stream_of
from duplexforge.loading.tables import rows_of

# Of a side's row, next to what describes the window.
_KEPT = ("conversation_id", "user_speaker", "agent_speaker", "language", "flags", "speaker_embedding")


@dataclass(frozen=True)
class Sample:
    """One window: where its side's row stands in storage, and its place in it in samples of the user."""

    key: str
    row: RowPlace
    seq_id: int
    start: int
    end: int


@dataclass(frozen=True)
class Shard:
    """The samples of one tar file, ``number`` from 0 in its split."""

    split: str
    number: int
    samples: tuple[Sample, ...]


def plan_shards(out: Path, fmt: DuplexFormat, shard_bytes: int) -> list[Shard]:
    """Which windows of the data set in ``out`` go into which shard, of about ``shard_bytes`` each."""
    rows, each = _rows(out), fmt.user_samples
    shards: list[Shard] = []
    for split in SPLITS:
        held: list[Sample] = []
        filled, number = 0.0, 0
        for sample, size in sorted(_samples(out / split, rows), key=lambda one: one[0].key):
            if filled >= shard_bytes:
                shards.append(Shard(split, number, tuple(held)))
                held, filled, number = [], 0.0, number + 1
            held.append(sample)
            # A part of a packed track is about its share of it.
            filled += size * (sample.end - sample.start) / each
        if held:
            shards.append(Shard(split, number, tuple(held)))
    return shards


def _samples(folder: Path, rows: dict[str, tuple[RowPlace, float]]) -> Iterator[tuple[Sample, float]]:
    for row in rows_of(folder):
        # Readers end the key at the first dot; ids have no tilde of their own.
        key = f"{row['session_id'].replace('.', '~')}-{row['seq_id']:06d}"
        place, size = rows[row["session_id"]]
        yield Sample(key, place, row["seq_id"], row["start_sample"], row["end_sample"]), size


def _rows(out: Path) -> dict[str, tuple[RowPlace, float]]:
    """Of each side where its row stands, and the bytes of both packed tracks for each chunk."""
    found = {}
    for place, batch in places_of(out / STORAGE):
        name, chunks = batch.column("session_id")[0].as_py(), batch.column("chunks")[0].as_py()
        found[name] = place, batch.nbytes / max(1, chunks)
    return found


@dataclass(frozen=True)
class ShardWork:
    """Writes shards of the data set in ``out``; runs in any process."""

    out: Path
    fmt: DuplexFormat
    packing: Packing

    def __call__(self, shard: Shard) -> str:
        """Write one shard; its name below ``out``."""
        name = f"{SHARDS}/{shard.split}-{shard.number:05d}.tar"
        path = self.out / name
        path.parent.mkdir(exist_ok=True)
        sides = _Sides(self.fmt)
        # PAX is plain USTAR as long as a name has at most 100 characters, and the only correct way beyond.
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for sample in shard.samples:
                side = sides.row(sample.row)
                for kind, body in self._members(sample, side, sides.stream(sample.row)):
                    info = tarfile.TarInfo(f"{sample.key}.{kind}")  # time 0, owner 0 without names, mode 0644
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
        return name

    def _members(self, sample: Sample, side: dict[str, Any], stream: Stream) -> Iterator[tuple[str, bytes]]:
        first, end = sample.start // self.fmt.user_samples, sample.end // self.fmt.user_samples
        yield f"agent.{self.packing}", self._audio(side, "target_audio", self.fmt.agent_samples, (first, end))
        described = {
            "session_id": side["session_id"],
            "seq_id": sample.seq_id,
            "start_sample": sample.start,
            "end_sample": sample.end,
            "chunks": end - first,
            **{name: side[name] for name in _KEPT},
            # Readers that find the columns in the first samples do not take a null for a word.
            "licence": side["licence"] or "",
            "input_sequence": stream.cut(first, end).tolist(),
        }
        yield "json", json.dumps(described, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        yield f"user.{self.packing}", self._audio(side, "user_audio", self.fmt.user_samples, (first, end))

    def _audio(self, side: dict[str, Any], column: str, each: int, chunks: tuple[int, int]) -> bytes:
        body: bytes = side[column]
        if chunks == (0, side["chunks"]):
            return body
        pcm, rate = unpack_part(body, chunks[0] * each, chunks[1] * each)
        return pack(pcm, rate, self.packing)


class _Sides:
    """Rows of storage by their place; the last one stays, as the windows of a side follow each other."""

    def __init__(self, fmt: DuplexFormat) -> None:
        self._fmt = fmt
        self.row = lru_cache(maxsize=1)(self._row)
        self.stream = lru_cache(maxsize=1)(self._stream)

    def _row(self, place: RowPlace) -> dict[str, Any]:
        row: dict[str, Any] = read_row(place).to_pylist()[0]
        return row

    def _stream(self, place: RowPlace) -> Stream:
        side = self.row(place)
        return stream_of(parse_events(side["events_json"], side["session_id"]), self._fmt, side["chunks"])
