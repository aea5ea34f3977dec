"""Download of a URL that is the audio itself.

yt-dlp's generic extractor takes such URLs too (tried with every case of ``tests/servers/site.py``), but it asks twice,
believes a server that calls its error page audio, skips a file that is too large without an error and asks again at
once for a body that was cut short. So plain audio is fetched with one GET here, and a page (HTML) is left to yt-dlp.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from duplexforge.downloading.audio import type_extension
from duplexforge.downloading.item import Item
from duplexforge.downloading.resume import Partial, Partials
from duplexforge.downloading.watch import TooSlow, Watch
from duplexforge.downloading.web import Route, blocks
from duplexforge.errors import InputError, Preempted, RetryLater
from duplexforge.layout import audio_extension

if TYPE_CHECKING:
    from requests import Response

NO_PARTIALS = Partials(None, 0)
# Connections for one file: each must bring something, and a server that drips connections is not waited for.
_RESUMES = 6
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


def fetch_direct(
    url: str, folder: Path, *, route: Route, watch: Watch, partials: Partials = NO_PARTIALS
) -> Item | None:
    """Download ``url`` to ``folder``; None when it is a page. InputError or RetryLater when it cannot be had.

    A connection that breaks off is taken up again where it ended, here or by the next attempt on this machine, when the
    server tells versions of the file apart.
    """
    partial = partials.take(url, folder / "item")
    try:
        kind = _whole(url, route, watch, partial)
    except (RetryLater, Preempted):
        partials.keep(url, partial)
        raise
    if kind is None:
        return None
    if partial.size == 0:
        raise InputError("the server answers with an empty file", reason="empty")
    with partial.path.open("rb") as file:
        start = file.read(START)
    if is_page(start):
        return None
    if start.lstrip().startswith(_PLAYLIST):
        raise InputError("it is a playlist, not audio: seed the files it names", reason="unsupported")
    return Item(partial.path, kind or None)


def _whole(url: str, route: Route, watch: Watch, partial: Partial) -> str | None:
    """Receive all of it; the extension that the server claims ("" for none), or None for a page."""
    for left in reversed(range(_RESUMES)):
        before = partial.size
        try:
            return _receive(url, route, watch, partial)
        except Mixed:
            partial.forget()
        except RetryLater as error:
            moved = partial.size > before
            cut = error.reason == "network" and not isinstance(error, TooSlow)
            if not left or not moved or not cut or not partial.request_headers():
                raise
    raise RetryLater("the server sends other parts of the file than it was asked for", reason="network")


class Mixed(Exception):
    """The answer does not go on with the file that is here."""


def _receive(url: str, route: Route, watch: Watch, partial: Partial) -> str | None:
    wanted = partial.request_headers()
    try:
        with route.get(url, wanted) as response:
            # Only an answer 206 goes on; any other begins the file, whatever was asked for.
            if response.status_code == 206:
                if not wanted or not partial.continues(response.headers):
                    raise Mixed
            else:
                partial.begins(response.headers)
            kind = _kind(url, response)
            if kind is not None:
                _write(response, partial, watch)
            return kind
    except InputError as error:
        # The file has become shorter than what is here of it.
        if error.reason == "range" and wanted:
            raise Mixed from error
        raise


def _kind(url: str, response: Response) -> str | None:
    """The extension that the answer claims ("" for none), None for a page; InputError when it is something else."""
    kind = response.headers.get("Content-Type", "").strip().lower()
    if kind.startswith(("text/html", "application/xhtml")):
        return None
    named = names_audio(url) or names_audio(response.url)
    if named is None and kind.startswith(_NO_AUDIO):
        raise InputError(f"the server answers with {kind[:60]}, not audio", reason="not_audio")
    return named or type_extension(kind) or ""


def _write(response: Response, partial: Partial, watch: Watch) -> None:
    if partial.total is not None and partial.total > watch.limit:
        raise watch.too_large(partial.total)
    size, since, begun = partial.size, time.monotonic(), partial.size
    with partial.path.open("ab") as file:
        for block in blocks(response):
            file.write(block)
            size += len(block)
            watch.seen(size)
            watch.ease(size - begun, since)
    if partial.total is not None and size != partial.total:
        # urllib3 saw the end that this answer promised, so it is the server that does not know its own file.
        promised = partial.total
        partial.forget()
        raise RetryLater(f"the server sent {size} bytes and had promised {promised}", reason="network")
