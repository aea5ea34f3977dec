"""What one look at a deployment shows. Ages and spans are in seconds, hours are hours of audio unless they say GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

LONGEST = 86400.0
"""Seconds of the longest window over which work done is counted."""


@dataclass(frozen=True)
class StageNow:
    """One queue: tasks by state, and for how long the oldest one has been in it (None: there is none).

    ``delayed`` of the waiting ones may not be claimed yet, ``expired`` of them were left by a worker that vanished.
    ``last_completed`` is how long ago the last task was completed.
    """

    waiting: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    delayed: int = 0
    expired: int = 0
    oldest_waiting: float | None = None
    oldest_running: float | None = None
    oldest_failed: float | None = None
    last_completed: float | None = None


@dataclass(frozen=True)
class LeaseNow:
    """A lease that no outcome has ended: its owner (host and process), task, age, and how long ago it was renewed."""

    stage: str
    task: str
    attempt: int
    owner: str
    age: float
    renewed: float
    expired: bool


@dataclass(frozen=True)
class WorkerNow:
    """One worker process by the leases it holds; ``renewed`` is that of the lease renewed last."""

    owner: str
    stages: tuple[str, ...]
    leases: int
    expired: int
    renewed: float


@dataclass(frozen=True)
class Done:
    """Processed audio of the last hour, the last day and ever: episodes and their source hours."""

    episodes: int = 0
    hours: float = 0.0
    hour_episodes: int = 0
    hour_hours: float = 0.0
    day_episodes: int = 0
    day_hours: float = 0.0


@dataclass(frozen=True)
class Reason:
    """Failed tasks of one stage and reason, with one of them as example."""

    stage: str
    reason: str
    count: int
    example: str = ""
    message: str = ""


@dataclass(frozen=True)
class Decision:
    """One change of the scale by the autokicker: when (UTC), what, from how many replicas to how many, why."""

    at: str
    word: str
    before: int
    after: int
    reason: str


@dataclass(frozen=True)
class Autokick:
    """The autokicker as its Lease tells: ``state`` is "seen", or why there is nothing to tell, in ``note``'s words.

    ``leader`` is empty when nobody leads; ``renewed`` is how long ago the leader gave a sign of life. GPU-hours were used
    by our pods, or yielded to others for whom ours made way.
    """

    state: Literal["off", "outside", "unseen", "none", "seen"] = "off"
    note: str = ""
    leader: str = ""
    renewed: float | None = None
    gpu_hours_used: float = 0.0
    gpu_hours_yielded: float = 0.0
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Computing time of the processed audio: ``gpu_hours`` are the stages' hours over the episodes that share a GPU.

    Dollars are None while no price is configured.
    """

    stage_seconds: dict[str, float] = field(default_factory=dict)
    audio_hours: float = 0.0
    gpu_hours: float = 0.0
    gpu_hours_per_1000: float | None = None
    dollars_per_1000: float | None = None

    @classmethod
    def of(cls, seconds: dict[str, float], audio_hours: float, *, sharers: float, price: float | None) -> Cost:
        """The cost of ``audio_hours`` that took ``seconds`` by stage, with ``sharers`` episodes at a time on a GPU."""
        gpu_hours = sum(seconds.values()) / 3600 / sharers
        rate = gpu_hours / audio_hours * 1000 if audio_hours > 0 and gpu_hours > 0 else None
        dollars = rate * price if rate is not None and price is not None else None
        return cls(dict(seconds), audio_hours, gpu_hours, rate, dollars)


@dataclass(frozen=True)
class Overview:
    """One look. ``leases`` holds the first of them, expired ones in front; ``workers`` and ``stages`` count all.

    ``unread`` counts manifests that could not be read, ``seconds`` is what the look took.
    """

    collected_at: str
    stages: dict[str, StageNow]
    done: Done
    languages: dict[str, Done]
    outcomes: dict[str, int]
    failures: tuple[Reason, ...]
    workers: tuple[WorkerNow, ...]
    leases: tuple[LeaseNow, ...]
    autokick: Autokick
    cost: Cost
    unread: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The overview as values that :mod:`json` can write."""
        return asdict(self)
