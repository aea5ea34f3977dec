"""Episodes of a store (committed manifests only) and of a folder that the pipeline alone has written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from duplexforge.converting.episode import Episode, Row, Sound, SoundRow, Speech, Unreadable
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, Layout, name_of
from duplexforge.records import Manifest, parse
from duplexforge.storage import Store

__all__ = ["SEGMENTS", "PipelineFolder", "StoreSource"]

SEGMENTS, EVENTS = "all_segments.json", "events.json"
_THREADS = 8
# Read ahead at most this many episodes: a page of them is some megabytes.
_PAGE = 64
_ROWS: TypeAdapter[list[Row]] = TypeAdapter(list[Row])
_SOUNDS: TypeAdapter[list[SoundRow]] = TypeAdapter(list[SoundRow])


def _rows(adapter: TypeAdapter[Any], body: bytes, what: str) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{what}: {where}: {first['msg']}", reason="bad_record") from error


class StoreSource:
    """The processed episodes of a store. Files are found through manifests alone, and checked against them."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._layout = store, layout
        self.left_out: dict[str, int] = {}

    def episodes(self) -> Iterator[Episode | Unreadable]:
        """All committed episodes by id; one that was purged from the data set is left out here too."""
        gone: Counter[str] = Counter()
        purged = {name_of(meta.key) for meta in self._store.list(self._layout.purges())}
        names = sorted(self._names())
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(names), _PAGE):
                wanted = [name for name in names[start : start + _PAGE] if name[0] not in purged]
                gone["purged"] += len(names[start : start + _PAGE]) - len(wanted)
                for found in pool.map(self._episode, wanted):
                    if found is None:
                        gone["not_committed"] += 1
                    else:
                        yield found
        self.left_out = dict(+gone)

    def _names(self) -> Iterator[tuple[str, str]]:
        """Episode and language of every folder; by folder, as a listing of all segments would be a hundredfold."""
        for language in self._store.folders(self._layout.processed):
            for folder in self._store.folders(language):
                _, code, episode = folder.rstrip("/").rsplit("/", 2)
                yield episode, code

    def _episode(self, name: tuple[str, str]) -> Episode | Unreadable | None:
        episode, language = name
        try:
            key = self._layout.manifest(language, episode)
        except ValueError as error:
            return Unreadable(episode, "bad_record", str(error))
        body = self._store.find(key)
        if body is None:
            return None
        try:
            return self._read(parse(Manifest, body, key))
        except InputError as error:
            return Unreadable(episode, error.reason, str(error))

    def _read(self, manifest: Manifest) -> Episode:
        rows = _rows(_ROWS, self._file(manifest, SEGMENTS) or b"[]", manifest.folder + SEGMENTS)
        if len(rows) != manifest.segments:
            message = f"{manifest.folder}{SEGMENTS} has {len(rows)} segments, its manifest says {manifest.segments}"
            raise InputError(message, reason="bad_record")
        heard = self._file(manifest, EVENTS)
        sounds = _rows(_SOUNDS, heard, manifest.folder + EVENTS) if heard is not None else []
        return Episode(
            manifest.episode_id,
            manifest.language,
            tuple(Speech.of(row) for row in rows),
            tuple(Sound.of(row) for row in sounds),
            listener=None if heard is None else str(manifest.facts.get("events") or "unknown"),
            # Hours are kept in parts of a millisecond and more, which is what a person means by a length.
            duration=round(manifest.hours.source * 3600, 2),
            outcome=manifest.outcome,
            **{name: getattr(manifest, name) for name in ("title", "url", "source", "licence")},
        )

    def _file(self, manifest: Manifest, name: str) -> bytes | None:
        """A committed file's bytes, None when the manifest names none. InputError when it is not what was committed."""
        entry = next((entry for entry in manifest.files if entry.name == name), None)
        if entry is None:
            return None
        body = self._store.find(manifest.folder + name)
        if body is None:
            raise InputError(f"{manifest.folder}{name} is named by a manifest but is not there", reason="input_missing")
        if hashlib.sha256(body).hexdigest() != entry.sha256:
            raise InputError(f"{manifest.folder}{name} is not what its manifest says", reason="checksum")
        return body


class PipelineFolder:
    """What ``python -m Emilia`` wrote: folders that hold ``all_segments.json``, with no manifest beside them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self.left_out: dict[str, int] = {}

    def episodes(self) -> Iterator[Episode | Unreadable]:
        """All of them by id; an episode is called as its speakers are, else as its folder."""
        found = [self._episode(folder) for folder in self._folders]
        yield from sorted(found, key=lambda one: one.episode_id)

    def _episode(self, folder: Path) -> Episode | Unreadable:
        try:
            rows: list[Row] = _rows(_ROWS, (folder / SEGMENTS).read_bytes(), str(folder / SEGMENTS))
            heard = (folder / EVENTS).read_bytes() if (folder / EVENTS).is_file() else None
            sounds = _rows(_SOUNDS, heard, str(folder / EVENTS)) if heard is not None else []
        except (InputError, OSError) as error:
            return Unreadable(folder.name, getattr(error, "reason", "unreadable"), str(error))
        languages = Counter(row.language for row in rows)
        return Episode(
            next((row.speaker.rpartition("/")[0] for row in rows if "/" in row.speaker), folder.resolve().name),
            min(languages, key=lambda code: (-languages[code], code), default=UNKNOWN_LANGUAGE),
            tuple(Speech.of(row) for row in rows),
            tuple(Sound.of(row) for row in sounds),
            listener=None if heard is None else "unknown",
        )
