"""Episodes of a store (committed manifests only) and of a folder that the pipeline alone has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from duplexforge.converting.episode import Episode, Row, Sound, SoundRow, Speech, Unreadable
from duplexforge.episodes import SEGMENTS, Committed, parse_rows, read_file
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, Layout
from duplexforge.records import Manifest
from duplexforge.storage import Store

__all__ = ["SEGMENTS", "PipelineFolder", "StoreSource"]

EVENTS = "events.json"
_ROWS: TypeAdapter[list[Row]] = TypeAdapter(list[Row])
_SOUNDS: TypeAdapter[list[SoundRow]] = TypeAdapter(list[SoundRow])


class StoreSource:
    """The processed episodes of a store. Files are found through manifests alone, and checked against them."""

    def __init__(self, store: Store, layout: Layout) -> None:
        self._store, self._committed = store, Committed(store, layout)
        self.left_out: dict[str, int] = {}

    def episodes(self) -> Iterator[Episode | Unreadable]:
        """All committed episodes by id; one that was purged from the data set is left out here too."""
        for episode, found in self._committed.each(self._read):
            yield Unreadable(episode, found.reason, str(found)) if isinstance(found, InputError) else found
        self.left_out = dict(Counter(reason for _, reason in self._committed.left_out))

    def _read(self, manifest: Manifest) -> Episode:
        rows = parse_rows(_ROWS, read_file(self._store, manifest, SEGMENTS) or b"[]", manifest.folder + SEGMENTS)
        if len(rows) != manifest.segments:
            message = f"{manifest.folder}{SEGMENTS} has {len(rows)} segments, its manifest says {manifest.segments}"
            raise InputError(message, reason="bad_record")
        heard = read_file(self._store, manifest, EVENTS)
        sounds = parse_rows(_SOUNDS, heard, manifest.folder + EVENTS) if heard is not None else []
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
            rows: list[Row] = parse_rows(_ROWS, (folder / SEGMENTS).read_bytes(), str(folder / SEGMENTS))
            heard = (folder / EVENTS).read_bytes() if (folder / EVENTS).is_file() else None
            sounds = parse_rows(_SOUNDS, heard, str(folder / EVENTS)) if heard is not None else []
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
