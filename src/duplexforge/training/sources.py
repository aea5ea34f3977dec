"""Where speech for training comes from: folders of plain audio, and the committed episodes of a store."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter

from duplexforge.episodes import SEGMENTS, Committed, parse_rows, read_file
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import AUDIO_EXTENSIONS, Layout
from duplexforge.records import Manifest
from duplexforge.storage import Store
from duplexforge.training.preparing import UNKNOWN, Clip, Wave
from duplexforge.training.speech import RATE

__all__ = ["Episodes", "decode", "found", "plain"]

# Telephone prompts come as raw G.722, which no content tells: its name must.
_RAW = {"g722": "g722"}
_MOST_SECONDS = 3600 * 48


def plain(source: Path, *, speaker: str | None = None) -> Iterator[Clip]:
    """The audio files at ``source``: a file, or a folder in which each folder is a speaker.

    What lies in the folder itself has no known speaker; ``speaker`` names one for everything.
    """
    if not source.exists():
        raise UsageError(f"there is no file or folder {source}")
    for path in _files(source):
        inside = path.relative_to(source).parts if source.is_dir() else ()
        who = speaker or (inside[0] if len(inside) > 1 else UNKNOWN)
        name = "/".join(inside) or path.name
        try:
            yield Clip(name, who, decode(path))
        except InputError as error:
            yield Clip(name, who, reason=error.reason, sentence=str(error))


class _Segment(BaseModel):
    model_config = ConfigDict(frozen=True)

    segment_id: str
    speaker: str
    audio: str | None = None
    language: str = "unknown"
    flags: list[str] = []


_SEGMENTS: TypeAdapter[list[_Segment]] = TypeAdapter(list[_Segment])


class Episodes:
    """The segments of a store's committed episodes. ``left_out`` counts, by reason, what was not given."""

    def __init__(self, store: Store, layout: Layout, *, flagged: bool = False) -> None:
        self._store, self._committed, self._flagged = store, Committed(store, layout), flagged
        self.left_out: dict[str, int] = {}

    def clips(self) -> Iterator[Clip]:
        """All of them; a segment with a flag only where the caller wants those too."""
        for episode, found in self._committed.each(lambda manifest: (manifest, self._rows(manifest))):
            if isinstance(found, InputError):
                yield Clip(episode, UNKNOWN, reason=found.reason, sentence=str(found))
                continue
            manifest, rows = found
            for row in rows:
                if row.flags and not self._flagged:
                    self._leave("flagged")
                elif not row.audio:
                    self._leave("no_audio")
                else:
                    yield self._clip(manifest, row, row.audio)
        for _, reason in self._committed.left_out:
            self._leave(reason)

    def _rows(self, manifest: Manifest) -> list[_Segment]:
        body = read_file(self._store, manifest, SEGMENTS) or b"[]"
        rows: list[_Segment] = parse_rows(_SEGMENTS, body, manifest.folder + SEGMENTS)
        return rows

    def _clip(self, manifest: Manifest, row: _Segment, audio: str) -> Clip:
        facts: dict[str, Any] = {"licence": manifest.licence, "language": row.language}
        try:
            body = read_file(self._store, manifest, audio)
            if body is None:
                raise InputError(f"{manifest.folder}{audio} is in no manifest", reason="input_missing")
            return Clip(row.segment_id, row.speaker, decode(io.BytesIO(body), audio), **facts)
        except InputError as error:
            return Clip(row.segment_id, row.speaker, reason=error.reason, sentence=str(error), **facts)

    def _leave(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def decode(source: Path | io.BytesIO, name: str = "") -> Wave:
    """The sound (samples at 16 kHz, channels averaged) of any audio file; InputError saying why when there is none."""
    import av

    name = name or str(source)
    shape = _RAW.get(name.rsplit(".", 1)[-1].lower())
    opened = source if isinstance(source, io.BytesIO) else str(source)
    try:
        container: Any
        with av.open(opened, format=shape) as container:
            if not container.streams.audio:
                raise InputError(f"{name} has no audio in it", reason="no_audio")
            rate = container.streams.audio[0].rate
            blocks, samples = [], 0
            for frame in container.decode(audio=0):
                block = _mono(frame)
                samples += len(block)
                if samples > rate * _MOST_SECONDS:
                    raise InputError(f"{name} is longer than 48 hours", reason="too_long")
                blocks.append(block)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as audio: {error}", reason="undecodable") from error
    if not blocks:
        raise InputError(f"{name} has no audio in it", reason="no_audio")
    return _at_rate(np.concatenate(blocks), rate)


def _mono(frame: Any) -> Wave:
    block = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        block = block.reshape(-1, channels).T
    if np.issubdtype(block.dtype, np.integer):
        offset = 128 if block.dtype == np.uint8 else 0
        block = (block.astype(np.float32) - offset) / (128 if offset else float(np.iinfo(block.dtype).max) + 1)
    return np.asarray(block.mean(axis=0), np.float32)


def _at_rate(wave: Wave, rate: int) -> Wave:
    if rate == RATE:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, rate, RATE), np.float32)


def found(place: str) -> list[Path]:
    """The path that ``place`` names, or all that a glob does; UsageError when it names none."""
    if Path(place).exists() or not glob.has_magic(place):
        return [Path(place)]
    paths = sorted(Path(name) for name in glob.glob(place, recursive=True))  # noqa: PTH207 - it may start anywhere
    if not paths:
        raise UsageError(f"nothing matches {place}")
    return paths


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    wanted = {*AUDIO_EXTENSIONS, *_RAW}
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix.lower().lstrip(".") in wanted:
            yield path
