"""yt-dlp's options from our settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from duplexforge import log
from duplexforge.config import DownloadSettings
from duplexforge.downloading.watch import Watch
from duplexforge.errors import ConfigError

_RETRIES = 2
# For the scripts of YouTube's player. Deno runs them without files and network; Node, where there is no Deno, without
# files.
_RUNTIMES: dict[str, dict[str, str]] = {"deno": {}, "node": {}}


class _Voice:
    """yt-dlp's idea of a logger. All of it is detail for the operator: the error that counts is raised."""

    def __init__(self) -> None:
        self._log = log.get("yt-dlp")

    def debug(self, message: str) -> None:
        self._log.debug(message)

    info = warning = error = debug


def site_options(folder: Path, settings: DownloadSettings, watch: Watch, *, only_audio: bool) -> dict[str, Any]:
    """The options of one download into ``folder``. ConfigError when a setting cannot be used."""
    # No "max_filesize": it skips a file without an error; the watch sees every block and raises.
    return {
        "format": "bestaudio/best" if only_audio else "best/bestaudio",
        "paths": {"home": str(folder)},
        "outtmpl": {"default": "item.%(ext)s"},
        "logger": _Voice(),
        "quiet": True,
        "noprogress": True,
        "color": {"stdout": "never", "stderr": "never"},
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1:2",
        "socket_timeout": settings.socket_timeout,
        "retries": _RETRIES,
        "fragment_retries": _RETRIES,
        "extractor_retries": _RETRIES,
        "skip_unavailable_fragments": False,
        "cachedir": False,
        "updatetime": False,
        "overwrites": True,
        "fixup": "never",
        "external_downloader": {"default": "native"},
        # A path that is none: ffmpeg opens addresses by itself, where no guard looks.
        "ffmpeg_location": str(folder / "no-ffmpeg"),
        "js_runtimes": {name: dict(found) for name, found in _RUNTIMES.items()},
        "ratelimit": settings.rate_limit,
        "sleep_interval_requests": settings.sleep_seconds or None,
        "proxy": settings.download_proxy.get_secret_value() if settings.download_proxy else "",
        "cookiefile": _cookies(folder, settings),
        "extractor_args": extractor_args(settings.extractor_args),
        "progress_hooks": [lambda progress: watch.seen(int(progress.get("downloaded_bytes") or 0))],
    }


def extractor_args(text: str | None) -> dict[str, dict[str, list[str]]]:
    """EXTRACTOR_ARGS as yt-dlp takes it: ``youtube:player_client=web,tv;lang=en`` by site and name."""
    found: dict[str, dict[str, list[str]]] = {}
    for word in (text or "").split():
        site, colon, rest = word.partition(":")
        if not colon or not site:
            raise ConfigError(f"EXTRACTOR_ARGS: {word[:40]!r} is not SITE:NAME=VALUE,VALUE;NAME=VALUE")
        for pair in filter(None, rest.split(";")):
            name, _, values = pair.partition("=")
            key = name.strip().lower().replace("-", "_")
            found.setdefault(site.lower(), {})[key] = [value.strip() for value in values.split(",")]
    return found


def _cookies(folder: Path, settings: DownloadSettings) -> str | None:
    """A copy of the cookies for this download: yt-dlp writes the file back, and many downloads share the one."""
    if not settings.cookies_file:
        return None
    copy = folder / "cookies.txt"
    try:
        copy.touch(mode=0o600)
        shutil.copyfile(settings.cookies_file, copy)
    except OSError as error:
        raise ConfigError(f"COOKIES_FILE cannot be read: {error.strerror or error}") from error
    return str(copy)
