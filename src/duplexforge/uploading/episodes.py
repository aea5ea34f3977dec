"""One committed episode as the shards need it: its manifest and its segments, checked against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from duplexforge.errors import InputError
from duplexforge.layout import audio_extension, safe_name
from duplexforge.records import BatchLine, FileEntry, Manifest, parse
from duplexforge.storage import Store
from duplexforge.uploading.schema import Segment, sample

SEGMENTS_FILE = "all_segments.json"
# Segments are at most some tens of seconds long, so this many of them in memory are a few megabytes.
_WINDOW = 32
_SEGMENTS = TypeAdapter(list[Segment])


def bad(message: str) -> InputError:
    """The error of an episode that is not what its manifest says."""
    return InputError(message, reason="shard_input")


def sample_key(segment_id: str) -> str:
    """The name of a sample in its shard: the id without dots, as readers take all after the first for the extension.

    ``~`` is in no id, hence two ids never share a key.
    """
    return segment_id.replace(".", "~")


@dataclass(frozen=True)
class Episode:
    """Manifest and segments (by index) of one episode; ``files`` are the manifest's entries by name."""

    manifest: Manifest
    segments: list[Segment]
    files: dict[str, FileEntry]

    def samples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and JSON of every sample, in order."""
        return ((sample_key(segment.segment_id), sample(segment, self.manifest)) for segment in self.segments)

    def audio(self, store: Store, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        """The audio of every sample, in order and checked; InputError(``shard_input``) names the first wrong file."""
        for start in range(0, len(self.segments), _WINDOW):
            window = self.segments[start : start + _WINDOW]
            yield from pool.map(lambda segment: self._read(store, self.files[segment.audio]), window)

    def _read(self, store: Store, entry: FileEntry) -> bytes:
        return checked(store, self.manifest.folder, entry)


def checked(store: Store, folder: str, entry: FileEntry) -> bytes:
    """The bytes of a committed file. InputError(``shard_input``) when it is gone or is not what the manifest says."""
    key = folder + entry.name
    body = store.find(key)
    if body is None:
        raise bad(f"{key} is named by a manifest but is not in the store")
    if len(body) != entry.size:
        raise bad(f"{key} has {len(body)} bytes, its manifest says {entry.size}")
    if hashlib.sha256(body).hexdigest() != entry.sha256:
        raise bad(f"{key} does not have the checksum in its manifest")
    return body


def read_episode(store: Store, line: BatchLine) -> Episode:
    """The episode of a batch line. InputError when manifest and segments are missing or contradict each other."""
    body = store.find(line.manifest_key)
    if body is None:
        raise bad(f"the manifest {line.manifest_key} is not in the store")
    manifest = parse(Manifest, body, line.manifest_key)
    if manifest.outcome != "ok" or manifest.episode_id != line.episode_id:
        raise bad(f"{line.manifest_key} is not the manifest of the processed episode {line.episode_id}")
    files = {entry.name: entry for entry in manifest.files}
    if SEGMENTS_FILE not in files:
        raise bad(f"{line.manifest_key} names no {SEGMENTS_FILE}")
    key = manifest.folder + SEGMENTS_FILE
    try:
        segments = _SEGMENTS.validate_json(checked(store, manifest.folder, files[SEGMENTS_FILE]))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise bad(f"{key}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    if len(segments) != manifest.segments:
        raise bad(f"{key} has {len(segments)} segments, its manifest says {manifest.segments}")
    for segment in segments:
        _check(key, segment, files)
    return Episode(manifest, sorted(segments, key=lambda segment: segment.index), files)


def _check(key: str, segment: Segment, files: dict[str, FileEntry]) -> None:
    try:
        safe_name(segment.segment_id)
    except ValueError as error:
        raise bad(f"{key}: {error}") from error
    entry = files.get(segment.audio)
    if entry is None or audio_extension(segment.audio) is None:
        raise bad(f"{key}: segment {segment.segment_id}: its manifest names no audio file {segment.audio[:80]!r}")
    if entry.sha256 != segment.sha256:
        raise bad(f"{key}: segment {segment.segment_id}: {segment.audio} has another checksum in the manifest")
