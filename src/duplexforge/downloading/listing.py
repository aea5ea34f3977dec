"""Channels, playlists and searches as streams of entries: yt-dlp's flat extraction, page by page as it is used.

Nothing of an entry itself is asked for, so a channel of ten thousand videos costs its pages and no more. Channels in
channels (YouTube's tabs) are followed, live and upcoming ones and those that are not public are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from duplexforge.config import DownloadSettings
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.identity import youtube_id, youtube_list
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.site import opened, translated
from duplexforge.downloading.site_options import site_options
from duplexforge.downloading.watch import Watch, never
from duplexforge.errors import DuplexforgeError, InputError, RetryLater

_DEPTH = 4
_LIVE = ("is_live", "is_upcoming", "post_live")
_CLOSED = {"private": "private", "premium_only": "paid", "subscriber_only": "members", "needs_auth": "denied"}
# What YouTube's playlists show in place of a video that cannot be seen.
_TOMBS = {"[private video]": "private", "[deleted video]": "gone"}

Entry = dict[str, Any]


def is_list(url: str) -> bool | None:
    """Whether yt-dlp knows the site of ``url`` and it holds many items; None when only asking the site would tell.

    False also for sites that it does not know by name.
    """
    if youtube_id(url) or youtube_list(url):
        return youtube_id(url) is None
    from yt_dlp.extractor import gen_extractor_classes

    for one in gen_extractor_classes():
        if one.IE_NAME != "generic" and one.suitable(url):
            single = one.is_single_video(url)
            return None if single is None else not single
    return False


def entries(url: str, settings: DownloadSettings, notes: SeedReport) -> Iterator[Entry]:
    """The public, finished recordings behind ``url`` (a page, or yt-dlp's ``ytsearch20:words``), as yt-dlp lists them.

    A single recording is a list of one. InputError or RetryLater when the list cannot be read; what came before is kept.
    """
    guard = Guard(settings.allow_private_addresses)
    with (
        TemporaryDirectory(prefix="duplexforge-") as folder,
        opened(url, _options(Path(folder), settings), guard) as site,
    ):
        yield from recordings(site, url, notes)


def recordings(site: Any, url: str, notes: SeedReport) -> Iterator[Entry]:
    """As ``entries``, with a ``YoutubeDL`` that is open."""
    for entry in _flat(site, {"_type": "url", "url": url}, 0, notes):
        if reason := _closed(entry):
            notes.leave_out(reason)
        else:
            yield entry


def _options(folder: Path, settings: DownloadSettings) -> dict[str, Any]:
    """The options of a download, without what narrows it to one item; ``folder`` takes a copy of the cookies."""
    found = site_options(folder, settings, Watch(1, never), only_audio=True)
    given = found["extractor_args"]
    # Flat entries carry no dates; YouTube's "3 months ago" is near enough for `since` and `until`.
    tabs = {"approximate_date": [""], **given.get("youtubetab", {})}
    return {**found, "extractor_args": {**given, "youtubetab": tabs}, "noplaylist": False, "playlist_items": None}


def _flat(site: Any, info: Entry, depth: int, notes: SeedReport) -> Iterator[Entry]:
    kind = info.get("_type", "video")
    if kind in ("playlist", "multi_video"):
        for entry in info.get("entries") or ():
            if entry:
                yield from _flat(site, entry, depth + 1, notes)
        return
    if kind not in ("url", "url_transparent") or (depth and is_list(str(info.get("url") or "")) is not True):
        yield info
        return
    if depth > _DEPTH:
        notes.refuse(str(info.get("url")), InputError("lists in lists in lists", reason="playlist"))
        return
    inner = _asked(lambda: site.extract_info(info["url"], download=False, process=False), info, depth, notes)
    if inner:
        # An answer that only points elsewhere is followed as if it had been asked for.
        deeper = depth if depth == 0 and inner.get("_type") not in ("url", "url_transparent") else depth + 1
        yield from _flat(site, inner, deeper, notes)


def _asked(ask: Callable[[], Any], info: Entry, depth: int, notes: SeedReport) -> Entry | None:
    """The answer of a site; a tab that is closed is counted where it is not the whole of what was wanted."""
    try:
        answer: Entry | None = ask()
    except Exception as error:
        # The lister turns it into one of ours where it leaves the block; here only a lasting refusal is forgiven.
        ours = error if isinstance(error, DuplexforgeError) else translated(error)
        if depth == 0 or isinstance(ours, RetryLater):
            raise
        notes.refuse(str(info.get("url")), ours)
        return None
    return answer


def _closed(entry: Entry) -> str | None:
    if entry.get("is_live") or entry.get("live_status") in _LIVE:
        return "live"
    title = str(entry.get("title") or "").strip().lower()
    return _TOMBS.get(title) or _CLOSED.get(str(entry.get("availability")))


def described(entry: Entry) -> Entry:
    """What an entry says about its item, under the names of our own lists (``duplexforge.downloading.entries``)."""
    video = str(entry.get("id") or "") if str(entry.get("ie_key") or entry.get("extractor_key")) == "Youtube" else ""
    found = {
        "url": f"https://www.youtube.com/watch?v={video}" if video else _address(entry),
        "video_id": video or None,
        "title": entry.get("title"),
        "uploader": entry.get("channel") or entry.get("uploader"),
        "licence": entry.get("license"),
        "duration": entry.get("duration"),
        "published": _day(entry),
        "channel_url": entry.get("channel_url") or entry.get("uploader_url"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _address(entry: Entry) -> str:
    formats = entry.get("formats") or [{}]
    return str(
        entry.get("webpage_url") or entry.get("url") or entry.get("original_url") or formats[-1].get("url") or ""
    )


def _day(entry: Entry) -> str | None:
    for name in ("release_timestamp", "timestamp"):
        moment = entry.get(name)
        if isinstance(moment, int | float):
            try:
                return datetime.fromtimestamp(moment, UTC).date().isoformat()
            except (ValueError, OverflowError, OSError):
                continue
    day = str(entry.get("upload_date") or "")
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None
