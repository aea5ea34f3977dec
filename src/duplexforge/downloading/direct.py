"""Download of a URL that is the audio itself.

yt-dlp's generic extractor takes such URLs too (tried with every case of ``tests/servers/site.py``), but it asks twice,
believes a server that calls its error page audio, skips a file that is too large without an error and asks again at
once for a body that was cut short. So plain audio is fetched with one GET here, and a page (HTML) is left to yt-dlp.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from duplexforge.downloading.audio import type_extension
from duplexforge.downloading.item import Item
from duplexforge.downloading.watch import Watch
from duplexforge.downloading.web import blocks, request
from duplexforge.errors import InputError
from duplexforge.layout import audio_extension

# So much of a body shows whether it is a page or a list.
START = 4096
_PAGE = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<!--.{0,400}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_PLAYLIST = (b"#EXTM3U", b"[playlist]", b"ffconcat", b"<MPD", b"<smil")
_NO_AUDIO = ("text/", "image/", "font/", "application/json", "application/pdf", "application/zip", "application/xml")


def is_page(start: bytes) -> bool:
    """Whether a body that begins with ``start`` is HTML, whatever the server calls it."""
    return _PAGE.match(start) is not None


def names_audio(url: str) -> str | None:
    """The audio extension at the end of the URL's path, or None."""
    return audio_extension(unquote(urlsplit(url).path))


def fetch_direct(url: str, folder: Path, *, timeout: float, watch: Watch) -> Item | None:
    """Download ``url`` to ``folder``; None when it is a page. InputError or RetryLater when it cannot be had."""
    with request(url, timeout) as response:
        kind = response.headers.get("Content-Type", "").strip().lower()
        if kind.startswith(("text/html", "application/xhtml")):
            return None
        named = names_audio(url) or names_audio(response.url)
        if named is None and kind.startswith(_NO_AUDIO):
            raise InputError(f"the server answers with {kind[:60]}, not audio", reason="not_audio")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > watch.limit:
            raise watch.too_large(int(length))
        path = folder / "item"
        size = 0
        with path.open("wb") as file:
            for block in blocks(response):
                file.write(block)
                size += len(block)
                watch.seen(size)
    if size == 0:
        raise InputError("the server answers with an empty file", reason="empty")
    with path.open("rb") as file:
        start = file.read(START)
    if is_page(start):
        return None
    if start.lstrip().startswith(_PLAYLIST):
        raise InputError("it is a playlist, not audio: seed the files it names", reason="unsupported")
    return Item(path, named or type_extension(kind))
