"""What was decided, and what it gave: the last decisions and GPU-seconds, kept as annotations of the Lease for ``status``."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from duplexforge import metrics
from duplexforge.autokicker.decide import Action
from duplexforge.autokicker.world import Observation

DECISIONS = "duplexforge.io/autokick-decisions"
TOTALS = "duplexforge.io/autokick-totals"
_KEPT = 20


@dataclass(frozen=True)
class Decision:
    """One change of the scale: when (UTC), what, from how many replicas to how many, why."""

    at: str
    word: str
    before: int
    after: int
    reason: str


@dataclass
class Journal:
    """The last decisions, and GPU-seconds ``used`` by ours and ``yielded`` to guests for whom ours made way."""

    resource: str
    decisions: deque[Decision] = field(default_factory=lambda: deque(maxlen=_KEPT))
    used: float = 0.0
    yielded: float = 0.0
    _helped: set[str] = field(default_factory=set)
    _last: float | None = None

    def add(self, action: Action, before: int, now: float) -> None:
        """Note a decision that was carried out."""
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.decisions.append(Decision(at, action.word, before, action.replicas, action.reason))
        metrics.AUTOKICK_DECISIONS.labels(action.word).inc()
        metrics.AUTOKICK_STOPPED.inc(len(action.victims))

    def account(self, seen: Observation, action: Action) -> None:
        """Count the time since the last observation at the state of this one."""
        # The time until now belongs to the state that was last seen; between two looks nothing changed unseen.
        seconds = 0.0 if self._last is None else max(0.0, seen.now - self._last)
        self._last = seen.now
        used = sum(pod.requests.get(self.resource, 0) for pod in seen.ours if pod.node)
        # A guest counts from the moment it has what was given up for it until it ends.
        names = {verdict.pod for verdict in action.verdicts if verdict.word == "helped"}
        self._helped |= {pod.uid for pod in seen.others if pod.full_name in names}
        self._helped &= {pod.uid for pod in seen.others}
        lent = sum(pod.requests.get(self.resource, 0) for pod in seen.others if pod.node and pod.uid in self._helped)
        self.used += used * seconds
        self.yielded += lent * seconds
        metrics.AUTOKICK_GPU_SECONDS.labels("used").inc(used * seconds)
        metrics.AUTOKICK_GPU_SECONDS.labels("yielded").inc(lent * seconds)
        metrics.AUTOKICK_REPLICAS.labels("wanted").set(action.replicas)
        metrics.AUTOKICK_REPLICAS.labels("placed").set(len(seen.placed))
        metrics.AUTOKICK_REPLICAS.labels("pending").set(len(seen.waiting))
        for word in ("helped", "served", "beyond", "ignored"):
            count = sum(1 for verdict in action.verdicts if verdict.word == word)
            metrics.AUTOKICK_PENDING.labels(word).set(count)

    def notes(self) -> dict[str, str]:
        """The annotations."""
        totals = {"gpu_seconds_used": round(self.used, 1), "gpu_seconds_yielded": round(self.yielded, 1)}
        return {
            DECISIONS: json.dumps([asdict(one) for one in self.decisions], ensure_ascii=False),
            TOTALS: json.dumps(totals),
        }

    def restore(self, notes: Mapping[str, str]) -> None:
        """Go on where the last leader's annotations end; ones that cannot be read are begun afresh."""
        totals: dict[str, Any] = _read(notes.get(TOTALS), {})
        self.used = float(totals.get("gpu_seconds_used") or 0)
        self.yielded = float(totals.get("gpu_seconds_yielded") or 0)
        try:
            self.decisions.extend(Decision(**one) for one in _read(notes.get(DECISIONS), []))
        except TypeError:  # another version's fields
            self.decisions.clear()


def _read(text: str | None, default: Any) -> Any:
    try:
        found = json.loads(text or "")
    except ValueError:
        return default
    return found if isinstance(found, type(default)) else default
