"""What status knows at one moment, as plain frozen values that turn into JSON.

The point of a snapshot is its accounting: every episode that was ever asked for stands in exactly one class, every hour
of known length in exactly one part, and whatever does not fit is named in ``differences``, not lost in a sum.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from duplexforge.queues.base import QueueStats

# Classes of episodes without a manifest; the others are the manifests' outcomes (ok, no_speech, too_short, …).
FAILED = {"download": "failed_download", "processing": "failed_processing"}
WAITING = {"download": "waiting_download", "processing": "waiting_processing"}
UNACCOUNTED = "unaccounted"

# Hours that differ by less are equal: sums of floats, whose terms are whole milliseconds.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class InputClass:
    """Episodes of one class: the hours of those whose length is known, and how many are of ``unknown`` length."""

    name: str
    episodes: int
    hours: float
    unknown: int = 0


@dataclass(frozen=True)
class HoursAccount:
    """Where the hours went: ``source`` came in, the five parts are where it is; ``unknown`` episodes are in neither."""

    source: float = 0.0
    published: float = 0.0
    flagged: float = 0.0
    no_speech: float = 0.0
    failed: float = 0.0
    waiting: float = 0.0
    unknown: int = 0

    @property
    def parts(self) -> dict[str, float]:
        """The five parts that must add up to ``source``, in the order of the pipeline's success."""
        return {name: getattr(self, name) for name in ("published", "flagged", "no_speech", "failed", "waiting")}

    @property
    def difference(self) -> float:
        """Hours of ``source`` that no part holds (negative: that were counted twice)."""
        return self.source - sum(self.parts.values())


@dataclass(frozen=True)
class Example:
    """One failed task: its id and what was said about it, without secrets."""

    id: str
    message: str


@dataclass(frozen=True)
class Failure:
    """Tasks of one stage that were given up for one reason, with the first few of them."""

    stage: str
    reason: str
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Something that does not add up: what, how often, and which episodes or keys (the first few)."""

    what: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Episode:
    """One episode as a table row; ``hours`` is None when nobody knows its length."""

    id: str
    outcome: str
    language: str
    hours: float | None
    title: str | None = None
    url: str | None = None
    source: str | None = None
    segments: int = 0
    flagged: int = 0
    speakers: int = 0


@dataclass(frozen=True)
class Language:
    """Processed episodes of one language, with their source and published hours."""

    name: str
    episodes: int
    source: float
    published: float


@dataclass(frozen=True)
class Model:
    """An engine by its stage, or (``role`` is "model") a model with its revision, and the episodes that it worked on."""

    role: str
    name: str
    episodes: int


@dataclass(frozen=True)
class Published:
    """What the ledger says lies at one target; ``bytes`` are those of the shards, ``commit`` is the latest one."""

    target: str
    batches: int
    episodes: int
    samples: int
    shards: int
    bytes: int
    hours: float
    commit: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """Everything the tables and the report show.

    ``speakers`` are summed over episodes: a voice in two episodes counts twice. ``stage_seconds`` are computing seconds
    summed over the manifests, whose audio is ``processed_hours`` long. ``episodes`` holds only the first rows of every
    class; ``classes`` has the true counts.
    """

    collected_at: str
    queues: dict[str, QueueStats]
    classes: tuple[InputClass, ...]
    hours: HoursAccount
    failures: tuple[Failure, ...]
    differences: tuple[Difference, ...]
    segments: int = 0
    flagged: int = 0
    speakers: int = 0
    processed_hours: float = 0.0
    flags: dict[str, int] = field(default_factory=dict)
    languages: tuple[Language, ...] = ()
    stage_seconds: dict[str, float] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    configurations: dict[str, int] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    unpublished: int = 0
    episodes: tuple[Episode, ...] = ()

    @property
    def inputs(self) -> int:
        """How many episodes were asked for."""
        return sum(one.episodes for one in self.classes)

    @property
    def accounted(self) -> bool:
        """Whether everything adds up: no difference was found."""
        return not self.differences

    @property
    def real_time_factor(self) -> float | None:
        """Computing seconds for a second of audio over all stages; None when nothing was processed."""
        if self.processed_hours <= 0 or not self.stage_seconds:
            return None
        return sum(self.stage_seconds.values()) / (self.processed_hours * 3600)

    def count(self, name: str) -> int:
        """Episodes of the class ``name`` (0 when there is none)."""
        return next((one.episodes for one in self.classes if one.name == name), 0)

    def to_json(self) -> dict[str, Any]:
        """The snapshot as values that :mod:`json` can write, with the computed properties among them."""
        computed = {
            "inputs": self.inputs,
            "accounted": self.accounted,
            "hours_difference": self.hours.difference,
            "real_time_factor": self.real_time_factor,
        }
        return {**asdict(self), **computed}
