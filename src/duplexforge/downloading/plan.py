"""What work there is for the download role: sources are read and their items put into the download queue."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.selection import Screen, selected
from duplexforge.downloading.shuffling import shuffled
from duplexforge.downloading.sources import Reading, read_source
from duplexforge.downloading.spec import Source, read_spec
from duplexforge.idset import IdSet
from duplexforge.queues.base import TaskQueue
from duplexforge.records import DownloadTask, Selection, now

_SPECS = (".yaml", ".yml")


@dataclass(frozen=True)
class Defaults:
    """What is said about all items of a seeding; None leaves it to the source (feed, list, host or folder name)."""

    language: str | None = None
    licence: str | None = None
    source: str | None = None
    attempt_limit: int = 3
    only_audio: bool | None = None


@dataclass(frozen=True)
class Choice:
    """Which of all items are put: in random order (``seed`` makes it the same again), at most ``count``, of
    ``licences`` alone where they are stated, and only what passes ``screen``."""

    shuffle: bool = False
    seed: int | None = None
    count: int | None = None
    licences: tuple[str, ...] = ()
    screen: Screen = field(default_factory=Screen)


def seed(
    queue: TaskQueue[DownloadTask] | None,
    sources: Iterable[str],
    *,
    defaults: Defaults | None = None,
    reading: Reading | None = None,
    choice: Choice | None = None,
    dry_run: bool = False,
) -> SeedReport:
    """Put the items of ``sources`` into ``queue``, in a stream; running it again adds only what is new.

    ``dry_run`` reads the sources and touches no queue (which may be None then). A source that cannot be read raises;
    what was read before it stays in the queue, and a second run skips it.
    """
    report = SeedReport(dry_run=dry_run)
    wanted = choice or Choice()
    with closing(_chosen(_opened(sources), report, defaults or Defaults(), reading or Reading(), wanted)) as tasks:
        if dry_run or queue is None:
            report.added = sum(1 for _ in tasks)
            return report
        report.added = queue.put_many(tasks)
    report.known = report.offered - report.added
    return report


def _opened(sources: Iterable[str]) -> list[Source]:
    """The sources, with those that a ``sources.yaml`` holds in its place. All are looked at before any is read."""
    found: list[Source] = []
    # A mistake in the last file should be known before hours were spent on the first.
    for text in sources:
        path = Path(text).expanduser() if text.lower().endswith(_SPECS) and "://" not in text else None
        found += read_spec(path) if path is not None else [Source(text)]
    return found


def _chosen(
    sources: Iterable[Source], report: SeedReport, defaults: Defaults, reading: Reading, choice: Choice
) -> Generator[DownloadTask]:
    """The tasks of all sources, each id once, in the order that is wanted and as many."""
    everything = (task for source in sources for task in _of_source(source, report, defaults, reading, choice))
    enqueued = {"attempt_limit": defaults.attempt_limit, "enqueued_at": now()}
    with IdSet() as seen:
        unique = _unique(choice.screen.passed(everything, report), seen, report)
        ordered = shuffled(unique, choice.seed) if choice.shuffle else unique
        for task in islice(ordered, choice.count):
            report.offered += 1
            yield task.model_copy(update=enqueued)
    # Without a shuffle the sources were not read to their end, so what they had left is not known.
    if choice.shuffle and (rest := report.found - report.repeated - report.offered) > 0:
        report.leave_out("not_chosen", rest)


def _of_source(
    source: Source, report: SeedReport, defaults: Defaults, reading: Reading, choice: Choice
) -> Iterator[DownloadTask]:
    """The tasks of one source within its limits; what was written down for it wins over the defaults."""
    tasks = read_source(
        source.source,
        language=source.language or defaults.language,
        licence=source.licence or defaults.licence,
        source=source.name or defaults.source,
        notes=report,
        reading=reading,
    )
    if source.shuffle:
        tasks = shuffled(tasks, choice.seed)
    only_audio = defaults.only_audio if source.only_audio is None else source.only_audio
    for task in selected(tasks, _limits(source.selection, choice.licences), report):
        yield task if only_audio is None else task.model_copy(update={"only_audio": only_audio})


def _limits(own: Selection | None, licences: tuple[str, ...]) -> Selection | None:
    if not licences:
        return own
    return (own or Selection()).model_copy(update={"licences": list(licences)})


def _unique(tasks: Iterable[DownloadTask], seen: IdSet, report: SeedReport) -> Iterator[DownloadTask]:
    for task in tasks:
        report.found += 1
        if seen.add(task.id):
            yield task
        else:
            report.repeat(task.title or task.url, task.id)
