"""Dumps of a podcast directory: an SQLite file with a table ``podcasts``, as podcastindex.org publishes one.

Read row by row, so four million feeds cost no memory. The columns are those of the published dump; of them only ``url``
must be there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from duplexforge.downloading.identity import web_url
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.opml import Outline
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, language_subtag

MAGIC = b"SQLite format 3\0"
_TABLE = "podcasts"
_WANTED = ("url", "title", "language", "dead", "episodeCount")
_MAX_TITLE = 200


def dump_feeds(path: Path, *, language: str, limit: int | None, notes: SeedReport) -> Iterator[Outline]:
    """The living feeds of a dump that state ``language`` (``unknown``: all languages), at most ``limit`` of them.

    Dead feeds, feeds without an episode and feeds in or without another language are counted. InputError
    (``bad_record``) when the file is no such dump.
    """
    try:
        with closing(_opened(path)) as file:
            yield from _chosen(file, path, language, limit, notes)
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read as a dump of feeds: {error}", reason="bad_record") from error


def _opened(path: Path) -> sqlite3.Connection:
    # Read only and unchanging: a dump on a read-only disk opens too, and no journal is laid beside it.
    file = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    file.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return file


def _chosen(
    file: sqlite3.Connection, path: Path, language: str, limit: int | None, notes: SeedReport
) -> Iterator[Outline]:
    there = {str(row[1]).lower(): str(row[1]) for row in file.execute(f"PRAGMA table_info({_TABLE})")}
    if "url" not in there:
        raise InputError(f"{path} holds no table {_TABLE} with a column url", reason="bad_record")
    # Names come from the table of our own words; what is missing reads as NULL.
    columns = ", ".join(name if name.lower() in there else "NULL" for name in _WANTED)
    taken = 0
    for url, title, spoken, dead, episodes in file.execute(f"SELECT {columns} FROM {_TABLE}"):  # noqa: S608
        if reason := _unwanted(spoken, dead, episodes, language):
            notes.leave_out(reason)
            continue
        try:
            outline = Outline(web_url(str(url or "")), _word(title), _word(spoken))
        except InputError as error:
            notes.refuse(_word(title) or str(url or "a feed without an address"), error)
            continue
        if limit is not None and taken >= limit:
            notes.leave_out("beyond_max_feeds")
            return
        taken += 1
        yield outline


def _unwanted(spoken: object, dead: object, episodes: object, language: str) -> str | None:
    # SQLite keeps what it was given: flags may be numbers or words.
    if str(dead or "0").strip().lower() not in ("0", "false", ""):
        return "dead_feed"
    if episodes is not None and str(episodes).strip() in ("0", "0.0"):
        return "empty_feed"
    if language != UNKNOWN_LANGUAGE and language_subtag(_word(spoken)) != language:
        return "language"
    return None


def _word(value: object) -> str | None:
    return value.strip()[:_MAX_TITLE] or None if isinstance(value, str) else None
