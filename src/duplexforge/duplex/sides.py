"""One side built: both tracks decoded and packed, the agent's words aligned, and what it all amounts to.

Runs in any process. Audio goes through block by block; only the packed tracks are held, so a long conversation costs
little more memory than its row in the data set.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge.duplex.alignment import Aligned, events
from duplexforge.duplex.audio import not_numbers, to_pcm
from duplexforge.duplex.corpus import Audio, Problem
from duplexforge.duplex.plan import Seat, left_out, track_name
from duplexforge.duplex.speakers import Embedder, embed_track, load_embedder
from duplexforge.duplex.tokens import Tokenizer, load_tokenizer
from duplexforge.duplex.writing import write_rows
from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Stream
from duplexforge.layout import hashed_id
from duplexforge.loading.packing import Packer, Packing, Pcm
from duplexforge.loading.schema import SideFlag, Totals, storage_schema
from duplexforge.loading.sequence import events_json, stream_of

# An Arrow cell of bytes ends here.
_MOST_BYTES = 2**31 - 1
# Silence is appended in pieces of so many samples.
_PIECE = 1 << 20


@dataclass(frozen=True)
class Built:
    """A side that was built, its row in a file of its own; or, with ``path`` None, why it was not."""

    path: Path | None
    totals: Totals
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class SideWork:
    """Builds sides into files in ``folder``; tokenizer and speaker network are loaded where it runs, on first use."""

    fmt: DuplexFormat
    packing: Packing
    embedding: str
    folder: Path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer to which ``fmt`` is bound."""
        return load_tokenizer(self.fmt.model, self.fmt.revision)

    @cached_property
    def embedder(self) -> Embedder:
        """The engine of speaker embeddings."""
        return load_embedder(self.embedding)

    def __call__(self, seat: Seat) -> Built:
        """Build one side. What is the fault of its input becomes a problem; any other error is raised."""
        try:
            row, totals, problems = self._build(seat)
        except InputError as error:
            problem = Problem(seat.conversation.conversation_id, None, error.reason, str(error))
            return Built(None, Totals(), (problem,))
        # Two names of 200 signs are more than a file may have.
        path = self.folder / f"{hashed_id('side', seat.session_id)}.arrow"
        write_rows(path, [row], storage_schema())
        return Built(path, totals, tuple(problems))

    def _build(self, seat: Seat) -> tuple[dict[str, Any], Totals, list[Problem]]:
        fmt, aligned = self.fmt, events(seat.agent_track.utterances, self.fmt, self.tokenizer)
        user = _Recording(seat.user_track.audio, fmt.user_rate, self.packing)
        agent = _Recording(seat.agent_track.audio, fmt.agent_rate, self.packing)
        lengths = fmt.chunks_of(user.samples, fmt.user_samples), fmt.chunks_of(agent.samples, fmt.agent_samples)
        chunks = max(lengths)
        stream = stream_of(aligned.events, fmt, chunks)
        vector = embed_track(self.embedder, seat.agent_track)
        flags = self._flags(seat, aligned, stream, abs(lengths[0] - lengths[1]) > 1, vector is None)
        totals = self._totals(seat, aligned, stream, chunks)
        row = {
            **_names(seat),
            **_texts(aligned),
            "user_audio": user.finish(chunks * fmt.user_samples),
            "target_audio": agent.finish(chunks * fmt.agent_samples),
            "user_sha256": user.sha256,
            "target_sha256": agent.sha256,
            "speaker_embedding": None if vector is None else vector.tolist(),
            "embedding_engine": self.embedder.name,
            "flags": flags,
            **{name: getattr(totals, name) for name in ("chunks", "tokens", "capped", "silent_chunks")},
        }
        return row, totals, [*left_out(seat, aligned), *_broken(seat, user, agent)]

    def _flags(self, seat: Seat, aligned: Aligned, stream: Stream, uneven: bool, voiceless: bool) -> list[str]:
        found = {
            SideFlag.NO_EMBEDDING: voiceless,
            SideFlag.NO_TEXT: not aligned.events,
            SideFlag.CAPPED: bool(aligned.capped or stream.capped),
            SideFlag.LENGTHS_DIFFER: uneven,
        }
        return sorted({*seat.conversation.flags, *(flag for flag, holds in found.items() if holds)})

    def _totals(self, seat: Seat, aligned: Aligned, stream: Stream, chunks: int) -> Totals:
        fmt = self.fmt
        return Totals(
            sides=1,
            chunks=chunks,
            placeholders=chunks * fmt.frames_per_chunk,
            events=len(aligned.events),
            tokens=sum(len(event.input_ids) for event in aligned.events) - stream.capped,
            capped=stream.capped,
            silent_chunks=stream.silent,
            user_samples=chunks * fmt.user_samples,
            agent_samples=chunks * fmt.agent_samples,
            speakers=sorted(track.speaker for track in seat.conversation.tracks),
            conversations=[seat.conversation.conversation_id],
        )


def _names(seat: Seat) -> dict[str, Any]:
    one = seat.conversation
    return {
        "session_id": seat.session_id,
        "conversation_id": one.conversation_id,
        "group": one.group or None,
        "split": seat.split,
        "user_speaker": seat.user_track.speaker,
        "agent_speaker": seat.agent_track.speaker,
        "language": one.language,
        "licence": one.licence,
        "provenance_json": json.dumps(one.provenance, sort_keys=True, ensure_ascii=False),
    }


def _texts(aligned: Aligned) -> dict[str, Any]:
    body = events_json(aligned.events)
    return {"events_json": body, "events_sha256": hashlib.sha256(body.encode()).hexdigest()}


def _broken(seat: Seat, user: _Recording, agent: _Recording) -> list[Problem]:
    return [
        Problem(
            track_name(seat, track),
            None,
            "broken_samples",
            f"{recording.broken} samples are no numbers: silence stands for them",
            kept=True,
        )
        for track, recording in ((seat.user_track, user), (seat.agent_track, agent))
        if recording.broken
    ]


class _Recording:
    """A track read to its end, packed as it came: ``samples`` of it, of which ``broken`` were no numbers."""

    def __init__(self, audio: Audio, rate: int, packing: Packing) -> None:
        self._packer, self._digest = Packer(rate, packing), hashlib.sha256()
        self.samples = self.broken = 0
        for block in audio.blocks(rate):
            self.broken += not_numbers(block)
            self._write(to_pcm(block))

    def _write(self, pcm: Pcm) -> None:
        self._packer.write(pcm)
        self._digest.update(np.ascontiguousarray(pcm, dtype="<i2").data)
        self.samples += len(pcm)

    def finish(self, samples: int) -> bytes:
        """The packed track, filled with silence to ``samples``. InputError when it is too long for a cell."""
        while (missing := samples - self.samples) > 0:
            self._write(np.zeros(min(missing, _PIECE), dtype=np.int16))
        body = self._packer.finish()
        if len(body) > _MOST_BYTES:
            raise InputError(f"a track of {len(body)} bytes is too long for one side: cut it", reason="too_long")
        return body

    @property
    def sha256(self) -> str:
        """Checksum of the samples as :func:`duplexforge.loading.packing.pcm_sha256` makes it; after :meth:`finish`."""
        return self._digest.hexdigest()
