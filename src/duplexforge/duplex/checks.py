"""What must hold of one side of a duplex data set and of its windows, derived again from the events and the audio.

Nothing here reads a count without counting it anew: tokens come from the text through the tokenizer, chunks from the
samples, placeholders from the encoder's length formula.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from duplexforge.duplex.alignment import events as align
from duplexforge.duplex.corpus import Utterance, Word
from duplexforge.duplex.tokens import Tokenizer
from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Stream, audio_tokens
from duplexforge.loading.packing import pcm_sha256, unpack
from duplexforge.loading.schema import EMBEDDING_SIZE, Event, SideFlag
from duplexforge.loading.sequence import parse_events, stream_of

_UNIT = 1e-3
# The rest may be null: nobody knows the licence, nobody measured the voice.
_NEEDED = (
    *("session_id", "user_audio", "target_audio", "events_json", "conversation_id", "split", "user_speaker"),
    *("agent_speaker", "chunks", "tokens", "capped", "silent_chunks", "user_sha256", "target_sha256", "events_sha256"),
)

# What may stand in one split only, and what it is called.
_APART = {"user_speaker": "speaker", "agent_speaker": "speaker", "conversation_id": "conversation", "group": "group"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something that does not hold: ``where`` names the row (``storage/<session>``, ``train/<session>#<seq>``) or file."""

    where: str
    check: str
    message: str


@dataclass(frozen=True)
class Counted:
    """What a side amounts to, counted anew."""

    chunks: int
    placeholders: int
    events: int
    tokens: int
    capped: int
    silent_chunks: int
    user_samples: int
    agent_samples: int


