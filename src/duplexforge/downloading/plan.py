"""What work there is for the download role: sources are read and their items put into the download queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.sources import read_source
from duplexforge.queues.base import TaskQueue
from duplexforge.records import DownloadTask, now


@dataclass(frozen=True)
class Defaults:
    """What is said about all items of a seeding; None leaves it to the source (feed, list, host or folder name)."""

    language: str | None = None
    licence: str | None = None
    source: str | None = None
    attempt_limit: int = 3


def seed(
    queue: TaskQueue[DownloadTask] | None,
    sources: Iterable[str],
    *,
    defaults: Defaults | None = None,
    dry_run: bool = False,
) -> SeedReport:
    """Put the items of ``sources`` into ``queue``, in a stream; running it again adds only what is new.

    ``dry_run`` reads the sources and touches no queue (which may be None then). A source that cannot be read raises;
    what was read before it stays in the queue, and a second run skips it.
    """
    report = SeedReport(dry_run=dry_run)
    tasks = _unique(sources, report, defaults or Defaults())
    if dry_run or queue is None:
        report.added = sum(1 for _ in tasks)
        return report
    report.added = queue.put_many(tasks)
    report.known = report.found - report.added - len(report.duplicates)
    return report


def _unique(sources: Iterable[str], report: SeedReport, defaults: Defaults) -> Iterator[DownloadTask]:
    """The tasks of all sources, each id once."""
    seen: set[str] = set()
    enqueued = {"attempt_limit": defaults.attempt_limit, "enqueued_at": now()}
    for text in sources:
        for task in read_source(
            text, language=defaults.language, licence=defaults.licence, source=defaults.source, notes=report
        ):
            report.found += 1
            if task.id in seen:
                report.duplicates.append((task.title or task.url, task.id))
                continue
            seen.add(task.id)
            yield task.model_copy(update=enqueued)
