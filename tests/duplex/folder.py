"""A small duplex data set, written file by file with pyarrow and nothing of the builder: what the loader is tested on.

Seeds are fixed. The tracks and events come back beside the folder, so that a test can reckon for itself what an item is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.framing import DuplexFormat
from duplexforge.loading.packing import Packing, pack, pcm_sha256
from duplexforge.loading.schema import (
    FORMAT,
    MANIFEST,
    DuplexManifest,
    Event,
    StorageFile,
    Totals,
    storage_schema,
    window_schema,
)
from duplexforge.loading.sequence import events_json
from duplexforge.storage import file_entry


@dataclass(frozen=True)
class MadeSide:
    """One side as it was made."""

    session_id: str
    user: npt.NDArray[np.int16]
    agent: npt.NDArray[np.int16]
    events: list[Event]
    embedding: npt.NDArray[np.float32] | None

    def row(self, fmt: DuplexFormat, packing: Packing) -> dict[str, Any]:
        """As a row of storage."""
        body = events_json(self.events)
        conversation, _, speaker = self.session_id.partition("--")
        return {
            "session_id": self.session_id,
            "user_audio": pack(self.user, fmt.user_rate, packing),
            "target_audio": pack(self.agent, fmt.agent_rate, packing),
            "events_json": body,
            "speaker_embedding": None if self.embedding is None else self.embedding.tolist(),
            "conversation_id": conversation,
            "split": "train",
            "agent_speaker": speaker,
            "chunks": len(self.user) // fmt.user_samples,
            "user_sha256": pcm_sha256(self.user),
            "target_sha256": pcm_sha256(self.agent),
            "events_sha256": hashlib.sha256(body.encode()).hexdigest(),
        }


@dataclass(frozen=True)
class MadeFolder:
    """The folder and its sides in the order of its rows; ``windows`` are (session, number, first chunk, end chunk)."""

    folder: Path
    format: DuplexFormat
    sides: list[MadeSide]
    windows: list[tuple[str, int, int, int]]

    def side(self, session_id: str) -> MadeSide:
        """The side of that name."""
        return next(one for one in self.sides if one.session_id == session_id)


def make_side(session_id: str, chunks: int, fmt: DuplexFormat, rng: np.random.Generator, *, known: bool) -> MadeSide:
    """Noise on both tracks, and an utterance every third chunk with one to five tokens."""
    events = []
    for chunk in range(0, chunks, 3):
        start = (chunk + float(rng.uniform(0, 0.9))) * float(fmt.chunk_seconds)
        tokens = rng.integers(100, 1000, size=int(rng.integers(1, 6))).tolist()
        events.append(Event(start=start, end=start + 0.5, text="uh huh", input_ids=tokens, duration=0.5))
    vector = rng.standard_normal(192).astype(np.float32)
    return MadeSide(
        session_id,
        rng.integers(-9000, 9000, chunks * fmt.user_samples).astype(np.int16),
        rng.integers(-9000, 9000, chunks * fmt.agent_samples).astype(np.int16),
        events,
        vector / np.linalg.norm(vector) if known else None,
    )


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: Any) -> None:
    """An Arrow stream with one record batch a row, as the builder writes storage."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for row in rows:
            writer.write_batch(pa.RecordBatch.from_pylist([row], schema=schema))


def write_folder(
    folder: Path,
    *,
    sides: int = 4,
    chunks: int = 7,
    window: int = 3,
    files: int = 2,
    packing: Packing = "flac",
    indexed: bool = True,
    seed: int = 7,
    fmt: DuplexFormat | None = None,
) -> MadeFolder:
    """Write a data set with one split ``train`` of windows of ``window`` chunks; every third side has no embedding.

    ``indexed`` tells the manifest which storage file holds which sides. Sides differ in length by a chunk.
    """
    fmt, rng = fmt or DuplexFormat(), np.random.default_rng(seed)
    made = [
        make_side(f"talk{number // 2}--s{number % 2}", chunks + number % 2, fmt, rng, known=number % 3 != 2)
        for number in range(sides)
    ]
    shares = [list(share) for share in np.array_split(np.arange(sides), files)]
    storage = []
    for number, share in enumerate(shares):
        name = f"storage/data-{number:05d}-of-{files:05d}.arrow"
        rows = [made[one].row(fmt, packing) for one in share]
        write_table(folder / name, rows, storage_schema())
        names = [row["session_id"] for row in rows]
        storage.append(StorageFile(name=name, rows=len(rows), first=min(names), last=max(names)))
    windows = [
        (side.session_id, number, first, min(first + window, len(side.user) // fmt.user_samples))
        for side in made
        for number, first in enumerate(range(0, len(side.user) // fmt.user_samples, window))
    ]
    rows = [
        {"session_id": name, "seq_id": number, "start_sample": first * 5120, "end_sample": end * 5120}
        for name, number, first, end in windows
    ]
    write_table(folder / "train" / "data-00000-of-00001.arrow", rows, window_schema())
    (folder / FORMAT).write_bytes(fmt.to_bytes())
    seal(folder, storage if indexed else [])
    return MadeFolder(folder, fmt, made, windows)


def seal(folder: Path, storage: Sequence[StorageFile] = ()) -> DuplexManifest:
    """Write the manifest over whatever lies in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    manifest = DuplexManifest(
        source="made",
        settings={},
        totals={"train": Totals()},
        problems={},
        files=[file_entry(path, path.relative_to(folder).as_posix()) for path in paths],
        storage=list(storage),
    )
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest
