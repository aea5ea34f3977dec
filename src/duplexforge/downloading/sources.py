"""What a person types, as a stream of download tasks: a URL, a channel, a feed, a list, a dump, files, a bucket.

A source opens into *parts*: tasks, and references to feeds and channels that a list, an OPML file or a dump names. The
references are read by a few threads at a time, in order, and one that cannot be read is refused while the others go on;
with ``defer`` they become tasks themselves, which download workers expand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from duplexforge.config import DownloadSettings, StoreSettings
from duplexforge.downloading import tables
from duplexforge.downloading.buckets import SCHEME, bucket_tasks
from duplexforge.downloading.dump import MAGIC, dump_feeds
from duplexforge.downloading.entries import Said, entry_of, fields, is_header
from duplexforge.downloading.feeds import looks_like_feed
from duplexforge.downloading.gather import in_order
from duplexforge.downloading.identity import web_url, youtube_list
from duplexforge.downloading.local import MEDIA_EXTENSIONS, local_files, local_tasks
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.opml import looks_like_opml, outlines
from duplexforge.downloading.remote import FEED_PREFIX, Reference, Remote, feed_task, is_web
from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.layout import audio_extension, language_subtag
from duplexforge.records import DownloadTask

_LISTS = (".txt", ".list", ".urls")
_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_YOUTUBE = "https://www.youtube.com/"
_FEEDS = (".xml", ".rss", ".atom", ".opml")

Part = DownloadTask | Reference


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    ``defer`` makes tasks of the feeds that lists name, under the word ``round``. ``threads`` feeds are read at a time,
    at most ``max_feeds`` of a dump.
    """

    settings: DownloadSettings = field(default_factory=DownloadSettings)
    buckets: StoreSettings | None = None
    defer: bool = False
    round: str | None = None
    threads: int = 8
    max_feeds: int | None = None


def read_source(
    text: str,
    *,
    language: str | None = None,
    licence: str | None = None,
    source: str | None = None,
    notes: SeedReport | None = None,
    reading: Reading | None = None,
) -> Iterator[DownloadTask]:
    """The download tasks that ``text`` names, in a stream.

    ``text``: an http(s) URL (an item, a channel or playlist of a site that yt-dlp knows, or a feed or OPML, told by
    what the server answers), ``@handle``, ``rss:`` and a URL or file, a feed, an OPML file, a list (.txt, .csv, .json,
    .jsonl, gzipped or not, ``-`` for standard input), a dump of feeds (SQLite), ``s3://bucket/prefix/``, an audio
    file, a folder (with all below it) or a glob pattern. ``language`` and ``licence`` given here win over a feed's, and
    an entry of a list wins over both; of a dump only feeds that state ``language`` are read. What could not become a
    task is told to ``notes``. Raises UsageError (nothing there), InputError (not what it should be) or RetryLater (no
    network).
    """
    if not text.strip():
        raise UsageError("an empty source: name a file, a folder, a feed or a URL")
    if "\0" in text:
        raise UsageError("a source cannot hold a NUL character")
    said = Said(language_subtag(language), licence, source)
    reader = _Reader(said, SeedReport() if notes is None else notes, reading or Reading())
    return reader.tasks(reader.parts(text))


