"""A feed task done: the feed, channel or playlist is read and its items are put into the queue.

Reading it again puts only what is new, so an expansion that was broken off is simply done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from duplexforge.config import DownloadSettings
from duplexforge.downloading.entries import Said
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.remote import Remote
from duplexforge.downloading.selection import Screen, selected
from duplexforge.idset import IdSet
from duplexforge.queues.base import TaskQueue
from duplexforge.records import DownloadTask, now

_THREADS = 8
_CHUNK = 64


def expand(
    task: DownloadTask,
    queue: TaskQueue[DownloadTask],
    settings: DownloadSettings,
    *,
    opt_out: OptOut | None = None,
    beat: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Put the items of the feed that ``task`` names into ``queue``, as its ``selection`` wants them.

    ``beat`` is called between handfuls of items, and may raise to break the expansion off. Returns ``items`` found,
    ``added`` to the queue, and ``left_out`` by reason. InputError or RetryLater when the feed cannot be read.
    """
    notes = SeedReport()
    said = Said(task.language, task.licence, task.source)
    screen = Screen(opt_out or OptOut(), allow=settings.allow_private_addresses)
    items = screen.passed(selected(Remote(said, notes, settings).items(task.url), task.selection, notes), notes)
    # Each is put by itself: put_many lists all that is known first, which for one feed of millions is too dear.
    with IdSet() as seen, ThreadPoolExecutor(max_workers=_THREADS) as pool:
        fresh = _stamped(items, task, seen, notes)
        while chunk := list(islice(fresh, _CHUNK)):
            notes.added += sum(pool.map(queue.put, chunk))
            beat()
    return {"items": notes.found, "added": notes.added, "left_out": dict(notes.left_out)}


def _stamped(
    items: Iterator[DownloadTask], feed: DownloadTask, seen: IdSet, notes: SeedReport
) -> Iterator[DownloadTask]:
    enqueued: dict[str, Any] = {"attempt_limit": feed.attempt_limit, "enqueued_at": now()}
    for item in items:
        if not seen.add(item.id):
            continue
        notes.found += 1
        origins = list(dict.fromkeys([*(feed.origins or ()), *(item.origins or ())]))
        yield item.model_copy(update={**enqueued, "only_audio": feed.only_audio, "origins": origins})
