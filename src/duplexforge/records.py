"""Every record that outlives a process, as a typed, versioned model.

All are JSON objects in the store. Unknown fields are kept when read (a newer writer may have added them); a record whose
``version`` is newer than this program understands is refused by :func:`parse`, never guessed at.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from duplexforge.errors import InputError

VERSION = 1

R = TypeVar("R", bound="Record")


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong with what was read: where, and what."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole body"
    return f"{where}: {first['msg']}"


def now() -> str:
    """The time of day as an ISO string in UTC, to the second: for people to read, never for decisions."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


class Record(BaseModel):
    """Base of all records: frozen, keeps fields it does not know, writes itself with sorted keys."""

    model_config = ConfigDict(frozen=True, extra="allow")

    version: int = VERSION

    def to_bytes(self) -> bytes:
        """The record as UTF-8 JSON with a final newline, without empty optional fields."""
        return (self.model_dump_json(exclude_none=True, indent=1) + "\n").encode()


def parse(model: type[R], body: bytes, what: str) -> R:
    """Read ``body`` as ``model``; InputError(``bad_record``) naming ``what`` and the first thing wrong otherwise."""
    try:
        record = model.model_validate_json(body)
    except ValidationError as error:
        if (version := _version_of(body)) > VERSION:  # its fields may well be others
            raise _newer(what, version) from error
        raise InputError(
            f"{what} is not a valid {model.__name__}: {first_fault(error)}", reason="bad_record"
        ) from error
    if record.version > VERSION:
        raise _newer(what, record.version)
    return record


def _newer(what: str, version: int) -> InputError:
    return InputError(
        f"{what} has version {version}, this program reads up to {VERSION}: update it", reason="newer_version"
    )


