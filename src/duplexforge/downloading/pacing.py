"""What all pods behind one egress address share: a budget of items an hour for each site, and pauses of a site.

Both rest on create-if-absent, the one primitive that every store gives. A budget of N an hour cuts time into N slots an
hour; an item may start once its pod has created the object of a slot, so no number of pods can start more than N items
in an hour of the store's clock. A pause is a numbered object: of many pods that were turned away at the same moment one
creates the next number, and the others find it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator

from duplexforge import log, metrics
from duplexforge.downloading.watch import never
from duplexforge.errors import Preempted, Throttled
from duplexforge.layout import Layout, name_of
from duplexforge.records import Pause, now, parse
from duplexforge.storage import Store

HOUR = 3600.0
LONGEST_PAUSE = 6 * HOUR
# A slot so near is waited for; a later one is left to others, and the task goes back.
_PATIENCE = 30.0
# SQS hides a message for twelve hours at most.
_LONGEST_TURN = 12 * HOUR
_SWEEP_EVERY = 50
_LOOK = 0.2


class Pacing:
    """Budgets and pauses of one egress. Safe for all threads of a process; ``clock`` is the store's, for tests another."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        egress: str,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._layout, self._egress = store, layout, egress
        self._clock = clock or store.now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._known: dict[str, Pause] = {}
        self._turns: dict[str, float] = {}
        self._paused: set[str] = set()
        self._log = log.get("pacing", egress=egress)

    # -- budgets ---------------------------------------------------------------------------------------------------

    def take(self, site: str, per_hour: int, stopping: Callable[[], bool] = never) -> None:
        """Take a slot of ``site`` and wait for it (at most half a minute). Throttled(``budget``) when none is near.

        The Throttled carries a time of its own for each task, in a line: a queue of thousands that all came back at
        the next slot would be claimed and handed back for nothing. Preempted when the worker stops meanwhile.
        """
        period, here = HOUR / per_hour, self._clock()
        slot = self._claim(site, per_hour, int(here / period), int((here + _PATIENCE) / period))
        if slot is None:
            metrics.THROTTLES.labels("budget").inc()
            after = self._turn(site, here, period)
            raise Throttled(f"the budget of {site} ({per_hour} an hour) is taken", reason="budget", after=after)
        while (left := slot * period - self._clock()) > 0:
            if stopping():
                raise Preempted("stopped while waiting for a turn")
            self._sleep(min(left, _LOOK))

    def _claim(self, site: str, per_hour: int, first: int, last: int) -> int | None:
        body = uuid.uuid4().hex.encode()
        for number in self._free(site, per_hour, first, last):
            if self._store.put_if_absent(self._slot(site, per_hour, number), body):
                if number % _SWEEP_EVERY == 0:
                    self._sweep(site, per_hour, number)
                return number
        return None

    def _free(self, site: str, per_hour: int, first: int, last: int) -> Iterator[int]:
        """Slots that seem free: the first without a look, then what a listing does not show."""
        yield first
        taken = set()
        here = self._slot(site, per_hour, first)
        for meta in self._store.list(here.rpartition("/")[0] + "/", after=here):
            number = int(meta.key.rpartition("/")[2])
            if number > last:
                break
            taken.add(number)
        yield from (number for number in range(first + 1, last + 1) if number not in taken)

    def _sweep(self, site: str, per_hour: int, number: int) -> None:
        """Remove slots that are two hours old: nobody claims in the past."""
        oldest = self._slot(site, per_hour, number - 2 * per_hour)
        old: list[str] = []
        for meta in self._store.list(oldest.rpartition("/")[0] + "/"):
            if meta.key >= oldest:
                break
            old.append(meta.key)
        self._store.delete(old)

    def _slot(self, site: str, per_hour: int, number: int) -> str:
        return self._layout.pacing_slot(self._egress, site, per_hour, max(number, 0))

    def _turn(self, site: str, here: float, period: float) -> float:
        with self._lock:
            turn = max(self._turns.get(site, 0.0), here + _PATIENCE) + period
            self._turns[site] = turn
        return min(turn - here, _LONGEST_TURN)

    # -- pauses ----------------------------------------------------------------------------------------------------

    def left(self, site: str) -> float:
        """Seconds for which ``site`` is still to be left alone; 0 when it may be asked."""
        found = self._last(site)
        left = max(found[1].until - self._clock(), 0.0) if found else 0.0
        self._show(site, found[1] if found and left else None)
        return left

    def pause(
        self, site: str, reason: str, *, first: float, longest: float = LONGEST_PAUSE, seconds: float | None = None
    ) -> float:
        """Leave ``site`` alone, all pods: for ``seconds`` where the site said so, else for ``first``, doubled each time
        that the trouble is back soon after a pause, up to ``longest``. Returns the seconds left."""
        here, found = self._clock(), self._last(site)
        number, last = found or (-1, None)
        if last is not None and last.until > here and (seconds is None or here + seconds <= last.until):
            return last.until - here
        level = _level(last, here)
        length = min(first * 2**level, longest) if seconds is None else min(max(seconds, 1.0), LONGEST_PAUSE)
        body = Pause(site=site, reason=reason, level=level, length=length, until=here + length, set_at=now())
        if not self._store.put_if_absent(self._pause(site, number + 1), body.to_bytes()):
            return self.left(site)
        self._log.warning("site paused for all pods", site=site, reason=reason, seconds=round(length), level=level)
        # The one before stays: who has just read it must not take its number for a free one.
        self._store.delete([self._pause(site, old) for old in range(max(number - 5, 0), number)])
        self._show(site, body)
        return length

    def _last(self, site: str) -> tuple[int, Pause] | None:
        prefix = self._pause(site, 0).rpartition("/")[0] + "/"
        keys = [meta.key for meta in self._store.list(prefix)]
        # The greatest may be removed between listing and reading, by a pod that has set a greater one.
        for key in reversed(keys):
            if (known := self._known.get(key)) is None and (body := self._store.find(key)) is not None:
                known = self._known[key] = parse(Pause, body, key)
            if known is not None:
                return int(name_of(key)), known
        return None

    def _pause(self, site: str, number: int) -> str:
        return self._layout.pacing_pause(self._egress, site, number)

    def _show(self, site: str, pause: Pause | None) -> None:
        with self._lock:
            (self._paused.discard if pause is None else self._paused.add)(site)
            metrics.PAUSED_SITES.set(len(self._paused))


def _level(last: Pause | None, here: float) -> int:
    """How often the trouble came back: within the length of the last pause after its end (or during it) it is the same."""
    if last is None:
        return 0
    if last.until > here:
        return last.level
    return min(last.level + 1, 16) if here - last.until < last.length else 0
