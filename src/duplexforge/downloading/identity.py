"""Who an episode is: stable, safe ids and source words for whatever comes from outside.

An id is a hash of what identifies the item (its content, its feed and guid, its URL), never a title, so the same item
seeded twice is one task and no name from outside reaches an object key.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, quote, urljoin, urlsplit, urlunsplit

from duplexforge.errors import InputError
from duplexforge.layout import hashed_id

_MAX_URL = 8192
_MAX_SOURCE = 60
_CONTROL = re.compile(r"[\x00-\x1f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_YOUTUBE_HOSTS = ("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "www.youtube-nocookie.com")
_YOUTUBE_PATH = re.compile(r"/(?:shorts|embed|live|v)/([A-Za-z0-9_-]{11})(?:[/?#]|$)")
_YOUTUBE_CHANNEL = re.compile(r"(/@[^/?#]+|/(?:channel|c|user)/[^/?#]+)(?:/|$)")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
# Everything printable in ASCII but quotes, angle brackets and blanks; "%" keeps escapes that are already there.
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~-._"


def web_url(text: str, base: str | None = None) -> str:
    """``text`` as an absolute http(s) URL that can be requested; InputError(``refused``) when it is anything else.

    A feed, a list or a page decides what is in ``text``: other schemes (``file:``, ``ftp:``, ``data:``) are how it
    would reach this machine's own files, and a password in it would end up in records.
    """
    wanted = text.strip()
    if not wanted or len(wanted) > _MAX_URL or _CONTROL.search(wanted):
        raise InputError("not a URL (empty, too long, or with control characters)", reason="refused")
    try:
        parts = urlsplit(urljoin(base, wanted) if base else wanted)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"not a URL: {error}", reason="refused") from error
    if parts.scheme not in ("http", "https"):
        kind = f"{parts.scheme}:" if parts.scheme else "a URL without a scheme"
        raise InputError(f"only http and https are fetched, not {kind[:40]}", reason="refused")
    if not host:
        raise InputError("a URL without a host", reason="refused")
    if parts.username is not None or parts.password is not None:
        raise InputError("the URL carries a user name or password, which records would keep", reason="refused")
    return quote(urlunsplit(parts).encode("utf-8", "replace"), safe=_URL_SAFE)


def normal_url(url: str) -> str:
    """The spelling under which a URL is hashed: lower-case scheme and host, no default port, no fragment, a path."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    if parts.port and parts.port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))


def address(url: str) -> str:
    """The spelling under which addresses are compared: no scheme, no ``www.``, no final slash; a YouTube channel is one
    whichever of its pages is named. ValueError when the host makes no sense."""
    parts = urlsplit(normal_url(url))
    path = parts.path.rstrip("/")
    if parts.netloc in _YOUTUBE_HOSTS:
        if channel := _YOUTUBE_CHANNEL.match(path):
            name = channel.group(1)
            # Handles are written in any case; channel ids are not.
            return "youtube.com" + (name.lower() if name.startswith("/@") else name)
        if path == "/playlist":
            return f"youtube.com{path}?list={next(iter(parse_qs(parts.query).get('list', [])), '')}"
    return parts.netloc.removeprefix("www.") + path + (f"?{parts.query}" if parts.query else "")


def youtube_list(url: str) -> bool:
    """Whether a YouTube URL names a channel (by any of its names) or a playlist rather than one video."""
    # Asked of every line of a list of millions.
    if "youtube" not in url.lower():
        return False
    parts = urlsplit(url)
    if (parts.hostname or "").lower() not in _YOUTUBE_HOSTS or youtube_id(url):
        return False
    path = parts.path.rstrip("/")
    return bool(_YOUTUBE_CHANNEL.match(path)) or (path in ("/playlist", "/watch") and "list" in parse_qs(parts.query))


def youtube_id(url: str) -> str | None:
    """The video id that a YouTube URL names in any of its spellings, or None."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    found: str | None = None
    if host in ("youtu.be", "www.youtu.be"):
        found = parts.path.strip("/")
    elif host in _YOUTUBE_HOSTS:
        found = _youtube_path_id(parts)
    return found if found and _VIDEO_ID.fullmatch(found) else None


def _youtube_path_id(parts: SplitResult) -> str | None:
    if parts.path.rstrip("/") == "/watch":
        return next(iter(parse_qs(parts.query).get("v", [])), None)
    match = _YOUTUBE_PATH.match(parts.path)
    return match.group(1) if match else None


def url_id(url: str) -> str:
    """The episode id of a single URL: ``yt-<video id>`` where it is YouTube, else ``url-<hash>``."""
    video = youtube_id(url)
    return f"yt-{video}" if video else hashed_id("url", normal_url(url))


def source_word(text: str, default: str) -> str:
    """``text`` as one part of an object key (letters, digits, ``. _ -``); hashed when nothing of it is left."""
    if not text.strip():
        return default
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    word = re.sub(r"\.{2,}", ".", word).strip("-._")[:_MAX_SOURCE].rstrip("-._")
    return word or hashed_id("source", text)


def host_word(url: str) -> str:
    """The source word of a URL: its host without ``www.``."""
    return source_word((urlsplit(url).hostname or "").removeprefix("www."), "web")
