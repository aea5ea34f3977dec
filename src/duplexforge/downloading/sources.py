"""What a person types, as a stream of download tasks: a URL, a feed, a list of URLs, a file, a folder or a pattern."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge.downloading.feeds import MAX_FEED, feed_tasks, looks_like_feed
from duplexforge.downloading.identity import host_word, source_word, url_id, web_url, youtube_id
from duplexforge.downloading.local import MEDIA_EXTENSIONS, local_files, local_tasks
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.web import blocks, request
from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.layout import audio_extension, hashed_id, language_subtag, safe_name
from duplexforge.records import DownloadTask

FEED_PREFIX = "rss:"
_LISTS = (".txt", ".list", ".urls")
_JSON_LINES = (".jsonl", ".ndjson")
_MAX_JSON = 256 * 1024 * 1024
_TIMEOUT = 30.0
_NAMED = ("title", "uploader", "published")


@dataclass(frozen=True)
class _Reader:
    """The defaults of one source: language subtag, licence and source word of items that do not bring their own."""

    language: str
    licence: str | None
    source: str | None
    notes: SeedReport

    def text(self, text: str) -> Iterator[DownloadTask]:
        """The tasks of what a person typed."""
        if text.startswith(FEED_PREFIX):
            return self.feed(text.removeprefix(FEED_PREFIX).strip())
        if text.lower().startswith(("http://", "https://")):
            return self.url(text)
        path = Path(text).expanduser()
        if path.is_file() and audio_extension(path.name) is None:
            return self.document(path)
        return self.files(local_files(text, self.notes))

    def files(self, paths: Iterable[Path]) -> Iterator[DownloadTask]:
        """Audio files of this machine."""
        return local_tasks(paths, language=self.language, licence=self.licence, source=self.source, notes=self.notes)

    def document(self, path: Path) -> Iterator[DownloadTask]:
        """A file that is no audio by its name: a feed, a list, or a video named on purpose."""
        ending = path.suffix.lower()
        if ending.lstrip(".") in MEDIA_EXTENSIONS:
            return self.files([path])
        if ending in _JSON_LINES:
            return self._entries(_json_lines(path, self.notes))
        if ending == ".json":
            return self._entries(enumerate(_json_list(path), start=1))
        start = _start(path)
        if ending in (".xml", ".rss") or looks_like_feed(start):
            return self.feed(str(path))
        if ending in _LISTS or (not ending and start.lstrip(b"\xef\xbb\xbf# \t\r\n").startswith((b"http", b"rss:"))):
            return self._lines(path)
        raise UsageError(f"{path} is no audio, feed or list: lists end in .txt, .json or .jsonl, feeds in .xml or .rss")

    def feed(self, where: str) -> Iterator[DownloadTask]:
        """The items of a feed at a URL or in a file."""
        if where.lower().startswith(("http://", "https://")):
            url = web_url(where)
            with request(url, _TIMEOUT) as response:
                body = _bounded(blocks(response), url)
            return self._feed_tasks(body, url)
        path = Path(where).expanduser()
        if not path.is_file():
            raise UsageError(f"no such feed file: {where}")
        with path.open("rb") as file:
            return self._feed_tasks(file.read(MAX_FEED + 1), str(path))

    def url(self, text: str) -> Iterator[DownloadTask]:
        """One item, or the items of a feed when that is what the server answers."""
        url = web_url(text)
        if youtube_id(url) is None and audio_extension(url.split("?", 1)[0]) is None:
            body = self._feed_at(url)
            if body is not None:
                return self._feed_tasks(body, url)
        return iter([self._item(url)])

    def _feed_at(self, url: str) -> bytes | None:
        """The feed at ``url``, or None when the answer is something else (the download will say what)."""
        try:
            with request(url, _TIMEOUT) as response:
                kind = response.headers.get("Content-Type", "").lower()
                if "rss" not in kind and "xml" not in kind and not kind.startswith(("text/plain", "application/octet")):
                    return None
                stream = blocks(response)
                start = b""
                while len(start) < 4096 and (block := next(stream, b"")):
                    start += block
                return _bounded(stream, url, start) if "rss+xml" in kind or looks_like_feed(start) else None
        except InputError as error:
            if error.reason == "too_large":
                raise
            return None

    def _feed_tasks(self, body: bytes, where: str) -> Iterator[DownloadTask]:
        return feed_tasks(
            body, where, language=self.language, licence=self.licence, source=self.source, notes=self.notes
        )

    def _lines(self, path: Path) -> Iterator[DownloadTask]:
        """A URL (or ``rss:`` and a feed) a line; a bad line is refused and counted, the others go on."""
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                wanted = line.strip()
                if not wanted or wanted.startswith("#"):
                    continue
                try:
                    if wanted.startswith(FEED_PREFIX):
                        yield from self.feed(wanted.removeprefix(FEED_PREFIX).strip())
                    else:
                        yield self._item(wanted)
                except DuplexforgeError as error:
                    self.notes.refuse(f"line {number}: {wanted}", error)

    def _entries(self, entries: Iterable[tuple[int, Any]]) -> Iterator[DownloadTask]:
        for number, entry in entries:
            try:
                if isinstance(entry, str):
                    yield self._item(entry)
                elif isinstance(entry, dict):
                    yield self._described(entry)
                else:
                    raise InputError("neither a URL nor an object with one", reason="bad_record")
            except InputError as error:
                self.notes.refuse(f"entry {number}", error)

    def _described(self, entry: dict[str, Any]) -> DownloadTask:
        """An object of a list. What it says about itself wins over the defaults: it was written for this item."""
        fields = {name: _word(entry, name) for name in _NAMED}
        task = self._item(_word(entry, "url") or "")
        changes: dict[str, Any] = {name: value for name, value in fields.items() if value}
        if language := _word(entry, "language"):
            changes["language"] = language_subtag(language)
        if licence := _word(entry, "licence") or _word(entry, "license"):
            changes["licence"] = licence
        if source := _word(entry, "source"):
            changes["source"] = source_word(source, "web")
        if episode := _given_id(entry):
            changes["id"] = changes["episode_id"] = episode
        return task.model_copy(update=changes)

    def _item(self, text: str) -> DownloadTask:
        url = web_url(text)
        episode, video = url_id(url), youtube_id(url)
        return DownloadTask(
            id=episode,
            episode_id=episode,
            url=f"https://www.youtube.com/watch?v={video}" if video else url,
            video_id=video,
            language=self.language,
            source=source_word(self.source, "web") if self.source else host_word(url),
            licence=self.licence,
        )


def read_source(
    text: str,
    *,
    language: str | None = None,
    licence: str | None = None,
    source: str | None = None,
    notes: SeedReport | None = None,
) -> Iterator[DownloadTask]:
    """The download tasks that ``text`` names, in a stream.

    ``text``: an http(s) URL (an item, or a feed, told by what the server answers), ``rss:`` and a URL or file, an RSS
    file, a list (.txt, .json, .jsonl), an audio file, a folder (with all below it) or a glob pattern. ``language`` and
    ``licence`` given here win over a feed's, and an entry of a JSON list wins over both. What could not become a task
    is told to ``notes``. Raises UsageError (nothing there), InputError (a feed that is none) or RetryLater (no
    network).
    """
    if not text.strip():
        raise UsageError("an empty source: name a file, a folder, a feed or a URL")
    if "\0" in text:
        raise UsageError("a source cannot hold a NUL character")
    reader = _Reader(language_subtag(language), licence, source, SeedReport() if notes is None else notes)
    return reader.text(text)


def _bounded(stream: Iterable[bytes], where: str, start: bytes = b"") -> bytes:
    body = bytearray(start)
    for block in stream:
        body += block
        if len(body) > MAX_FEED:
            raise InputError(f"the feed {where} is larger than {MAX_FEED} bytes", reason="too_large")
    return bytes(body)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _json_list(path: Path) -> list[Any]:
    if path.stat().st_size > _MAX_JSON:
        raise UsageError(f"{path} is too large to be read at once: write it as .jsonl, one object a line")
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}", reason="bad_record") from error
    if not isinstance(entries, list):
        raise InputError(f"{path} must hold a JSON list of URLs or of objects with a url", reason="bad_record")
    return entries


def _json_lines(path: Path, notes: SeedReport) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                notes.refuse(f"line {number}", f"not JSON: {error}")


def _word(entry: dict[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _given_id(entry: dict[str, Any]) -> str | None:
    """The id that a list gives an item: a safe one as it is, another hashed (``yt-`` and the id for ``video_id``)."""
    video = _word(entry, "video_id")
    given = _word(entry, "episode_id") or (f"yt-{video}" if video else None)
    if given is None:
        return None
    try:
        return safe_name(given)
    except ValueError:
        return hashed_id("url", given)