@dataclass
class Side:
    """One row of ``storage`` under the eyes of the checks; findings are collected as they are met."""

    row: Row
    fmt: DuplexFormat
    tokenizer: Tokenizer | None
    findings: list[Finding]

    @property
    def where(self) -> str:
        """The row's name."""
        return f"storage/{self.row['session_id']}"

    def is_whole(self) -> bool:
        """Whether nothing is null that must not be; else there is a finding, and nothing more can be said of the row."""
        if lacking := [name for name in _NEEDED if self.row[name] is None]:
            self._tell("null", f"{', '.join(lacking)}: nothing is there")
        return not lacking

    def check(self) -> Counted:
        """Everything about this row, which is whole; what it amounts to."""
        self._names()
        user = self._audio("user_audio", "user_sha256", self.fmt.user_rate)
        agent = self._audio("target_audio", "target_sha256", self.fmt.agent_rate)
        chunks = self._chunks(user, agent)
        events = self._events()
        stream = self._stream(events, chunks)
        self._embedding()
        counted = _count(stream, self.fmt, events, chunks, (user, agent))
        for name in ("tokens", "capped", "silent_chunks"):
            if self.row[name] != getattr(counted, name):
                self._tell(name, f"the row says {self.row[name]}, the sequence has {getattr(counted, name)}")
        return counted

    def _names(self) -> None:
        user, agent = self.row["user_speaker"], self.row["agent_speaker"]
        if self.row["session_id"] != f"{self.row['conversation_id']}--{agent}":
            self._tell("session_id", f"it is not that of {self.row['conversation_id']!r} with the agent {agent!r}")
        if not user or user == agent:
            self._tell("user_speaker", f"{user!r} cannot be the one to whom {agent!r} speaks")

    def _tell(self, check: str, message: str) -> None:
        self.findings.append(Finding(self.where, check, message))

    def _audio(self, column: str, digest: str, rate: int) -> int:
        try:
            samples, found = unpack(self.row[column])
        except InputError as error:
            self._tell(column, str(error))
            return 0
        if found != rate:
            self._tell(column, f"{found} Hz where the format says {rate}")
        if (sha := pcm_sha256(samples)) != self.row[digest]:
            self._tell(column, f"the samples are not those that were written ({digest} differs: {sha[:12]}…)")
        return len(samples)

    def _chunks(self, user: int, agent: int) -> int:
        """By the samples: a number in a row may be any."""
        chunks = max(user // self.fmt.user_samples, agent // self.fmt.agent_samples)
        if self.row["chunks"] != chunks:
            self._tell("chunks", f"the row says {self.row['chunks']}, the tracks have {chunks}")
        for name, samples, each in (
            ("user_audio", user, self.fmt.user_samples),
            ("target_audio", agent, self.fmt.agent_samples),
        ):
            if samples != chunks * each:
                self._tell(name, f"{samples} samples where {chunks} chunks of {each} make {chunks * each}")
        return chunks

    def _events(self) -> list[Event]:
        body = self.row["events_json"]
        if (sha := hashlib.sha256(body.encode()).hexdigest()) != self.row["events_sha256"]:
            self._tell(
                "events_json", f"the events are not those that were written (events_sha256 differs: {sha[:12]}…)"
            )
        try:
            events = parse_events(body, self.where)
        except InputError as error:
            self._tell("events_json", str(error))
            return []
        for number, event in enumerate(events):
            self._event(number, event)
        starts = [event.start for event in events]
        if starts != sorted(starts):
            self._tell("events_json", "the events are not in order of their start")
        return events

    def _event(self, number: int, event: Event) -> None:
        what = f"event {number} at {event.start:g} s"
        if not 0 <= event.start <= event.end or abs(event.end - event.start - event.duration) > _UNIT:
            self._tell("events_json", f"{what}: start {event.start:g}, end {event.end:g}, duration {event.duration:g}")
        if self.fmt.silence_token_id in event.input_ids:
            self._tell("silence_token", f"{what} has the silence token among its text tokens")
        if self.tokenizer is None:
            return
        again = align([_utterance(event)], self.fmt, self.tokenizer).events
        if [(one.input_ids, one.due) for one in again] != [(event.input_ids, event.due)]:
            self._tell("tokens", f"{what}: its text {event.text[:40]!r} makes other tokens or other due chunks")

    def _stream(self, events: list[Event], chunks: int) -> Stream:
        try:
            stream = stream_of(events, self.fmt, chunks)
        except InputError as error:
            self._tell("events_json", str(error))
            stream = stream_of([], self.fmt, chunks)
        wrong = misframed(stream, self.fmt)
        if wrong.size:
            self._tell("placeholders", f"chunk {wrong[0]} does not hold what the encoder makes of it")
        return stream

    def _embedding(self) -> None:
        vector, flagged = self.row["speaker_embedding"], SideFlag.NO_EMBEDDING in (self.row["flags"] or [])
        if (vector is None) != flagged:
            self._tell("speaker_embedding", f"null is {vector is None}, flag {SideFlag.NO_EMBEDDING} is {flagged}")
        if vector is None:
            return
        values = np.asarray(vector, dtype=np.float64)
        if values.shape != (EMBEDDING_SIZE,) or not np.isfinite(values).all():
            self._tell("speaker_embedding", "not 192 finite numbers")
        elif abs(float(np.linalg.norm(values)) - 1.0) > _UNIT:
            self._tell("speaker_embedding", f"its length is {np.linalg.norm(values):.3f} and not 1")


def misframed(stream: Stream, fmt: DuplexFormat) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Chunks whose placeholders are not exactly the tokens of their mel frames, or whose text part has a wrong length."""
    marks = stream.sequence == fmt.placeholder_id
    so_far = np.concatenate([[0], np.cumsum(marks)])
    expected = audio_tokens(fmt.mel_frames)
    each = so_far[stream.starts[1:]] - so_far[stream.starts[:-1]]
    first = so_far[np.minimum(stream.starts[:-1] + expected, stream.starts[1:])] - so_far[stream.starts[:-1]]
    text = np.diff(stream.starts) - each
    fits = (each == expected) & (first == expected) & ((text == 1) | (text == fmt.text_tokens))
    return np.flatnonzero(~fits)


def windows(rows: list[Row], split: str, side: Row, fmt: DuplexFormat) -> Iterator[Finding]:
    """What is wrong with the windows of one side: ``rows`` of the index of ``split``, in the order of ``seq_id``."""
    length = int(side["chunks"]) * fmt.user_samples
    if side["split"] != split:
        yield Finding(f"{split}/{side['session_id']}", "split", f"the side belongs to {side['split']}")
    for number, row in enumerate(rows):
        where = f"{split}/{row['session_id']}#{row['seq_id']}"
        if None in row.values():
            yield Finding(where, "null", f"{', '.join(name for name in row if row[name] is None)}: nothing is there")
            continue
        start, end = int(row["start_sample"]), int(row["end_sample"])
        if row["seq_id"] != number:
            yield Finding(where, "seq_id", f"expected {number}")
        if not 0 <= start < end <= length:
            yield Finding(where, "window", f"samples {start} to {end} of {length}")
        if start % fmt.user_samples or end % fmt.user_samples:
            yield Finding(where, "window", f"samples {start} to {end} do not begin and end on a chunk")
        if number == 0 and (start, end) != (0, length):
            yield Finding(where, "window", f"the first window is the whole side, samples 0 to {length}")


def leaks(seats: Mapping[str, Mapping[str, set[str]]]) -> Iterator[Finding]:
    """What stands in two splits: ``seats`` maps kind (speaker, conversation, group) → name → the splits it was met in."""
    for kind, names in seats.items():
        for name, splits in sorted(names.items()):
            if len(splits) > 1:
                yield Finding(f"{'+'.join(sorted(splits))}/{name}", "leak", f"the {kind} {name} is in several splits")


def groups_of(row: Row) -> list[tuple[str, str]]:
    """(kind, name) of everything that may stand in one split only."""
    return [(kind, row[column]) for column, kind in _APART.items() if row[column]]


def _utterance(event: Event) -> Utterance:
    words = tuple(Word(word.text, word.start, word.end) for word in event.words) if event.words is not None else None
    return Utterance(event.start, event.end, event.text, words)


def _count(stream: Stream, fmt: DuplexFormat, events: list[Event], chunks: int, samples: tuple[int, int]) -> Counted:
    placeholders = int((stream.sequence == fmt.placeholder_id).sum())
    text = sum(len(event.input_ids) for event in events)
    return Counted(chunks, placeholders, len(events), text - stream.capped, stream.capped, stream.silent, *samples)