@dataclass(frozen=True)
class _Reader:
    """One source: what is said of its items, where remarks go, how it is read."""

    said: Said
    notes: SeedReport
    how: Reading

    # -- parts to tasks ------------------------------------------------------------------------------------------------

    def tasks(self, parts: Iterable[Part]) -> Iterator[DownloadTask]:
        """The parts with every reference opened, or made a task where that is wanted."""
        read = in_order(parts, self._items, threads=self.how.threads, slow=self._is_opened_here)
        for part, found in read:
            if found is not None:
                tasks, told = found
                self.notes.absorb(told)
                yield from tasks
            elif isinstance(part, Reference):
                yield from self._deferred(part)
            else:
                yield part

    def _deferred(self, part: Reference) -> Iterator[DownloadTask]:
        try:
            yield feed_task(part, self.how.round)
        except InputError as error:
            self.notes.refuse(part.name, error)

    def _is_opened_here(self, part: Part) -> bool:
        # A worker elsewhere could not read a file of this machine.
        return isinstance(part, Reference) and not (self.how.defer and is_web(part.where))

    def _items(self, part: Part) -> tuple[list[DownloadTask], SeedReport]:
        told = SeedReport()
        tasks: list[DownloadTask] = []
        if isinstance(part, Reference):
            try:
                tasks.extend(Remote(part.said, told, self.how.settings).items(part.where))
            except DuplexforgeError as error:
                told.refuse(part.name, error)
        return tasks, told

    def _one(self, where: str) -> Iterator[Part]:
        """A feed or channel that was named by itself: its errors are those of the command."""
        if self.how.defer and is_web(where):
            return iter([Reference(where, self.said)])
        return Remote(self.said, self.notes, self.how.settings).items(where)

    # -- text to parts -------------------------------------------------------------------------------------------------

    def parts(self, text: str) -> Iterator[Part]:
        """What ``text`` opens into."""
        if text.startswith(FEED_PREFIX):
            return self._one(text.removeprefix(FEED_PREFIX).strip())
        if text.startswith("@") and youtube_list(page := _YOUTUBE + text):
            return self._one(page)
        if is_web(text):
            return self._url(text)
        if text.lower().startswith(SCHEME):
            return bucket_tasks(text, self.how.buckets or StoreSettings(), self.said, self.notes)
        path = Path(text).expanduser()
        if text == "-" or path.is_fifo() or (path.is_file() and audio_extension(path.name) is None):
            return self._document(None if text == "-" else path)
        return self._files(local_files(text, self.notes))

    def _files(self, paths: Iterable[Path]) -> Iterator[DownloadTask]:
        said = self.said
        return local_tasks(paths, language=said.language, licence=said.licence, source=said.source, notes=self.notes)

    def _url(self, text: str) -> Iterator[Part]:
        """One item, the items of a channel, or those of a feed or of an OPML file when the server answers with one."""
        remote = Remote(self.said, self.notes, self.how.settings)
        kind, body = remote.look(text)
        if kind == "item":
            return iter([self.said.item(text)])
        if kind == "opml":
            return self._outlines(body, text)
        if self.how.defer:
            return iter([Reference(text, self.said)])
        return remote.parsed(body, text) if kind == "feed" else remote.listed(text)

    def _outlines(self, body: bytes, where: str) -> Iterator[Part]:
        for outline in outlines(body, where, self.notes):
            yield self._reference(outline.url, outline.language, title=outline.title)

    def _reference(self, where: str, language: str | None, *, title: str | None = None, place: str = "") -> Reference:
        # The language of the command line is said of all; a list that names another knows its own feed better.
        said = replace(self.said, language=language_subtag(language)) if language else self.said
        return Reference(where, said, title, place)

    # -- documents -----------------------------------------------------------------------------------------------------

    def _document(self, path: Path | None) -> Iterator[Part]:
        """What a file that is no audio by its name, or a pipe, holds: told by its ending, else by how it begins."""
        if path is not None and path.suffix.lower().lstrip(".") in MEDIA_EXTENSIONS:
            yield from self._files([path])
            return
        with tables.opened(path) as document:
            start = document.start.lstrip(b"\xef\xbb\xbf \t\r\n")
            if document.start.startswith(MAGIC) and path is not None:
                yield from self._dump(path)
            elif document.ending in (".yaml", ".yml"):
                raise UsageError(f"{path} is a list of sources with their own settings: name it by itself")
            elif looks_like_opml(start) or looks_like_feed(start) or document.ending in _FEEDS:
                yield from self._markup(document, opml=looks_like_opml(start) or document.ending == ".opml")
            else:
                yield from self._entries(self._rows(document, start))

    def _rows(self, document: tables.Document, start: bytes) -> tables.Rows:
        ending = document.ending
        if ending in _JSON_LINES or (not ending and start.startswith(b"{")):
            return tables.json_lines(document, self.notes)
        if ending == ".json" or (not ending and start.startswith(b"[")):
            return tables.json_list(document)
        if ending in _TABLES or (not ending and _begins_a_table(start)):
            return tables.csv_rows(document, self.notes)
        first = start.lstrip(b"# \t\r\n")
        if ending in _LISTS or (not ending and first.startswith((b"http", b"rss:", b"@"))):
            return tables.lines(document)
        kinds = "lists end in .txt, .csv, .json or .jsonl, feeds in .xml, .rss or .opml"
        raise UsageError(f"{document.name} is no audio, feed or list: {kinds}")

    def _markup(self, document: tables.Document, *, opml: bool) -> Iterator[Part]:
        body = document.body(tables.MAX_MARKUP)
        if opml:
            return self._outlines(body, document.name)
        return Remote(self.said, self.notes, self.how.settings).parsed(body, document.name)

    def _dump(self, path: Path) -> Iterator[Part]:
        limit = self.how.max_feeds
        for feed in dump_feeds(path, language=self.said.language, limit=limit, notes=self.notes):
            yield self._reference(feed.url, feed.language, title=feed.title)

    def _entries(self, rows: tables.Rows) -> Iterator[Part]:
        """A URL, a feed or an object a row; a bad one is refused and counted, the others go on."""
        for place, value in rows:
            try:
                yield self._entry(place, value)
            except InputError as error:
                said = f": {value}" if isinstance(value, str) else ""
                self.notes.refuse(f"{place}{said}", error)

    def _entry(self, place: str, value: Any) -> Part:
        if isinstance(value, str):
            return self._address(value.strip(), place) or self.said.item(value)
        entry = entry_of(value)
        named = fields(entry)
        if feed := named.get("feed"):
            # A table may come from anywhere: unlike a line that somebody wrote, it names no file of this machine.
            return self._reference(web_url(feed), named.get("language"), title=named.get("title"), place=place)
        kept = self._address(named.get("url", ""), place, named.get("language"), named.get("title"))
        if kept and not is_web(kept.where):
            raise InputError("a feed on this machine must be named by itself", reason="refused")
        return kept or self.said.described(entry)

    def _address(self, url: str, place: str, language: str | None = None, title: str | None = None) -> Reference | None:
        """The feed or channel that ``url`` names by its spelling alone; None for anything else."""
        if url.startswith(FEED_PREFIX):
            return self._reference(url.removeprefix(FEED_PREFIX).strip(), language, title=title, place=place)
        page = _YOUTUBE + url if url.startswith("@") else url
        return self._reference(page, language, title=title, place=place) if youtube_list(page) else None


def _begins_a_table(start: bytes) -> bool:
    head = start.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return any(is_header(head.split(sign)) for sign in (",", ";", "\t", "|"))
