"""The sides of a data set, read when they are asked for: which file holds one, its tokens, and its samples in part."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Stream
from duplexforge.loading.places import Place
from duplexforge.loading.schema import STORAGE, DuplexManifest, storage_schema
from duplexforge.loading.sequence import parse_events, stream_of
from duplexforge.records import FileEntry

Floats = npt.NDArray[np.float32]

STREAMS = 64
"""Token streams that are kept: some 0.5 MB for an hour each."""
# A month of chunks; more is damage, and would be asked of memory.
_MOST_CHUNKS = 10_000_000


@dataclass(frozen=True)
class Side:
    """One side under its session id: its token stream, the packed tracks and the agent's embedding (None: nobody measured it)."""

    session_id: str
    stream: Stream
    user_audio: memoryview
    target_audio: memoryview
    speaker_embedding: Floats | None

    @property
    def chunks(self) -> int:
        """Its length."""
        return len(self.stream.starts) - 1


class Sides:
    """The rows of ``storage``. No file of it is touched before a side is asked for, and then only the one that holds it.

    What was opened belongs to this process: a pickled copy opens again.
    """

    def __init__(self, place: Place, manifest: DuplexManifest, fmt: DuplexFormat, *, streams: int = STREAMS) -> None:
        self._place, self._manifest, self._format, self._kept = place, manifest, fmt, streams
        self._forget()

    def _forget(self) -> None:
        self._files: dict[str, dict[str, Any]] = {}
        self._sides: OrderedDict[str, Side] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_sides": OrderedDict()}

    def __getitem__(self, session_id: str) -> Side:
        """The side; InputError when no file holds it, or when what it holds does not fit together."""
        side = self._sides.pop(session_id, None) or self._read(session_id)
        self._sides[session_id] = side
        while len(self._sides) > self._kept:
            self._sides.popitem(last=False)
        return side

    def samples(self, side: Side, first: int, end: int) -> tuple[Floats, Floats]:
        """Chunks ``first`` to ``end`` (exclusive) of both tracks, float32[chunks, samples] in ±1."""
        fmt = self._format
        return (
            self._part(side, side.user_audio, fmt.user_rate, first * fmt.user_samples, end * fmt.user_samples).reshape(
                -1, fmt.user_samples
            ),
            self._part(
                side, side.target_audio, fmt.agent_rate, first * fmt.agent_samples, end * fmt.agent_samples
            ).reshape(-1, fmt.agent_samples),
        )

    def _part(self, side: Side, cell: memoryview, rate: int, start: int, end: int) -> Floats:
        from duplexforge.loading.packing import unpack_part

        try:
            pcm, told = unpack_part(cell, start, end)
        except InputError as error:
            raise InputError(f"{self._where(side.session_id)}: {error}", reason=error.reason) from error
        if told != rate:
            raise InputError(
                f"{self._where(side.session_id)}: a track has {told} Hz where the format says {rate}", reason="corrupt"
            )
        samples: Floats = pcm.astype(np.float32) / np.float32(32768.0)
        return samples

    def _read(self, session_id: str) -> Side:
        for entry in self._candidates(session_id):
            if row := self._rows(entry).get(session_id):
                return self._side(session_id, *row)
        raise InputError(f"{self._place.name} holds no side {session_id}", reason="missing_side")

    def _candidates(self, session_id: str) -> Iterator[FileEntry]:
        """The files that may hold a side; all of them when the manifest does not tell, those that are open first."""
        told = {one.name: one for one in self._manifest.storage}
        for entry in sorted(arrow_files(self._manifest, STORAGE), key=lambda one: one.name not in self._files):
            one = told.get(entry.name)
            if one is None or one.first <= session_id <= one.last:
                yield entry

    def _rows(self, entry: FileEntry) -> dict[str, Any]:
        """Session id → (record batch, row in it) of one file."""
        if entry.name not in self._files:
            batches = mapped(self._place, entry, storage_schema()).to_batches()
            self._files[entry.name] = {
                name: (batch, row)
                for batch in batches
                for row, name in enumerate(batch.column("session_id").to_pylist())
            }
        return self._files[entry.name]

    def _side(self, session_id: str, batch: Any, row: int) -> Side:
        def value(name: str) -> Any:
            return batch.column(name)[row]

        body, chunks = value("events_json").as_py(), value("chunks").as_py()
        if body is None or not 0 < (chunks or 0) <= _MOST_CHUNKS:
            raise InputError(
                f"{self._where(session_id)}: it has no events, or {chunks} chunks, which is no length", reason="corrupt"
            )
        if hashlib.sha256(body.encode()).hexdigest() != value("events_sha256").as_py():
            raise InputError(
                f"{self._where(session_id)}: its events are not those that were written", reason="checksum"
            )
        events = parse_events(body, self._where(session_id))
        vector = value("speaker_embedding").as_py()
        return Side(
            session_id,
            stream_of(events, self._format, chunks),
            _view(batch.column("user_audio"), row),
            _view(batch.column("target_audio"), row),
            None if vector is None else np.asarray(vector, dtype=np.float32),
        )

    def _where(self, session_id: str) -> str:
        return f"{self._place.name}: {STORAGE}/{session_id}"


def _view(column: Any, row: int) -> memoryview:
    """A cell of a binary column where it lies; pyarrow's own scalar would be a copy, of an hour of audio."""
    _, offsets, data = column.buffers()
    first, end = np.frombuffer(offsets, dtype=np.int32)[column.offset + row :][:2]
    return memoryview(data)[first:end]


def arrow_files(manifest: DuplexManifest, folder: str) -> list[FileEntry]:
    """The Arrow files of one of the tables, in the order of their rows."""
    found = [one for one in manifest.files if one.name.startswith(f"{folder}/") and one.name.endswith(".arrow")]
    return sorted(found, key=lambda one: one.name)


def mapped(place: Place, entry: FileEntry, schema: Any) -> Any:
    """A file as a pyarrow table that lies in the mapped file itself; InputError when it is damaged or lacks a column."""
    import pyarrow as pa

    path: Path = place.path(entry)
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{entry.name} of {place.name} cannot be read: {error}", reason="corrupt") from error
    there = {field.name: field.type for field in table.schema}
    if lacking := [field.name for field in schema if there.get(field.name) != field.type]:
        raise InputError(
            f"{entry.name} of {place.name} lacks columns, or has them of another type: {', '.join(lacking)}",
            reason="bad_columns",
        )
    return table
