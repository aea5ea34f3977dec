"""Brings one item to this machine: a local file by copy, audio by HTTP, everything else through yt-dlp."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from duplexforge.config import DownloadSettings
from duplexforge.downloading.direct import START, fetch_direct, is_page, names_audio
from duplexforge.downloading.identity import web_url
from duplexforge.downloading.item import Item
from duplexforge.downloading.local import local_id, path_of
from duplexforge.downloading.site import fetch_site, has_extractor
from duplexforge.downloading.watch import Watch, never
from duplexforge.errors import InputError, RetryLater
from duplexforge.layout import audio_extension
from duplexforge.records import DownloadTask

_BLOCK = 1 << 20


def fetch_item(
    task: DownloadTask, folder: Path, settings: DownloadSettings, *, stopping: Callable[[], bool] = never
) -> Item:
    """Bring the item of ``task`` to ``folder``.

    ``stopping`` is asked between blocks; true ends the download with Preempted. Raises InputError (the item is to
    blame) or RetryLater (the network, the site or this machine's disk is).
    """
    watch = Watch(settings.max_bytes, stopping)
    try:
        if urlsplit(task.url.strip()).scheme.lower() == "file":
            return _copy(task, folder, settings, watch)
        return _web(web_url(task.url), folder, settings, watch)
    except OSError as error:
        # Every error of the network and of the input is translated where it happens; what is left is this machine's.
        raise RetryLater(f"this machine could not keep the download: {error}", reason="machine") from error


def _web(url: str, folder: Path, settings: DownloadSettings, watch: Watch) -> Item:
    # Some extractors also claim plain audio addresses of their site; the file itself is the shorter way.
    if names_audio(url) or not has_extractor(url):
        item = fetch_direct(url, folder, timeout=settings.socket_timeout, watch=watch)
        if item is not None:
            return item
    item = fetch_site(url, folder, timeout=settings.socket_timeout, watch=watch, ffmpeg=ffmpeg_path())
    with item.path.open("rb") as file:
        if is_page(file.read(START)):
            raise InputError("the server calls a page audio", reason="not_audio")
    return item


def _copy(task: DownloadTask, folder: Path, settings: DownloadSettings, watch: Watch) -> Item:
    """Copy a local file. No link: a file that is edited in place meanwhile would not be what its checksum says."""
    if not settings.allow_file_urls:
        message = "file URLs are not allowed here: set ALLOW_FILE_URLS=true to read this machine's files"
        raise InputError(message, reason="refused")
    source = path_of(task.url)
    with _opened(source) as original:
        path, digest = _keep(original, folder / "item", watch)
    if task.episode_id.startswith("file-") and task.episode_id != local_id(digest):
        raise InputError("the file has changed since it was seeded: seed it again", reason="changed")
    return Item(path, audio_extension(source.name))


def _opened(source: Path) -> BinaryIO:
    try:
        # Asked before it is opened: opening a pipe waits for a writer.
        if not stat.S_ISREG(source.stat().st_mode):
            raise InputError("it is not a regular file", reason="unsupported")
        return source.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("the file is not there any more: seed it again from where it is now", reason="gone") from error
    except PermissionError as error:
        raise InputError("the file may not be read", reason="denied") from error


def _keep(original: BinaryIO, path: Path, watch: Watch) -> tuple[Path, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as copy:
        while block := original.read(_BLOCK):
            digest.update(block)
            copy.write(block)
            size += len(block)
            watch.seen(size)
    return path, digest.hexdigest()


def ffmpeg_path() -> str | None:
    """The system's ffmpeg, else the one that imageio-ffmpeg carries, else None. Only yt-dlp asks for it, and seldom."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
