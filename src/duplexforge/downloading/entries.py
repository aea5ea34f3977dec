"""One entry of a list (a JSON object, a row of a table) as a task, whatever its author called the columns."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duplexforge.downloading.identity import host_word, source_word, url_id, web_url, youtube_id
from duplexforge.errors import InputError
from duplexforge.layout import UNKNOWN_LANGUAGE, hashed_id, language_subtag, safe_name
from duplexforge.records import DownloadTask

# our name <- names that lists use, the first that is filled wins
COLUMNS: dict[str, tuple[str, ...]] = {
    "url": ("audio_url", "enclosure_url", "enclosureurl", "url", "webpage_url", "video_url", "link", "href"),
    "feed": ("feed_url", "feedurl", "feed", "rss", "rss_url", "rss_feed", "xmlurl"),
    "video_id": ("video_id", "videoid", "youtube_id", "yt_id"),
    "episode_id": ("episode_id",),
    "language": ("language", "lang", "language_code"),
    "licence": ("licence", "license"),
    "title": ("title", "name", "video_title", "episode_title"),
    "uploader": ("uploader", "author", "channel", "channel_name", "itunesauthor", "speaker"),
    "published": ("published", "upload_date", "date", "pubdate"),
    "source": ("source",),
    "duration": ("duration", "duration_seconds", "length", "length_seconds"),
    "channel_url": ("channel_url", "uploader_url"),
}
_MAX_TEXT = 500
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,5}):(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True)
class Said:
    """What is said of all items of a source, for those that do not say it themselves."""

    language: str = UNKNOWN_LANGUAGE
    licence: str | None = None
    source: str | None = None

    def item(self, text: str) -> DownloadTask:
        """The task of a URL. InputError(``refused``) when it is none."""
        url = web_url(text)
        episode, video = url_id(url), youtube_id(url)
        return DownloadTask(
            id=episode,
            episode_id=episode,
            url=f"https://www.youtube.com/watch?v={video}" if video else url,
            video_id=video,
            language=self.language,
            source=source_word(self.source, "web") if self.source else host_word(url),
            licence=self.licence,
        )

    def described(self, entry: Mapping[str, Any]) -> DownloadTask:
        """The task of an entry. What it says about itself wins over ``self``: it was written for this item."""
        said = fields(entry)
        task = self.item(said.get("url") or _watch_page(said.get("video_id")) or "")
        changes: dict[str, Any] = {
            name: said[name] for name in ("title", "uploader", "published", "licence") if name in said
        }
        if "language" in said:
            changes["language"] = language_subtag(said["language"])
        if "source" in said:
            changes["source"] = source_word(said["source"], "web")
        if "channel_url" in said:
            changes["origins"] = [said["channel_url"]]
        if (seconds := _seconds(entry)) is not None:
            changes["duration"] = seconds
        if episode := _given_id(said):
            changes["id"] = changes["episode_id"] = episode
        return task.model_copy(update=changes)


def fields(entry: Mapping[str, Any]) -> dict[str, str]:
    """The text fields of an entry under our names; empty ones are left out."""
    plain = {normal_name(name): value for name, value in entry.items() if isinstance(value, str) and value.strip()}
    found: dict[str, str] = {}
    for ours, theirs in COLUMNS.items():
        text = next((plain[name] for name in theirs if name in plain), None)
        if text is not None:
            found[ours] = text.strip() if ours in ("url", "feed", "episode_id") else text.strip()[:_MAX_TEXT]
    return found


def normal_name(name: object) -> str:
    """A column's name as it is looked up: lower case, ``_`` for blanks and dashes."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def is_header(names: list[str]) -> bool:
    """Whether the first row of a table names a column by which an item or a feed is found."""
    known = {*COLUMNS["url"], *COLUMNS["feed"], *COLUMNS["video_id"]}
    return any(normal_name(name) in known for name in names)


def _watch_page(video: str | None) -> str | None:
    page = f"https://www.youtube.com/watch?v={video}"
    return page if video and youtube_id(page) else None


def _seconds(entry: Mapping[str, Any]) -> float | None:
    """The stated length in seconds: a number, or a clock (``1:02:03``); None when it is neither."""
    named = {normal_name(name): value for name, value in entry.items()}
    value = next((named[name] for name in COLUMNS["duration"] if named.get(name) not in (None, "")), None)
    if isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _given_id(said: Mapping[str, str]) -> str | None:
    """The id that a list gives an item: a safe one as it is, another hashed (``yt-`` and the id for ``video_id``)."""
    given = said.get("episode_id") or (f"yt-{said['video_id']}" if "video_id" in said else None)
    if given is None:
        return None
    try:
        return safe_name(given)
    except ValueError:
        return hashed_id("url", given)


def entry_of(value: object) -> Mapping[str, Any]:
    """``value`` as an entry. InputError(``bad_record``) when a list holds something else."""
    if isinstance(value, Mapping):
        return value
    raise InputError("neither a URL nor an object with one", reason="bad_record")
