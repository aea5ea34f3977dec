"""Which of the items that were found are wanted: limits of a source, licences, opt-outs, archives, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from duplexforge import log
from duplexforge.config import DownloadSettings
from duplexforge.downloading.guard import Guard
from duplexforge.downloading.licences import allowed
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.optout import OptOut
from duplexforge.errors import InputError, UsageError
from duplexforge.idset import IdSet
from duplexforge.layout import Layout
from duplexforge.records import DownloadTask, Selection
from duplexforge.storage import Store

_TOLD = 10
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def selected(tasks: Iterable[DownloadTask], wanted: Selection | None, notes: SeedReport) -> Iterator[DownloadTask]:
    """Those of ``tasks`` that ``wanted`` takes; a feed that is read later carries the wish with it.

    Once ``max_items`` are had the source is read no further, so what it had left is not counted, only that it was cut.
    """
    if wanted is None:
        yield from tasks
        return
    taken = 0
    for task in tasks:
        if task.kind == "feed":
            yield task.model_copy(update={"selection": wanted})
            continue
        if reason := unwanted(task, wanted):
            notes.leave_out(reason)
            continue
        if wanted.max_items is not None and taken >= wanted.max_items:
            notes.leave_out("beyond_max_items")
            return
        taken += 1
        yield task


def unwanted(task: DownloadTask, wanted: Selection) -> str | None:
    """The reason for which ``wanted`` leaves an item out, or None. What the item does not say cannot leave it out."""
    if task.duration is not None:
        if wanted.min_duration is not None and task.duration < wanted.min_duration:
            return "too_short"
        if wanted.max_duration is not None and task.duration > wanted.max_duration:
            return "too_long"
    # Days in ISO compare as text; the hour and its zone do not matter to "since March".
    day = (task.published or "")[:10]
    if _DAY.fullmatch(day):
        if wanted.since and day < wanted.since:
            return "too_old"
        if wanted.until and day > wanted.until:
            return "too_new"
    if wanted.licences and not allowed(task.licence, wanted.licences):
        return "licence"
    return None


@dataclass
class Screen:
    """What holds for every item whatever its source.

    ``archive`` are ids that were downloaded before, elsewhere. ``allow`` is ALLOW_PRIVATE_ADDRESSES: other private
    addresses are refused by their spelling alone, without a look-up, since there may be millions.
    """

    opt_out: OptOut = field(default_factory=OptOut)
    archive: IdSet | None = None
    allow: str = "false"

    def passed(self, tasks: Iterable[DownloadTask], notes: SeedReport) -> Iterator[DownloadTask]:
        """Those of ``tasks`` that may be taken; the others are counted."""
        guard = Guard(self.allow)
        for task in tasks:
            try:
                # Files and buckets come from what the operator typed; only web addresses come from strangers.
                if task.url[:4].lower() == "http":
                    guard.check(task.url)
            except InputError as error:
                notes.refuse(task.title or task.url, error)
                continue
            if self.opt_out.refuses(task):
                notes.leave_out("opt_out")
            elif self.archive is not None and task.id in self.archive:
                notes.leave_out("archive")
            else:
                yield task


def screen(
    store: Store, layout: Layout, settings: DownloadSettings, *, files: Iterable[Path] = (), archive: Path | None = None
) -> Screen:
    """The screen of a deployment: its opt-out list and those in ``files``, a download archive, its private networks."""
    opt_out = OptOut.read(store, layout, *files)
    for mistake in opt_out.mistakes[:_TOLD]:
        # The list is shared: a line that somebody spoilt must be seen, and must not stop everybody's work.
        log.get("seed").warning("the opt-out list has a line that means nobody", key=layout.opt_out(), line=mistake)
    return Screen(opt_out, read_archive(archive) if archive else None, settings.allow_private_addresses)


def read_archive(path: Path) -> IdSet:
    """The ids of a yt-dlp download archive (a site and an id a line); only YouTube's ids are ids of ours."""
    found = IdSet()
    try:
        with path.expanduser().open(encoding="utf-8-sig", errors="replace") as file:
            pairs = (line.split() for line in file)
            found.update(f"yt-{pair[1]}" for pair in pairs if len(pair) == 2 and pair[0].lower() == "youtube")
    except OSError as error:
        found.close()
        raise UsageError(f"the archive {path} cannot be read: {error.strerror or error}") from error
    return found