def _version_of(body: bytes) -> int:
    """The version that a body claims, 0 when it is no JSON object with one."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return 0
    version = found.get("version") if isinstance(found, dict) else 0
    return version if isinstance(version, int) else 0


class Task(Record):
    """What every task has. ``id`` is also the file name of the task; a body without one gets the name it was found under."""

    id: str = ""
    attempt_limit: int = Field(default=3, ge=1, le=100)
    enqueued_at: str | None = None


class Selection(BaseModel):
    """Which items of a source are wanted. Seconds and ISO dates; what an item does not say about itself leaves it in."""

    model_config = ConfigDict(frozen=True, extra="allow")

    max_items: int | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    since: str | None = None
    until: str | None = None
    licences: list[str] | None = None


class DownloadTask(Task):
    """Fetch one item. Bodies with only ``video_id`` and ``url`` (the older spelling) are accepted.

    With ``kind`` ``feed`` the URL is a feed, channel or playlist whose items are put into the queue instead, as
    ``selection`` wants them. ``origins`` are the addresses that the item belongs to, by which an owner can opt out;
    ``duration`` is what the source says, in seconds; ``round`` is the word under which a feed is read again.
    """

    url: str
    episode_id: str = ""
    video_id: str | None = None
    language: str = "unknown"
    source: str = "web"
    licence: str | None = None
    title: str | None = None
    uploader: str | None = None
    published: str | None = None
    kind: Literal["item", "feed"] = "item"
    only_audio: bool | None = None
    duration: float | None = None
    origins: list[str] | None = None
    selection: Selection | None = None
    round: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_the_episode(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("episode_id"):
            video = data.get("video_id")
            data = {**data, "episode_id": f"yt-{video}" if video else data.get("id", "")}
        return data


class ProcessTask(Task):
    """Process one episode. Bodies with only ``episode_id``, ``language`` and ``audio_key`` are accepted."""

    episode_id: str
    language: str = "unknown"
    audio_key: str
    etag: str | None = None
    record_key: str | None = None


class UploadTask(Task):
    """Publish one batch; ``batch_key`` names the frozen definition."""

    batch_key: str


class AudioRecord(Record):
    """Commit of a downloaded episode (``raw_audio/…/<episode>.json``). ``duration`` in seconds, None when nobody could tell."""

    episode_id: str
    language: str
    source: str
    audio_key: str
    url: str
    title: str | None = None
    uploader: str | None = None
    licence: str | None = None
    published: str | None = None
    extractor: str | None = None
    video_id: str | None = None
    page_url: str | None = None
    duration: float | None = None
    etag: str | None = None
    sha256: str
    size: int
    collected_at: str
    origins: list[str] | None = None


class Pause(Record):
    """All pods of one egress leave a site alone until ``until`` (seconds of the store's clock); ``level`` counts repeats."""

    site: str
    reason: str
    level: int
    length: float
    until: float
    set_at: str


class FileEntry(Record):
    """One file of a committed folder: name below the folder, size in bytes, sha256 in hex."""

    name: str
    size: int
    sha256: str


class FolderRecord(Record):
    """Commit of files that were sent together: where they lie, and what each must be.

    ``step`` is that of the training run whose checkpoint or export they are, None of other folders.
    """

    folder: str
    files: list[FileEntry]
    step: int | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    committed_at: str


class Hours(BaseModel):
    """Where the hours of an episode went. ``published + flagged + no_speech == source`` (seconds kept as hours, no rounding)."""

    source: float = 0.0
    published: float = 0.0
    flagged: float = 0.0
    no_speech: float = 0.0

    def __add__(self, other: Hours) -> Hours:
        return Hours(
            source=self.source + other.source,
            published=self.published + other.published,
            flagged=self.flagged + other.flagged,
            no_speech=self.no_speech + other.no_speech,
        )


class Manifest(Record):
    """Commit of a processed episode: names every file of the attempt that won (``processed/…/manifest.json``)."""

    episode_id: str
    language: str
    outcome: str
    attempt: str
    folder: str
    files: list[FileEntry]
    segments: int
    speakers: int
    flagged: int
    flags: dict[str, int] = Field(default_factory=dict)
    hours: Hours
    audio_key: str
    source_sha256: str | None = None
    title: str | None = None
    url: str | None = None
    source: str | None = None
    licence: str | None = None
    origins: list[str] | None = None
    config_hash: str
    models: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    committed_at: str


class BatchLine(Record):
    """One episode of a batch definition."""

    episode_id: str
    language: str
    manifest_key: str
    bytes: int


class LedgerEntry(Record):
    """Record that a batch was published: where, what and with which checksums.

    ``audio`` is the kind of the audio files (mp3, flac; "" in a shard that lost all its samples); ``licences`` counts
    samples by licence, ``""`` standing for one that the source did not state. ``durations`` and ``scores`` are the counts
    of the histograms of :mod:`duplexforge.uploading.histograms`, empty in entries that are older than those.
    """

    batch: str
    language: str
    shard: str
    episodes: list[str]
    samples: int
    hours: Hours
    size: int
    sha256: str
    target: str
    commit: str | None = None
    audio: str = "mp3"
    parquet_size: int = 0
    parquet_sha256: str = ""
    flagged: int = 0
    flags: dict[str, int] = Field(default_factory=dict)
    licences: dict[str, int] = Field(default_factory=dict)
    durations: list[int] = Field(default_factory=list)
    scores: list[int] = Field(default_factory=list)
    published_at: str


class Purged(Record):
    """Record that an episode was taken out (``purged/<episode>.json``): batch definitions are read without it."""

    episode_id: str
    reason: str | None = None
    purged_at: str


class Lease(Record):
    """One attempt at a task (``….<attempt>.lease``); only its owner writes it after creation.

    ``failures`` counts earlier attempts that failed or expired (a released one does not count). ``outcome`` is None while
    the attempt runs. ``not_before`` is in seconds of the store's clock: nobody takes the task over before.
    """

    owner: str
    nonce: str
    granted: float
    length: float
    failures: int = 0
    outcome: Literal["released", "failed"] | None = None
    not_before: float | None = None
    error: str | None = None
    reason: str | None = None


class Ended(Record):
    """Record of a task that ended (``…_completed`` or ``…_failed``), with the task itself so that it can be revived."""

    id: str
    outcome: Literal["completed", "failed"]
    attempt: int
    failures: int = 0
    reason: str | None = None
    message: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    ended_at: str

    @classmethod
    def of(cls, task: Task, outcome: Literal["completed", "failed"], attempt: int, **fields: Any) -> Self:
        """The record of ``task`` ending now."""
        body = task.model_dump(exclude_none=True)
        return cls(id=task.id, outcome=outcome, attempt=attempt, task=body, ended_at=now(), **fields)
