"""Collects a :class:`~duplexforge.status.snapshot.Snapshot` from the records in the store and the queues.

Every episode id that appears anywhere (a task of either queue, a raw record, a manifest) is put in exactly one class,
by the furthest fact that is known of it: the manifest, else its processing task, else the raw record, else its download
task. Places are read in the direction in which work moves, and every mover writes the new place before it clears the
old one, so an episode on its way is seen at least once and a running pipeline is not mistaken for a leak.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.layout import Layout
from duplexforge.queues.base import TaskQueue
from duplexforge.records import AudioRecord, Ended, now
from duplexforge.status.outputs import Ledger, Outputs
from duplexforge.status.reading import Differences, Reader
from duplexforge.status.snapshot import (
    FAILED,
    TOLERANCE,
    UNACCOUNTED,
    WAITING,
    Episode,
    Example,
    Failure,
    HoursAccount,
    InputClass,
    Snapshot,
)
from duplexforge.storage import Store

ROWS = 500
"""Episodes of one class that a snapshot lists one by one."""

_EXAMPLES = 3
_MESSAGE = 400
# The order of the classes in tables; outcomes that are not named here stand between, by name.
_FIRST = ("ok", "no_speech", "too_short")
_LAST = (*FAILED.values(), *WAITING.values(), UNACCOUNTED)


class _Known(NamedTuple):
    """What is known of an episode from its raw record or its task."""

    hours: float | None = None
    title: str | None = None
    language: str = "unknown"
    url: str | None = None
    source: str | None = None


@dataclass
class _Stage:
    """One queue's tasks by state; ``completed`` beats ``failed`` beats ``waiting``, which includes the running ones."""

    waiting: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    failed: dict[str, _Known] = field(default_factory=dict)

    def ids(self) -> set[str]:
        """The ids of all of them."""
        return self.waiting | self.completed | self.failed.keys()


def collect(store: Store, layout: Layout, queues: Mapping[str, TaskQueue[Any]]) -> Snapshot:
    """The state of everything below ``layout`` now. ``queues`` by stage; a stage that is not given counts as empty.

    Costs a listing of the queues and the raw audio, and one read for each raw record, manifest, failed task and batch.
    """
    differences = Differences()
    reader, failures = Reader(store, layout, differences), _Failures(differences)
    stages: dict[str, _Stage] = {}
    stages["download"] = _stage(reader, queues.get("download"), failures)
    raw = _raw(reader.raw_records(), differences)
    stages["processing"] = _stage(reader, queues.get("processing"), failures)
    failures.rest(queue for stage, queue in queues.items() if stage not in stages)
    ledger, outputs = Ledger(differences), Outputs(differences, rows=ROWS)
    for entry in reader.ledger():
        ledger.add(entry)
    for manifest in reader.manifests():
        outputs.add(manifest)
    _rename(reader, layout, stages, raw.keys() | outputs.outcomes.keys())
    rest = _Unprocessed(differences, stages, raw)
    rest.classify(outputs.outcomes)
    return _snapshot(queues, outputs, ledger, rest, failures)


def _snapshot(
    queues: Mapping[str, TaskQueue[Any]], outputs: Outputs, ledger: Ledger, rest: _Unprocessed, failures: _Failures
) -> Snapshot:
    unpublished = ledger.check(outputs.outcomes)
    hours = rest.account(outputs)
    return Snapshot(
        collected_at=now(),
        queues={stage: queue.stats() for stage, queue in queues.items()},
        classes=tuple(sorted([*outputs.classes(), *rest.classes.values()], key=lambda one: _rank(one.name))),
        hours=hours,
        failures=failures.all(),
        differences=rest.differences.all(),
        segments=outputs.segments,
        flagged=outputs.flagged,
        speakers=outputs.speakers,
        processed_hours=outputs.hours.source,
        flags=dict(sorted(outputs.flags.items(), key=lambda item: (-item[1], item[0]))),
        languages=outputs.languages(),
        stage_seconds=dict(outputs.seconds),
        models=outputs.models(),
        configurations=dict(outputs.configurations.most_common()),
        published=ledger.published(),
        unpublished=unpublished,
        episodes=tuple(sorted([*outputs.episodes, *rest.episodes], key=lambda one: (_rank(one.outcome), one.id))),
    )


def _rank(name: str) -> tuple[int, str]:
    if name in _FIRST:
        return _FIRST.index(name), ""
    if name in _LAST:
        return 100 + _LAST.index(name), ""
    return len(_FIRST), name


# -- reading the queues and the raw records --------------------------------------------------------------------------


class _Failures:
    """Failed tasks by stage and reason."""

    def __init__(self, differences: Differences) -> None:
        self._differences = differences
        self._counts: dict[tuple[str, str], int] = {}
        self._examples: dict[tuple[str, str], list[Example]] = {}

    def read(self, queue: TaskQueue[Any]) -> Iterator[Ended]:
        """The queue's failed tasks, counted on the way."""
        try:
            for record in queue.dead():
                self._add(queue.stage, record)
                yield record
        except InputError as error:
            self._differences.note(f"The failed tasks of {queue.stage} cannot all be read", str(error))

    def rest(self, queues: Iterable[TaskQueue[Any]]) -> None:
        """Count the failed tasks of queues whose tasks are not episodes."""
        for queue in queues:
            for _ in self.read(queue):
                pass

    def _add(self, stage: str, record: Ended) -> None:
        key = (stage, record.reason or "unknown")
        self._counts[key] = self._counts.get(key, 0) + 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < _EXAMPLES:
            message = log.redact(record.message or "")
            examples.append(Example(record.id, message if len(message) <= _MESSAGE else message[:_MESSAGE] + "…"))

    def all(self) -> tuple[Failure, ...]:
        """By stage in the order of reading, the most frequent reason first."""
        stages = list(dict.fromkeys(stage for stage, _ in self._counts))
        order = sorted(self._counts, key=lambda key: (stages.index(key[0]), -self._counts[key], key[1]))
        return tuple(Failure(*key, self._counts[key], tuple(self._examples[key])) for key in order)


