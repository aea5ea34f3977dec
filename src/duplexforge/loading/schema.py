"""What lies in the folder of a duplex data set: names, columns and events, for those who write it and those who read it.

::

    format.json                the DuplexFormat; every consumer reads the framing from here
    manifest.json              written last: counts, and size and checksum of every other file
    report.jsonl               one line per problem: what was left out or flagged, where and why
    storage/                   HF data set on disk: one row per *side* (a session heard from one of its two seats)
    train/ validation/ test/   HF data sets on disk: one row per window of a side (or the whole side)
    shards/<split>-<00000>.tar the same windows as tar shards, when wanted: <key>.user.flac .agent.flac .json

A *side* has a user, whose track the model hears at 16 kHz, and an agent, whose track it is to speak at 24 kHz. Its session id is
``<conversation>--<agent>``. Both tracks are cut or filled with silence to a whole number of chunks, so
``user samples / 5120 == agent samples / 7680 == chunks``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from duplexforge.records import FileEntry, Record

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "format.json"
MANIFEST = "manifest.json"
REPORT = "report.jsonl"
STORAGE = "storage"
SPLITS = ("train", "validation", "test")
SHARDS = "shards"

EMBEDDING_SIZE = 192


class EventWord(BaseModel):
    """A word with its times in seconds from the start of the side."""

    model_config = ConfigDict(frozen=True)

    text: str
    start: float
    end: float


class Event(BaseModel):
    """An utterance of the agent. Times in seconds from the start of the side; ``duration`` is ``end - start``.

    ``due`` names the chunk in which each token joins the queue; None means all in the chunk of ``start`` (the plain rule).
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    start: float
    end: float
    text: str
    input_ids: list[int]
    duration: float
    due: list[int] | None = None
    words: list[EventWord] | None = None


class SideFlag:
    """Words in the column ``flags`` of a side; a flag hides nothing, it says what a reader should know."""

    NO_EMBEDDING = "no_speaker_embedding"
    NO_TEXT = "no_text"
    OVERLAP = "overlap_in_both_tracks"
    CAPPED = "tokens_capped"
    LENGTHS_DIFFER = "track_lengths_differ"


class Totals(BaseModel):
    """Counts of one split. ``tokens`` are text tokens that stand in a sequence, ``silence`` chunks that say nothing."""

    model_config = ConfigDict(frozen=True)

    sides: int = 0
    windows: int = 0
    chunks: int = 0
    placeholders: int = 0
    events: int = 0
    tokens: int = 0
    capped: int = 0
    silent_chunks: int = 0
    user_samples: int = 0
    agent_samples: int = 0
    speakers: list[str] = Field(default_factory=list)
    conversations: list[str] = Field(default_factory=list)


class StorageFile(BaseModel):
    """One Arrow file of ``storage``: its rows, and the least and the greatest of their session ids."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    first: str
    last: str


class DuplexManifest(Record):
    """The commit of a build. ``totals`` by split, over whole sides (windows are parts of them).

    ``settings`` as the build had them, ``problems`` by reason. ``storage`` says which file holds a side, so that a reader
    far from the files fetches only that one.
    """

    source: str
    settings: dict[str, Any]
    totals: dict[str, Totals]
    problems: dict[str, int]
    files: list[FileEntry]
    storage: list[StorageFile] = Field(default_factory=list)


def storage_schema() -> pa.Schema:
    """Columns of ``storage``; the first five are what other readers of this format rely on."""
    import pyarrow as pa

    return pa.schema(
        [
            ("session_id", pa.string()),
            ("user_audio", pa.binary()),  # FLAC or WAV, 16-bit mono at the format's user rate
            ("target_audio", pa.binary()),  # the agent, at the format's agent rate
            ("events_json", pa.string()),  # list of Event, in order of start
            ("speaker_embedding", pa.list_(pa.float32(), EMBEDDING_SIZE)),  # of the agent; null when nobody measured it
            ("conversation_id", pa.string()),
            ("group", pa.string()),  # of the recording session; no split cuts through it
            ("split", pa.string()),
            ("user_speaker", pa.string()),
            ("agent_speaker", pa.string()),
            ("language", pa.string()),
            ("licence", pa.string()),
            ("chunks", pa.int64()),
            ("tokens", pa.int64()),
            ("capped", pa.int64()),
            ("silent_chunks", pa.int64()),
            ("user_sha256", pa.string()),  # of the PCM samples (int16 little-endian), whatever they are packed in
            ("target_sha256", pa.string()),
            ("events_sha256", pa.string()),  # of events_json in UTF-8
            ("embedding_engine", pa.string()),
            ("flags", pa.list_(pa.string())),
            ("provenance_json", pa.string()),
        ]
    )


def window_schema() -> pa.Schema:
    """Columns of ``train``, ``validation`` and ``test``; samples are the user's, at the format's user rate."""
    import pyarrow as pa

    return pa.schema(
        [
            ("session_id", pa.string()),
            ("seq_id", pa.int64()),
            ("start_sample", pa.int64()),
            ("end_sample", pa.int64()),
        ]
    )
