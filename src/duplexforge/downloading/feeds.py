"""RSS podcast feeds as tasks: a local file or a URL, read safely (no entities, no external parts, a cap on size).

An item is known by (podcast:guid or feed URL, item guid or enclosure URL), so a feed that moves host or renames its
files does not make its episodes new. A feed can only name http(s) URLs: anything else is refused and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from duplexforge.downloading.identity import host_word, normal_url, source_word, web_url
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, hashed_id, language_subtag
from duplexforge.records import DownloadTask

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# The largest public feeds are a tenth of this.
MAX_FEED = 32 * 1024 * 1024
_ITUNES = "{http://www.itunes.com/dtds/podcast-1.0.dtd}"
_ATOM = "{http://www.w3.org/2005/Atom}"
_PODCAST = (
    "{https://podcastindex.org/namespace/1.0}",
    "{https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md}",
)
_LICENCE = ("{http://backend.userland.com/creativeCommonsRssModule}license", "{http://web.resource.org/cc/}license")
_MAX_TEXT = 500


def looks_like_feed(start: bytes) -> bool:
    """Whether a document that begins with ``start`` is an RSS feed."""
    return b"<rss" in start[:4096]


def feed_tasks(
    body: bytes, where: str, *, language: str, licence: str | None, source: str | None, notes: SeedReport
) -> Iterator[DownloadTask]:
    """A task per item of the feed in ``body``; ``where`` is its URL or file name.

    ``language`` and ``licence`` win over what the feed says. InputError(``bad_feed``) when it is no RSS or has no
    items.
    """
    channel = _channel(body, where)
    remote = where if where.startswith(("http://", "https://")) else None
    feed = _Feed(
        identity=_feed_identity(channel, remote, where),
        base=remote,
        language=language if language != UNKNOWN_LANGUAGE else language_subtag(_text(channel, "language")),
        licence=licence or _licence(channel),
        uploader=_text(channel, f"{_ITUNES}author") or _text(channel, "title"),
        source=source_word(source, "web") if source else _source(channel, remote),
    )
    items = channel.findall("item")
    if not items:
        raise InputError(f"the feed {where} has no items", reason="bad_feed")
    for item in items:
        try:
            yield _task(item, feed, licence)
        except InputError as error:
            notes.refuse(_text(item, "title") or _text(item, "guid") or "an item without a title", error)


@dataclass(frozen=True)
class _Feed:
    """What the items of a feed have in common."""

    identity: str
    base: str | None
    language: str
    licence: str | None
    uploader: str | None
    source: str


def _channel(body: bytes, where: str) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if len(body) > MAX_FEED:
        raise InputError(f"the feed {where} is larger than {MAX_FEED} bytes", reason="too_large")
    try:
        root = fromstring(body.lstrip())  # a blank line before <?xml is wrong but common
    except DefusedXmlException as error:
        raise InputError(f"the feed {where} defines XML entities, which are refused", reason="bad_feed") from error
    except (ParseError, ValueError, LookupError) as error:
        message = f"{where} is not XML ({error}): is it really the address of a feed?"
        raise InputError(message, reason="bad_feed") from error
    channel = root.find("channel") if root.tag == "rss" else None
    if channel is None:
        raise InputError(f"{where} is XML but not an RSS feed (its root is {root.tag[:60]!r})", reason="bad_feed")
    return channel


def _task(item: Element, feed: _Feed, licence: str | None) -> DownloadTask:
    enclosure = item.find("enclosure")
    if enclosure is None or not enclosure.get("url", "").strip():
        raise InputError("the item has no enclosure", reason="no_enclosure")
    kind = enclosure.get("type", "").strip().lower()
    if kind.startswith(("image/", "text/")) or kind in ("application/pdf", "application/epub+zip"):
        raise InputError(f"the enclosure is {kind}, not audio", reason="not_audio")
    url = web_url(enclosure.get("url", ""), feed.base)
    guid = _text(item, "guid", limit=None) or normal_url(url)
    episode = hashed_id("pod", feed.identity, guid)
    return DownloadTask(
        id=episode,
        episode_id=episode,
        url=url,
        language=feed.language,
        source=feed.source,
        licence=licence or _licence(item) or feed.licence,
        title=_text(item, "title"),
        uploader=_text(item, f"{_ITUNES}author") or feed.uploader,
        published=_date(_text(item, "pubDate")),
    )


def _feed_identity(channel: Element, remote: str | None, where: str) -> str:
    for namespace in _PODCAST:
        if guid := _text(channel, f"{namespace}guid", limit=None):
            return guid.lower()
    if remote:
        return normal_url(remote)
    # A feed saved to a file is the feed it was: it says where it came from.
    own = [link.get("href", "") for link in channel.findall(f"{_ATOM}link") if link.get("rel") == "self"]
    for candidate in [*own, _text(channel, "link", limit=None) or ""]:
        try:
            return normal_url(web_url(candidate))
        except InputError:
            continue
    return _text(channel, "title") or where


def _source(channel: Element, remote: str | None) -> str:
    if remote:
        return host_word(remote)
    return source_word(_text(channel, "title") or "", "local")


def _licence(element: Element) -> str | None:
    for tag in (*(f"{namespace}license" for namespace in _PODCAST), *_LICENCE):
        found = element.find(tag)
        if found is not None:
            text = (found.text or "").strip() or next(iter(found.attrib.values()), "")
            if text:
                return text[:_MAX_TEXT]
    return _text(element, "copyright")


def _text(element: Element, tag: str, *, limit: int | None = _MAX_TEXT) -> str | None:
    text = (element.findtext(tag) or "").strip()
    return text[:limit] or None


def _date(text: str | None) -> str | None:
    """An RFC 822 date as ISO; None when it is none (the field is for people, so a wrong date stops nothing)."""
    try:
        return parsedate_to_datetime(text).isoformat() if text else None
    except (ValueError, TypeError, OverflowError):
        return None
