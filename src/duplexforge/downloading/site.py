"""Download through yt-dlp: sites that it knows by name, and pages with audio in them.

One item per task: no playlists, no live streams, no cookies, no configuration files, no plug-ins, no cache. What it
says goes to our log, and its errors become ours by ``classify``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duplexforge import log
from duplexforge.downloading.classify import network_error, site_error
from duplexforge.downloading.item import Item
from duplexforge.downloading.watch import Watch
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.layout import audio_extension

_RETRIES = 2
_MAX_TEXT = 500
_LIVE = ("is_live", "is_upcoming", "post_live")


class _Voice:
    """yt-dlp's idea of a logger. All of it is detail for the operator: the error that counts is raised."""

    def __init__(self) -> None:
        self._log = log.get("yt-dlp")

    def debug(self, message: str) -> None:
        self._log.debug(message)

    info = warning = error = debug


def has_extractor(url: str) -> bool:
    """Whether yt-dlp knows the site of ``url`` by name (its generic reader of pages does not count)."""
    from yt_dlp.extractor import gen_extractor_classes

    return any(one.suitable(url) and one.IE_NAME != "generic" for one in gen_extractor_classes())


def fetch_site(url: str, folder: Path, *, timeout: float, watch: Watch, ffmpeg: str | None = None) -> Item:
    """Download the best audio of the one item at ``url``. InputError or RetryLater when it cannot be had."""
    with _downloader(url, _options(folder, timeout, watch, ffmpeg)) as site:
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
    return Item(
        paths[0],
        audio_extension(paths[0].name),
        title=_text(info, "title"),
        uploader=_text(info, "uploader") or _text(info, "channel"),
        licence=_text(info, "license"),
        published=_published(info),
    )


@contextmanager
def _downloader(url: str, options: dict[str, Any]) -> Iterator[Any]:
    import yt_dlp
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.networking.exceptions import TransportError
    from yt_dlp.utils import YoutubeDLError

    plugin_dirs.value = []
    try:
        with yt_dlp.YoutubeDL(options) as site:
            yield site
    except DuplexforgeError:
        raise
    except TransportError as error:
        raise network_error(error, url) from error
    except YoutubeDLError as error:
        raise _translated(error) from error


def _options(folder: Path, timeout: float, watch: Watch, ffmpeg: str | None) -> dict[str, Any]:
    # No "max_filesize": it skips a file without an error; the watch sees every block and raises.
    return {
        "format": "bestaudio/best",
        "paths": {"home": str(folder)},
        "outtmpl": {"default": "item.%(ext)s"},
        "logger": _Voice(),
        "quiet": True,
        "noprogress": True,
        "color": {"stdout": "never", "stderr": "never"},
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1:2",
        "socket_timeout": timeout,
        "retries": _RETRIES,
        "fragment_retries": _RETRIES,
        "extractor_retries": _RETRIES,
        "skip_unavailable_fragments": False,
        "cachedir": False,
        "updatetime": False,
        "overwrites": True,
        "fixup": "never",
        "external_downloader": {"default": "native"},
        "ffmpeg_location": ffmpeg,
        "progress_hooks": [lambda progress: watch.seen(int(progress.get("downloaded_bytes") or 0))],
    }


def _refuse(info: dict[str, Any] | None, watch: Watch) -> None:
    """Refuse what is no single finished recording before any of it is downloaded."""
    if not info:
        raise site_error("nothing was found")
    if info.get("_type", "video") != "video":
        raise InputError("it is a list of several items: seed each by its own address", reason="playlist")
    if info.get("is_live") or info.get("live_status") in _LIVE:
        raise site_error("it is live")
    size = info.get("filesize") or 0
    if size > watch.limit:
        raise watch.too_large(int(size))


def _translated(error: Exception) -> DuplexforgeError:
    """Our error for yt-dlp's; the HTTP answer behind it, where there is one, is some causes down."""
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
