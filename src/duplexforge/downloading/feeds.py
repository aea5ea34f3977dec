"""Podcast feeds (RSS 2 and Atom) as tasks: a local file or a URL, read safely by ``markup``.

An item is known by (podcast:guid or feed URL, item guid or enclosure URL), so a feed that moves host or renames its
files does not make its episodes new. A feed can only name http(s) URLs: anything else is refused and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from duplexforge.downloading.identity import host_word, normal_url, source_word, url_id, web_url, youtube_id
from duplexforge.downloading.markup import MAX_DOCUMENT, root_of, text_of
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, hashed_id, language_subtag
from duplexforge.records import DownloadTask

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_FEED = MAX_DOCUMENT
_ITUNES = "{http://www.itunes.com/dtds/podcast-1.0.dtd}"
_ATOM = "{http://www.w3.org/2005/Atom}"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_PODCAST = (
    "{https://podcastindex.org/namespace/1.0}",
    "{https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md}",
)
_LICENCE = ("{http://backend.userland.com/creativeCommonsRssModule}license", "{http://web.resource.org/cc/}license")
_MAX_TEXT = 500
_MAX_ORIGIN = 1000
_MAX_ORIGINS = 4


def looks_like_feed(start: bytes) -> bool:
    """Whether a document that begins with ``start`` is an RSS or Atom feed."""
    head = start[:4096]
    return b"<rss" in head or (b"<feed" in head and _ATOM[1:-1].encode() in head)


def feed_tasks(
    body: bytes, where: str, *, language: str, licence: str | None, source: str | None, notes: SeedReport
) -> Iterator[DownloadTask]:
    """A task per item of the feed in ``body``; ``where`` is its URL or file name.

    ``language`` and ``licence`` win over what the feed says. InputError(``bad_feed``) when it is no feed or has no
    items.
    """
    root = root_of(body, where, "feed")
    remote = where if where.startswith(("http://", "https://")) else None
    atom = root.tag == f"{_ATOM}feed"
    channel = root if atom else root.find("channel") if root.tag == "rss" else None
    if channel is None:
        raise InputError(
            f"{where} is XML but not an RSS or Atom feed (its root is {root.tag[:60]!r})", reason="bad_feed"
        )
    stated = channel.get(_LANG) if atom else text_of(channel, "language")
    feed = _Feed(
        identity=_feed_identity(channel, remote, where),
        base=remote,
        language=language if language != UNKNOWN_LANGUAGE else language_subtag(stated),
        licence=licence or _licence(channel),
        uploader=_author(channel) or _title(channel),
        source=source_word(source, "web") if source else _source(channel, remote),
        origins=_origins(channel, remote),
    )
    items = channel.findall(f"{_ATOM}entry" if atom else "item")
    if not items:
        raise InputError(f"the feed {where} has no items", reason="bad_feed")
    read = _atom_task if atom else _task
    for item in items:
        try:
            yield read(item, feed, licence)
        except InputError as error:
            notes.refuse(_title(item) or text_of(item, "guid") or "an item without a title", error)


@dataclass(frozen=True)
class _Feed:
    """What the items of a feed have in common."""

    identity: str
    base: str | None
    language: str
    licence: str | None
    uploader: str | None
    source: str
    origins: list[str] | None


def _audio_url(url: str | None, kind: str | None, base: str | None) -> str:
    """The address of an enclosure that may be audio."""
    if not (url or "").strip():
        raise InputError("the item has no enclosure", reason="no_enclosure")
    kind = (kind or "").strip().lower()
    if kind.startswith(("image/", "text/")) or kind in ("application/pdf", "application/epub+zip"):
        raise InputError(f"the enclosure is {kind}, not audio", reason="not_audio")
    return web_url(url or "", base)


def _task(item: Element, feed: _Feed, licence: str | None) -> DownloadTask:
    enclosure = item.find("enclosure")
    url = _audio_url(*((None, None) if enclosure is None else (enclosure.get("url"), enclosure.get("type"))), feed.base)
    guid = text_of(item, "guid", limit=None) or normal_url(url)
    episode = hashed_id("pod", feed.identity, guid)
    return DownloadTask(
        id=episode,
        episode_id=episode,
        url=url,
        language=feed.language,
        source=feed.source,
        licence=licence or _licence(item) or feed.licence,
        title=_title(item),
        uploader=_author(item) or feed.uploader,
        published=_date(text_of(item, "pubDate")),
        duration=_seconds(text_of(item, f"{_ITUNES}duration")),
        origins=feed.origins,
    )


def _atom_task(entry: Element, feed: _Feed, licence: str | None) -> DownloadTask:
    """As ``_task``; an entry without an enclosure is taken where its page is a video (YouTube's own feeds)."""
    links = {link.get("rel", "alternate"): link for link in reversed(entry.findall(f"{_ATOM}link"))}
    enclosure, page = links.get("enclosure"), links.get("alternate")
    video = youtube_id(page.get("href", "")) if page is not None and enclosure is None else None
    if video and page is not None:
        url = f"https://www.youtube.com/watch?v={video}"
        episode = url_id(url)
    else:
        url = _audio_url(
            *((None, None) if enclosure is None else (enclosure.get("href"), enclosure.get("type"))), feed.base
        )
        episode = hashed_id("pod", feed.identity, text_of(entry, f"{_ATOM}id", limit=None) or normal_url(url))
    language = language_subtag(entry.get(_LANG))
    return DownloadTask(
        id=episode,
        episode_id=episode,
        url=url,
        video_id=video,
        language=language if feed.language == UNKNOWN_LANGUAGE else feed.language,
        source=feed.source,
        licence=licence or _licence(entry) or feed.licence,
        title=_title(entry),
        uploader=_author(entry) or feed.uploader,
        published=_iso_date(text_of(entry, f"{_ATOM}published") or text_of(entry, f"{_ATOM}updated")),
        origins=feed.origins,
    )


def _title(element: Element) -> str | None:
    return text_of(element, "title") or text_of(element, f"{_ATOM}title")


def _author(element: Element) -> str | None:
    return text_of(element, f"{_ITUNES}author") or text_of(element, f"{_ATOM}author/{_ATOM}name")


def _origins(channel: Element, remote: str | None) -> list[str] | None:
    """The addresses under which the owner of a feed knows it."""
    own = [link.get("href", "") for link in channel.findall(f"{_ATOM}link") if link.get("rel") in ("self", "alternate")]
    found = [remote or "", *own, text_of(channel, "link", limit=None) or ""]
    kept = [url for url in dict.fromkeys(found) if url.startswith(("http://", "https://")) and len(url) <= _MAX_ORIGIN]
    return kept[:_MAX_ORIGINS] or None


def _feed_identity(channel: Element, remote: str | None, where: str) -> str:
    for namespace in _PODCAST:
        if guid := text_of(channel, f"{namespace}guid", limit=None):
            return guid.lower()
    if remote:
        return normal_url(remote)
    # A feed saved to a file is the feed it was: it says where it came from.
    own = [link.get("href", "") for link in channel.findall(f"{_ATOM}link") if link.get("rel") == "self"]
    for candidate in [*own, text_of(channel, "link", limit=None) or ""]:
        try:
            return normal_url(web_url(candidate))
        except InputError:
            continue
    return _title(channel) or where


def _source(channel: Element, remote: str | None) -> str:
    if remote:
        return host_word(remote)
    return source_word(_title(channel) or "", "local")


def _licence(element: Element) -> str | None:
    for tag in (*(f"{namespace}license" for namespace in _PODCAST), *_LICENCE):
        found = element.find(tag)
        if found is not None:
            text = (found.text or "").strip() or next(iter(found.attrib.values()), "")
            if text:
                return text[:_MAX_TEXT]
    return text_of(element, "copyright") or text_of(element, f"{_ATOM}rights")


def _date(text: str | None) -> str | None:
    """An RFC 822 date as ISO; None when it is none (the field is for people, so a wrong date stops nothing)."""
    try:
        return parsedate_to_datetime(text).isoformat() if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def _iso_date(text: str | None) -> str | None:
    """An RFC 3339 date as ISO; None when it is none."""
    try:
        return datetime.fromisoformat(text).isoformat() if text else None
    except ValueError:
        return None


def _seconds(text: str | None) -> float | None:
    """Seconds of ``3600``, ``59:30`` or ``1:02:03``; None when it is none of these."""
    parts = (text or "").split(":")
    if not text or len(parts) > 3 or not all(re.fullmatch(r"\d{1,7}(\.\d{1,6})?", part, re.ASCII) for part in parts):
        return None
    return sum((float(part) * (1, 60, 3600)[place] for place, part in enumerate(reversed(parts))), 0.0)
