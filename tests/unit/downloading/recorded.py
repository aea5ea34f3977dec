"""What yt-dlp's extractors answered for a channel, a playlist and a search: its own dictionaries, shortened.

They are given back by extractors that take the place of the real ones in a real ``YoutubeDL``, so that everything
between the site and us is yt-dlp's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CHANNEL = "https://www.youtube.com/@someone"
PLAYLIST = "https://www.youtube.com/playlist?list=PL1"


def video(number: int, **fields: Any) -> dict[str, Any]:
    """A flat entry as YouTube's tabs and searches give it."""
    name = f"{number:011d}"
    return {
        "_type": "url", "ie_key": "Youtube", "id": name, "url": f"https://www.youtube.com/watch?v={name}",
        "title": f"Talk {number}", "description": None, "duration": 60.0 * number, "channel_id": "UCsomeone",
        "channel": "Someone", "channel_url": "https://www.youtube.com/channel/UCsomeone", "uploader": "Someone",
        "uploader_id": "@someone", "uploader_url": CHANNEL, "thumbnails": [], "timestamp": 1767225600 + number,
        "release_timestamp": None, "availability": None, "view_count": 7, "live_status": None,
        "channel_is_verified": None, "__x_forwarded_for_ip": None, **fields,
    }  # fmt: skip


def tab(name: str) -> dict[str, Any]:
    """A tab of a channel's page."""
    return {"_type": "url", "ie_key": "YoutubeTab", "url": f"{CHANNEL}/{name}"}


class Pages:
    """The answers, and how far they were read. A page that is an exception is raised when it is come to."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.read = 0

    def answer(self, url: str) -> dict[str, Any]:
        """The extractor's result for ``url``."""
        found = self.answers[url]
        if isinstance(found, Exception):
            raise found
        if isinstance(found, dict):
            return found
        return {"_type": "playlist", "id": "x", "title": "x", "webpage_url": url, "entries": self._pages(found)}

    def _pages(self, entries: list[Any]) -> Iterator[Any]:
        for entry in entries:
            self.read += 1
            if isinstance(entry, Exception):
                raise entry
            yield entry


def replay(site: Any, pages: Pages) -> None:
    """Let ``site`` (a ``YoutubeDL``) answer channels and searches of YouTube from ``pages``."""
    from yt_dlp.extractor.common import InfoExtractor

    class YoutubeTabIE(InfoExtractor):  # type: ignore[misc]
        _VALID_URL = r"https://www\.youtube\.com/(?:@|channel/|playlist)|ytsearch"

        def _real_extract(self, url: str) -> dict[str, Any]:
            return pages.answer(url)

    for key in list(site._ies):
        if "youtube" in key.lower():
            site._ies.pop(key)
            site._ies_instances.pop(key, None)
    site._ies = {"YoutubeTab": YoutubeTabIE, **site._ies}
    site._ies_instances["YoutubeTab"] = YoutubeTabIE(site)
