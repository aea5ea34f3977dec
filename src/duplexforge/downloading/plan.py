"""What work there is for the download role: sources are read and their items put into the download queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.sources import read_source
from duplexforge.queues.base import TaskQueue
from duplexforge.records import DownloadTask, now


def seed(
    queue: TaskQueue[DownloadTask] | None,
    sources: Iterable[str],
    *,
    language: str | None = None,
    licence: str | None = None,
    source: str | None = None,
    attempt_limit: int = 3,
    dry_run: bool = False,
) -> SeedReport:
    """Put the items of ``sources`` into ``queue``, in a stream; running it again adds only what is new.

    ``dry_run`` reads the sources and touches no queue (which may be None then). A source that cannot be read raises;
    what was read before it stays in the queue, and a second run skips it.
    """
    report = SeedReport()
    tasks = _unique(sources, report, language=language, licence=licence, source=source, attempt_limit=attempt_limit)
    if dry_run or queue is None:
        for _ in tasks:
            pass
        return report
    report.added = queue.put_many(tasks)
    report.known = report.found - report.added - len(report.duplicates)
    return report


def _unique(
    sources: Iterable[str],
    report: SeedReport,
    *,
    language: str | None,
    licence: str | None,
    source: str | None,
    attempt_limit: int,
) -> Iterator[DownloadTask]:
    """The tasks of all sources, each id once."""
    seen: set[str] = set()
    enqueued = {"attempt_limit": attempt_limit, "enqueued_at": now()}
    for text in sources:
        for task in read_source(text, language=language, licence=licence, source=source, notes=report):
            report.found += 1
            if task.id in seen:
                report.duplicates.append((task.title or task.url, task.id))
                continue
            seen.add(task.id)
            yield task.model_copy(update=enqueued)
