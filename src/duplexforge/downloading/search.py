"""Search for recordings: words and lengths in, entries of a list out, which ``seed`` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from duplexforge.config import DownloadSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.listing import described, entries
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError, UsageError

# Results that are looked at for each that is wanted: more than these seldom fit the words any more.
_LOOKS = 20
_MOST_LOOKS = 5000


@dataclass(frozen=True)
class Query:
    """What is searched. Lengths are in seconds, None meaning any; ``most`` results are enough."""

    words: str
    shortest: float | None = None
    longest: float | None = None
    most: int = 50

    def check(self) -> None:
        """UsageError when it cannot find anything."""
        if not self.words.strip():
            raise UsageError("name the words to search for")
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise UsageError("--min-length is greater than --max-length")

    def address(self) -> str:
        """The query as yt-dlp writes it."""
        return f"ytsearch{min(self.most * _LOOKS, _MOST_LOOKS)}:{' '.join(self.words.split())}"


def search(query: Query, settings: DownloadSettings, notes: SeedReport) -> list[dict[str, Any]]:
    """The results as entries (``url, video_id, title, duration, uploader, …``), in the site's order.

    InputError or RetryLater when the site cannot be asked.
    """
    query.check()
    return list(chosen(entries(query.address(), settings, notes), query, notes))


def chosen(found: Iterable[dict[str, Any]], query: Query, notes: SeedReport) -> Iterator[dict[str, Any]]:
    """Those of yt-dlp's entries that ``query`` wants, each once; the others are counted."""
    bounded = query.shortest is not None or query.longest is not None
    seen: set[str] = set()
    for raw in found:
        entry = described(raw)
        try:
            task = Said().described(entry)
        except InputError as error:
            notes.refuse(str(raw.get("title") or raw.get("url")), error)
            continue
        if task.id in seen:
            continue
        seen.add(task.id)
        if reason := _wrong_length(task.duration, query, bounded=bounded):
            notes.leave_out(reason)
            continue
        notes.found += 1
        yield entry
        # Asked here and not of the next result, which may be on a page that nobody has asked for yet.
        if notes.found >= query.most:
            return


def _wrong_length(duration: float | None, query: Query, *, bounded: bool) -> str | None:
    if duration is None:
        return "length_not_stated" if bounded else None
    if query.shortest is not None and duration < query.shortest:
        return "too_short"
    if query.longest is not None and duration > query.longest:
        return "too_long"
    return None


def to_text(results: Iterable[dict[str, Any]]) -> str:
    """A line per result: length, address, title."""
    return "\n".join(
        f"{_clock(result.get('duration')):>8}  {result['url']}  {' '.join(str(result.get('title') or '').split())}"
        for result in results
    )


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