def _stage(reader: Reader, queue: TaskQueue[Any] | None, failures: _Failures) -> _Stage:
    """The tasks of a queue under their own ids, waiting first: a task that ends meanwhile is then seen as both."""
    if queue is None:
        return _Stage()
    waiting = reader.names(queue.stage, "todo")
    completed = reader.names(queue.stage, "completed")
    dead = ((str(record.task.get("episode_id") or record.id), record.task) for record in failures.read(queue))
    return _Stage(waiting, completed, {episode: _described(task) for episode, task in dead})


def _described(task: Mapping[str, Any]) -> _Known:
    texts = {name: str(task[name]) for name in ("title", "url", "source", "language") if task.get(name)}
    return _Known(**texts)  # type: ignore[arg-type]  # hours are not among the names


def _raw(records: Iterable[AudioRecord], differences: Differences) -> dict[str, _Known]:
    found: dict[str, _Known] = {}
    for record in records:
        if record.episode_id in found:
            differences.note("An episode was downloaded twice, below two prefixes", record.episode_id)
            continue
        # A length that is no length (some containers say so) is an unknown one.
        usable = record.duration is not None and math.isfinite(record.duration) and record.duration >= 0
        hours = (record.duration or 0.0) / 3600 if usable else None
        found[record.episode_id] = _Known(hours, record.title, record.language, record.url, record.source)
    return found


def _rename(reader: Reader, layout: Layout, stages: Mapping[str, _Stage], known: set[str]) -> None:
    """Put episode ids in the place of task ids where the two differ, as in tasks written by hand: only bodies tell.

    Waiting downloads keep their task id: nothing else is known under their episode's id yet, and reading all of them
    for the sake of a few would cost a request each.
    """
    places: list[tuple[set[str], Callable[[str, str], str], str]] = [
        (stages["download"].completed, layout.completed, "download"),
        (stages["processing"].completed, layout.completed, "processing"),
        (stages["processing"].waiting, layout.todo, "processing"),
    ]
    for names, key_of, stage in places:
        strangers = {key_of(stage, name): name for name in sorted(names - known)}
        for key, body in reader.bodies(strangers):
            if episode := _episode_of(body):
                names.discard(strangers[key])
                names.add(episode)


def _episode_of(body: bytes) -> str | None:
    try:
        fields = json.loads(body)
        return str(fields.get("task", fields)["episode_id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # a body without an episode fails in its role, with a reason; here its id must do


# -- episodes without a manifest -------------------------------------------------------------------------------------


class _Unprocessed:
    """Puts the episodes without a manifest in classes and keeps account of their hours."""

    def __init__(self, differences: Differences, stages: Mapping[str, _Stage], raw: Mapping[str, _Known]) -> None:
        self.differences = differences
        self.classes: dict[str, InputClass] = {}
        self.episodes: list[Episode] = []
        self._download, self._processing, self._raw = stages["download"], stages["processing"], raw

    def classify(self, outcomes: Mapping[str, str]) -> None:
        """Count every id that ``outcomes`` does not have."""
        for episode in sorted((self._raw.keys() | self._download.ids() | self._processing.ids()) - outcomes.keys()):
            self._add(episode, self._class_of(episode))

    def _class_of(self, episode: str) -> str:
        if episode in self._processing.completed:
            self.differences.note("Processing is said to be completed, but there is no manifest", episode)
            return UNACCOUNTED
        if episode in self._processing.failed:
            return FAILED["processing"]
        if episode in self._processing.waiting or episode in self._raw:
            return WAITING["processing"]
        if episode in self._download.completed:
            self.differences.note("The download is said to be completed, but there is no raw record", episode)
            return UNACCOUNTED
        return FAILED["download"] if episode in self._download.failed else WAITING["download"]

    def _add(self, episode: str, name: str) -> None:
        known = self._raw.get(episode) or self._processing.failed.get(episode) or self._download.failed.get(episode)
        known = known or _Known()
        before = self.classes.get(name, InputClass(name, 0, 0.0))
        self.classes[name] = InputClass(
            name, before.episodes + 1, before.hours + (known.hours or 0.0), before.unknown + (known.hours is None)
        )
        if before.episodes < ROWS:
            url = log.redact(known.url) if known.url else None
            self.episodes.append(
                Episode(episode, name, known.language, known.hours, title=known.title, url=url, source=known.source)
            )

    def account(self, outputs: Outputs) -> HoursAccount:
        """Where the hours of everything went; notes a difference when the parts do not make the whole."""
        mine = self.classes.values()
        hours = HoursAccount(
            source=outputs.hours.source + sum(one.hours for one in mine),
            published=outputs.hours.published,
            flagged=outputs.hours.flagged,
            no_speech=outputs.hours.no_speech,
            failed=sum(one.hours for one in mine if one.name in FAILED.values()),
            waiting=sum(one.hours for one in mine if one.name in WAITING.values()),
            unknown=sum(one.unknown for one in mine),
        )
        # The tolerance grows with the number of terms; a NaN must fail it.
        if not abs(hours.difference) <= TOLERANCE * max(1, len(outputs.outcomes)):
            self.differences.note("Hours of the source are in no part", f"{hours.difference:.4f} h")
        return hours
