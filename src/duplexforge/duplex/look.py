"""A stretch of one side, ready to be shown: levels, waveforms, events, and the tokens of each chunk as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.duplex.tokens import Tokenizer
from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.packing import Pcm, unpack_part
from duplexforge.loading.schema import STORAGE, DuplexManifest, Event
from duplexforge.loading.sequence import parse_events, stream_of
from duplexforge.loading.tables import batches_of, table_files

_FULL_SCALE = 32768.0
_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Look:
    """Chunks ``first`` to ``end`` (exclusive) of a side; ``user`` and ``agent`` int16 at the format's rates.

    ``said`` has the pieces of text of each chunk, empty where the agent is silent; ``events`` touch the stretch.
    """

    session_id: str
    about: dict[str, Any]
    fmt: DuplexFormat
    first: int
    end: int
    user: Pcm
    agent: Pcm
    events: list[Event] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)

    @property
    def start_seconds(self) -> float:
        """Where the stretch begins in the side."""
        return float(self.first * self.fmt.chunk_seconds)

    @property
    def seconds(self) -> float:
        """Length of the stretch."""
        return float((self.end - self.first) * self.fmt.chunk_seconds)

    def levels(self, pcm: Pcm) -> npt.NDArray[np.float64]:
        """Root mean square of each chunk, in dB of full scale, −60 at least; float64[chunks]."""
        square = (pcm.reshape(self.end - self.first, -1) / _FULL_SCALE) ** 2
        found: npt.NDArray[np.float64] = np.maximum(10 * np.log10(square.mean(axis=1) + 1e-12), _FLOOR_DB)
        return found


def side_row(folder: Path, manifest: DuplexManifest, session_id: str) -> dict[str, Any]:
    """The row of storage with this session id, without reading the audio of the others; UsageError when there is none."""
    names = {Path(one.name).name for one in manifest.storage if one.first <= session_id <= one.last}
    for path in table_files(folder / STORAGE):
        if path.name in names:
            for batch in batches_of(path):
                found = batch.column("session_id").to_pylist()
                if session_id in found:
                    row: dict[str, Any] = batch.slice(found.index(session_id), 1).to_pylist()[0]
                    return row
    raise UsageError(f"{folder} has no side {session_id!r}: without a name, inspect lists them")


def look(
    row: dict[str, Any], fmt: DuplexFormat, tokenizer: Tokenizer | None, *, start: float = 0.0, end: float | None = None
) -> Look:
    """The chunks of ``row`` (of storage) that hold seconds ``start`` to ``end``. Without a tokenizer, tokens show as ids."""
    chunks = int(row["chunks"])
    first = fmt.chunk_at(max(start, 0.0))
    last = chunks if end is None else min(chunks, fmt.chunks(end))
    if first >= last:
        length = chunks * float(fmt.chunk_seconds)
        raise UsageError(f"{row['session_id']} is {length:.2f} s long: nothing lies from {start:g} s on")
    events = parse_events(row["events_json"], str(row["session_id"]))
    user, _ = unpack_part(row["user_audio"], first * fmt.user_samples, last * fmt.user_samples)
    agent, _ = unpack_part(row["target_audio"], first * fmt.agent_samples, last * fmt.agent_samples)
    from_seconds, to_seconds = first * float(fmt.chunk_seconds), last * float(fmt.chunk_seconds)
    return Look(
        session_id=row["session_id"],
        about={name: value for name, value in row.items() if not isinstance(value, bytes)},
        fmt=fmt,
        first=first,
        end=last,
        user=user,
        agent=agent,
        events=[event for event in events if event.end >= from_seconds and event.start < to_seconds],
        said=_said(events, fmt, tokenizer, chunks)[first:last],
    )


def _said(events: list[Event], fmt: DuplexFormat, tokenizer: Tokenizer | None, chunks: int) -> list[list[str]]:
    """What each chunk says: its tokens as the pieces of text they come from."""
    pieces = [piece for event in events for piece in _pieces(event, tokenizer)]
    stream = stream_of(events, fmt, chunks)
    marks = stream.sequence != fmt.placeholder_id
    spoken = marks & (stream.sequence != fmt.silence_token_id)
    chunk_of = np.searchsorted(stream.starts, np.flatnonzero(spoken), side="right") - 1
    said: list[list[str]] = [[] for _ in range(chunks)]
    # Tokens keep their order and what is capped is the end, so the pieces go in as the places come.
    for chunk, piece in zip(chunk_of, pieces, strict=False):
        said[chunk].append(piece)
    return said


def _pieces(event: Event, tokenizer: Tokenizer | None) -> list[str]:
    if tokenizer is None:
        return [f"[{number}]" for number in event.input_ids]
    spans = tokenizer.spans(event.text)[: len(event.input_ids)]
    return [event.text[begin:end] for begin, end in spans]
