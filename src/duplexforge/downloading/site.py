"""Download through yt-dlp: sites that it knows by name, and pages with audio in them.

One item per task: no playlists, no live streams, no configuration files, no plug-ins, no cache, no ffmpeg. All that it
fetches goes through one request handler of ours, whose connections the guard makes: the page, its redirects, the
playlists of a stream and every part of it. Formats that would need another program are refused, since that program
would not be guarded. What yt-dlp says goes to our log, and its errors become ours by ``classify``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from traceback import walk_tb
from typing import Any

from duplexforge.config import DownloadSettings
from duplexforge.downloading.classify import network_error, site_error
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.item import Item
from duplexforge.downloading.public import public_url
from duplexforge.downloading.site_options import site_options
from duplexforge.downloading.watch import Watch
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.layout import audio_extension

_MAX_TEXT = 500
_LIVE = ("is_live", "is_upcoming", "post_live")
# What yt-dlp downloads itself, by requests that are guarded. Others (rtmp, mms, websockets) start programs or sockets.
_PROTOCOLS = (
    "http",
    "https",
    "m3u8",
    "m3u8_native",
    "http_dash_segments",
    "http_dash_segments_generator",
    "f4m",
    "ism",
)


def extractor_of(url: str) -> str | None:
    """The site of ``url`` as yt-dlp names it (``youtube``), or None when only its generic reader of pages takes it."""
    from yt_dlp.extractor import gen_extractor_classes

    for one in gen_extractor_classes():
        if one.IE_NAME != "generic" and one.suitable(url):
            return _word(str(one.IE_NAME))
    return None


def _word(name: str) -> str:
    """The site behind an extractor's name: ``youtube:tab`` is YouTube too."""
    plain = "".join(letter for letter in name.lower().partition(":")[0] if letter.isascii() and letter.isalnum())
    return plain or "site"


def fetch_site(
    url: str,
    folder: Path,
    settings: DownloadSettings,
    *,
    guard: Guard,
    watch: Watch,
    only_audio: bool = True,
) -> Item:
    """Download the best audio of the one item at ``url``. InputError or RetryLater when it cannot be had.

    Without ``only_audio`` the best file with a picture is taken (the role keeps its sound).
    """
    options = site_options(folder, settings, watch, only_audio=only_audio)
    with opened(url, options, guard) as site:
        # In two steps, so that what is not wanted costs its page and no more.
        info = site.extract_info(url, download=False)
        _refuse(info, watch)
        info = site.process_ie_result(info, download=True)
        paths = [Path(one["filepath"]) for one in (info or {}).get("requested_downloads") or [] if one.get("filepath")]
        if len(paths) != 1 or not paths[0].is_file():
            raise site_error("nothing was downloaded")
    size = paths[0].stat().st_size
    if size == 0:
        raise InputError("the server answers with an empty file", reason="empty")
    watch.seen(size)
    page = _text(info, "webpage_url")
    return Item(
        paths[0],
        audio_extension(paths[0].name),
        title=_text(info, "title"),
        uploader=_text(info, "uploader") or _text(info, "channel"),
        licence=_text(info, "license"),
        published=_published(info),
        extractor=_text(info, "extractor"),
        video_id=_text(info, "id"),
        page_url=public_url(page) if page else None,
    )


@contextmanager
def _nothing_left_open() -> Iterator[None]:
    """Close the answer that yt-dlp read and the file that it wrote when an error came from the watch or the guard."""
    try:
        yield
    except Exception as error:
        for frame, _ in walk_tb(error.__traceback__):
            # Where both of its downloaders, of plain files and of fragments, keep them.
            context = frame.f_locals.get("ctx")
            known = context if isinstance(context, dict) else {}
            for left in (known.get("data"), known.get("stream"), known.get("dest_stream")):
                if left is not None:
                    left.close()
        raise


@contextmanager
def opened(url: str, options: dict[str, Any], guard: Guard) -> Iterator[Any]:
    """yt-dlp with ``options``, all its requests judged by ``guard``, its errors in the block turned into ours."""
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.networking.exceptions import TransportError
    from yt_dlp.utils import YoutubeDLError

    from duplexforge.downloading.site_requests import downloader

    plugin_dirs.value = []
    refusals: list[DuplexforgeError] = []
    try:
        with downloader(options, guard, refusals) as site, _nothing_left_open():
            yield site
    except DuplexforgeError as error:
        # An extractor may have swallowed the refusal and then have nothing to show.
        raise (refusals[0] if refusals and error.reason == "site" else error) from error.__cause__
    except TransportError as error:
        raise network_error(error, url) from error
    except YoutubeDLError as error:
        found = translated(error)
        raise (refusals[0] if refusals else found) from error


def _refuse(info: dict[str, Any] | None, watch: Watch) -> None:
    """Refuse what is no single finished recording, or is not wanted, before any of it is downloaded."""
    if not info:
        raise site_error("nothing was found")
    if info.get("_type", "video") != "video":
        raise InputError("it is a list of several items: seed each by its own address", reason="playlist")
    if info.get("is_live") or info.get("live_status") in _LIVE:
        raise site_error("it is live")
    size, seconds = info.get("filesize") or 0, info.get("duration")
    if size > watch.limit:
        raise watch.too_large(int(size))
    watch.lasts(float(seconds) if isinstance(seconds, int | float) else None)
    # Of two formats that would be merged each comes by its own protocol.
    for part in info.get("requested_formats") or [info]:
        protocol = str(part.get("protocol") or "https").partition("+")[0]
        if protocol not in _PROTOCOLS:
            raise InputError(f"it comes by {protocol[:40]}, which is not fetched", reason="unsupported")


def translated(error: BaseException) -> DuplexforgeError:
    """Our error for one of yt-dlp's; the HTTP answer behind it, where there is one, is some causes down."""
    status = retry_after = None
    for cause in _causes(error):
        if isinstance(cause, DuplexforgeError):
            return cause
        response = getattr(cause, "response", None)
        if response is not None and hasattr(cause, "status"):
            status, retry_after = int(cause.status), response.headers.get("Retry-After")
            response.close()
    return site_error(str(error), status=status, retry_after=retry_after)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        inner = getattr(one, "exc_info", None) or (None, None, None)
        waiting += [inner[1], getattr(one, "cause", None), one.__cause__]


def _text(info: dict[str, Any], name: str) -> str | None:
    value = info.get(name)
    return value.strip()[:_MAX_TEXT] or None if isinstance(value, str) else None


def _published(info: dict[str, Any]) -> str | None:
    day = str(info.get("upload_date") or "")
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None
