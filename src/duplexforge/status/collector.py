"""The one collector behind the tables, the metrics and the JSON.

A look costs listings and little else: a thousand tasks or episodes a request, and one read for each manifest, failure and
lease that no look has met before. Memory does not grow with the number of tasks; see ``tally``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from duplexforge.config import QueueSettings, Settings, StatusSettings
from duplexforge.errors import InputError, Preempted
from duplexforge.layout import STAGES, Layout
from duplexforge.objects import ObjectMeta
from duplexforge.records import Ended, Manifest, Record, now, parse
from duplexforge.status import cluster, queues, saved
from duplexforge.status.overview import Autokick, Cost, Done, LeaseNow, Overview, StageNow
from duplexforge.status.reading import Differences, Reader
from duplexforge.status.tally import Tally
from duplexforge.storage import Store

MOST_LEASES = 500
"""Leases that an overview lists one by one; its counts are of all."""

R = TypeVar("R", bound=Record)


class Collector:
    """Looks at one deployment. For one thread at a time; close it when done."""

    def __init__(
        self, store: Store, layout: Layout, settings: Settings, *, autokick: Callable[[], Autokick] | None = None
    ) -> None:
        self._store, self._layout = store, layout
        self._wanted = settings[StatusSettings]
        self._autokick = autokick or (lambda: cluster.autokick(self._wanted))
        length = settings[QueueSettings].lease_seconds
        bodies = Reader(store, layout, Differences()).bodies
        self._leases = {stage: queues.Leases(store, layout, stage, length, bodies) for stage in STAGES}
        self._tally: Tally | None = None
        self._stopping = False

    def stop(self) -> None:
        """End the look under way, which raises Preempted: the first one of a large store may take minutes."""
        self._stopping = True

    def _beat(self) -> None:
        if self._stopping:
            raise Preempted("the look was not wanted any more")

    def look(self) -> Overview:
        """What there is now. Raises StoreError, and Preempted when it was stopped."""
        began = time.monotonic()
        tally = self._opened()
        with ThreadPoolExecutor(max_workers=1) as pool:
            # The cluster may take its time to answer; the store is read meanwhile.
            asked = pool.submit(self._autokick)
            try:
                stages, leases = self._queues(tally)
                self._manifests(tally)
            finally:
                # Also what a broken look has read: the first one of a large store need not begin again.
                saved.save(tally, self._store, self._layout)
            told = asked.result()
        return self._overview(tally, stages, leases, told, began)

    def close(self) -> None:
        """Give the scratch file back; what is new and worth it was saved by the last look."""
        if self._tally is not None:
            self._tally.close()
            self._tally = None

    def _opened(self) -> Tally:
        if self._tally is None:
            self._tally = Tally()
            try:
                saved.load(self._tally, self._store, self._layout)
            except BaseException:
                self.close()  # the next look loads it again
                raise
        return self._tally

    def _queues(self, tally: Tally) -> tuple[dict[str, StageNow], list[LeaseNow]]:
        stages: dict[str, StageNow] = {}
        leases: list[LeaseNow] = []
        tally.begin()

        def failed(meta: ObjectMeta) -> None:
            tally.saw(meta.key, meta.etag or str(meta.modified))

        for stage in STAGES:
            stages[stage], held = queues.look(
                self._store, self._layout, stage, self._leases[stage], failed=failed, beat=self._beat
            )
            leases += held
        tally.failed(lambda keys: self._read(Ended, keys))
        return stages, leases

    def _manifests(self, tally: Tally) -> None:
        reader = Reader(self._store, self._layout, Differences())
        tally.manifests(reader.manifest_keys(), lambda keys: self._read(Manifest, keys), time.monotonic())

    def _read(self, model: type[R], keys: Iterable[str]) -> Iterator[tuple[str, R | None]]:
        for key, body in Reader(self._store, self._layout, Differences()).bodies(keys):
            self._beat()
            try:
                yield key, parse(model, body, key)
            except InputError:
                yield key, None

    def _overview(
        self, tally: Tally, stages: dict[str, StageNow], leases: list[LeaseNow], told: Autokick, began: float
    ) -> Overview:
        languages = tally.done(time.time())
        done = total(languages.values())
        wanted = self._wanted
        leases.sort(key=lambda one: (not one.expired, -one.renewed, one.task))
        return Overview(
            collected_at=now(),
            stages=stages,
            done=done,
            languages=languages,
            outcomes=tally.outcomes(),
            failures=tally.reasons(),
            workers=queues.workers(leases),
            leases=tuple(leases[:MOST_LEASES]),
            autokick=told,
            cost=Cost.of(tally.seconds(), done.hours, sharers=wanted.episodes_per_gpu, price=wanted.gpu_price_per_hour),
            unread=tally.damaged,
            seconds=round(time.monotonic() - began, 3),
        )


def total(parts: Iterable[Done]) -> Done:
    """The sum over all languages."""
    kept = list(parts)
    names = Done.__dataclass_fields__
    return Done(**{name: sum(getattr(one, name) for one in kept) for name in names})
