"""A feed, channel or playlist out there: looked at, read, or kept as a task for a worker to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duplexforge.config import DownloadSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.feeds import feed_tasks, looks_like_feed
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.identity import address, host_word, source_word, web_url, youtube_id, youtube_list
from duplexforge.downloading.listing import described, entries, is_list
from duplexforge.downloading.markup import MAX_DOCUMENT
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.opml import looks_like_opml
from duplexforge.downloading.watch import Watch
from duplexforge.downloading.web import Route, blocks
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import audio_extension, hashed_id
from duplexforge.records import DownloadTask

if TYPE_CHECKING:
    from requests import Response

FEED_PREFIX = "rss:"
_START = 4096


@dataclass(frozen=True)
class Reference:
    """A feed, channel or playlist that has not been read: its title where a list tells it, its place in that list."""

    where: str
    said: Said
    title: str | None = None
    place: str = ""

    @property
    def name(self) -> str:
        """How it is called in a report."""
        return ": ".join(filter(None, (self.place, self.title, self.where)))


def is_web(text: str) -> bool:
    """Whether ``text`` is an http(s) address."""
    return text.lower().startswith(("http://", "https://"))


def feed_task(reference: Reference, word: str | None) -> DownloadTask:
    """The task of reading a feed. The same feed is the same task until ``word`` (the round) is another."""
    url = web_url(reference.where)
    episode = hashed_id("feed", address(url), *([word] if word else []))
    said = reference.said
    return DownloadTask(
        id=episode,
        episode_id=episode,
        url=url,
        kind="feed",
        language=said.language,
        source=source_word(said.source, "web") if said.source else host_word(url),
        licence=said.licence,
        title=reference.title,
        origins=[url],
        round=word,
    )


@dataclass(frozen=True)
class Remote:
    """Reads one of them. Every address that is asked passes the guard, redirects too."""

    said: Said
    notes: SeedReport
    settings: DownloadSettings

    def items(self, where: str) -> Iterator[DownloadTask]:
        """The items of the feed, channel or playlist at ``where`` (a feed may also be a file of this machine)."""
        if not is_web(where):
            return self._file(where)
        url = web_url(where)
        if youtube_list(url):
            return self.listed(url)
        return self._feed_or_list(url)

    def look(self, text: str) -> tuple[str, bytes]:
        """What the address holds: ``item``, ``list``, ``feed`` or ``opml``, and the body of the last two."""
        url = web_url(text)
        self._guard().check(url)
        if youtube_id(url) or audio_extension(url.split("?", 1)[0]):
            return "item", b""
        if youtube_list(url) or is_list(url) is not False:
            return "list", b""
        return self._told(url)

    def parsed(self, body: bytes, where: str) -> Iterator[DownloadTask]:
        """The items of a feed that is here."""
        said = self.said
        return feed_tasks(
            body, where, language=said.language, licence=said.licence, source=said.source, notes=self.notes
        )

    def listed(self, url: str) -> Iterator[DownloadTask]:
        """The items of a channel or playlist, page by page."""
        self._guard().check(url)
        for entry in entries(url, self.settings, self.notes):
            try:
                task = self.said.described(described(entry))
            except InputError as error:
                self.notes.refuse(str(entry.get("title") or entry.get("url")), error)
                continue
            yield task.model_copy(update={"origins": list(dict.fromkeys([url, *(task.origins or ())]))})

    def _feed_or_list(self, url: str) -> Iterator[DownloadTask]:
        with self._request(url) as response:
            body = b"".join(_pieces(response, url))
        # Asked last: it loads all of yt-dlp, which a worker that reads feeds all day can do without.
        if not looks_like_feed(body) and is_list(url) is not False:
            return self.listed(url)
        return self.parsed(body, url)

    def _file(self, where: str) -> Iterator[DownloadTask]:
        path = Path(where).expanduser()
        if not path.is_file():
            raise UsageError(f"no such feed file: {where}")
        with path.open("rb") as file:
            return self.parsed(file.read(MAX_DOCUMENT + 1), str(path))

    def _told(self, url: str) -> tuple[str, bytes]:
        """What a server says it is; an item when it cannot be told (the download will say what it is)."""
        try:
            with self._request(url) as response:
                kind = response.headers.get("Content-Type", "").lower()
                if not any(word in kind for word in ("rss", "xml", "opml", "atom", "text/plain", "application/octet")):
                    return "item", b""
                stream = _pieces(response, url)
                start = b""
                # Audio without a name in its address is downloaded by a worker, not here: the beginning is enough.
                while len(start) < _START and (block := next(stream, b"")):
                    start += block
                if looks_like_opml(start):
                    return "opml", start + b"".join(stream)
                if "rss+xml" in kind or "atom+xml" in kind or looks_like_feed(start):
                    return "feed", start + b"".join(stream)
                return "item", b""
        except InputError as error:
            if error.reason in ("too_large", "refused"):
                raise
            return "item", b""

    def _guard(self) -> Guard:
        return Guard(self.settings.allow_private_addresses)

    def _request(self, url: str) -> AbstractContextManager[Response]:
        proxy = self.settings.download_proxy
        return Route(self.settings.socket_timeout, self._guard(), proxy.get_secret_value() if proxy else None).get(url)


def _pieces(response: Response, url: str) -> Iterator[bytes]:
    """The body of a feed. InputError(``too_large``), or RetryLater when it drips: a thread would hang on it for days."""
    watch, size = Watch(MAX_DOCUMENT), 0
    for block in blocks(response):
        size += len(block)
        if size > watch.limit:
            raise InputError(f"the feed {url} is larger than {MAX_DOCUMENT} bytes", reason="too_large")
        watch.seen(size)
        yield block
