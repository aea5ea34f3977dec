"""Brings one item to this machine: a local file by copy, audio by HTTP, everything else through yt-dlp."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from duplexforge.config import DownloadSettings, StoreSettings
from duplexforge.downloading.buckets import SCHEME, fetch_object
from duplexforge.downloading.direct import NO_PARTIALS, START, fetch_direct, is_page, names_audio
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.identity import web_url
from duplexforge.downloading.item import Item
from duplexforge.downloading.local import local_id, path_of
from duplexforge.downloading.resume import Partials
from duplexforge.downloading.site import extractor_of, fetch_site
from duplexforge.downloading.watch import Watch, never
from duplexforge.downloading.web import Route
from duplexforge.errors import InputError, RetryLater
from duplexforge.layout import audio_extension
from duplexforge.records import DownloadTask

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Ways:
    """How one process fetches: its settings, its route to the network, what it keeps of broken-off files, and how it
    reads buckets (None: not at all)."""

    settings: DownloadSettings
    route: Route
    partials: Partials = NO_PARTIALS
    store: StoreSettings | None = None

    @classmethod
    def of(
        cls,
        settings: DownloadSettings,
        *,
        guard: Guard | None = None,
        partials: Partials = NO_PARTIALS,
        store: StoreSettings | None = None,
    ) -> Ways:
        """The ways that ``settings`` name."""
        proxy = settings.download_proxy.get_secret_value() if settings.download_proxy else None
        route = Route(settings.socket_timeout, guard or Guard(settings.allow_private_addresses), proxy)
        return cls(settings, route, partials, store)

    def watch(self, stopping: Callable[[], bool] = never) -> Watch:
        """What a download is held to."""
        wanted = self.settings
        return Watch(
            wanted.max_bytes,
            stopping,
            shortest=wanted.min_seconds,
            longest=wanted.max_seconds,
            rate=wanted.rate_limit,
        )


def secrets_of(settings: DownloadSettings) -> list[str]:
    """What of the settings no log may show: the proxy's address and the password in it."""
    if settings.download_proxy is None:
        return []
    proxy = settings.download_proxy.get_secret_value()
    try:
        password = urlsplit(proxy).password
    except ValueError:
        password = None
    return [proxy, *([password, unquote(password)] if password else [])]


def fetch_item(task: DownloadTask, folder: Path, ways: Ways, *, stopping: Callable[[], bool] = never) -> Item:
    """Bring the item of ``task`` to ``folder``.

    ``stopping`` is asked between blocks; true ends the download with Preempted. Raises InputError (the item is to
    blame) or RetryLater (the network, the site or this machine's disk is).
    """
    watch = ways.watch(stopping)
    try:
        if is_file(task):
            return _copy(task, folder, ways.settings, watch)
        if is_object(task) and ways.store is not None:
            return fetch_object(task.url, folder, ways.store, watch)
        return _web(task, folder, ways, watch)
    except OSError as error:
        # Every error of the network and of the input is translated where it happens; what is left is this machine's.
        raise RetryLater(f"this machine could not keep the download: {error}", reason="machine") from error


def is_file(task: DownloadTask) -> bool:
    """Whether the task's address is a file of this machine."""
    return urlsplit(task.url.strip()).scheme.lower() == "file"


def is_object(task: DownloadTask) -> bool:
    """Whether the task's address is an object of a bucket."""
    return task.url.strip().lower().startswith(SCHEME)


def _web(task: DownloadTask, folder: Path, ways: Ways, watch: Watch) -> Item:
    url = web_url(task.url)
    ways.route.guard.check(url)
    # Some extractors also claim plain audio addresses of their site; the file itself is the shorter way.
    if names_audio(url) or extractor_of(url) is None:
        item = fetch_direct(url, folder, route=ways.route, watch=watch, partials=ways.partials)
        if item is not None:
            return item
    only_audio = task.only_audio is not False
    item = fetch_site(url, folder, ways.settings, guard=ways.route.guard, watch=watch, only_audio=only_audio)
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
