"""How much of an answer the user has heard: what the client tells, else what the clock says. Pure; all times are handed in."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Live", "Playing"]

_ROUNDING = 0.05
"""A client whose report is short of the end by less has played it all: it counts in its own blocks."""
_REPORT = 1.0
"""Seconds behind the clock that a client which reports may be, with its buffer, until its last report is not waited for."""
_QUIET = 0.6
"""Silence of a model that decides by itself after which its answer is over."""
_PATIENCE = 10.0
"""Seconds that such a model has to begin when it was asked to."""


@dataclass
class Playing:
    """The playback of one answer, in seconds of its sound."""

    made: float = 0.0
    """Sound that the model has made."""
    handed: float = 0.0
    """Sound that was handed to the protocol."""
    reported: float | None = None
    """How much the client says that it has played."""
    _until: float = 0.0
    """When, by the clock, all that was handed is played."""

    def hand(self, seconds: float, now: float) -> None:
        """A piece goes out; it is heard behind those before it, or at once after a gap."""
        self._until = max(self._until, now) + seconds
        self.handed += seconds

    def report(self, seconds: float) -> None:
        """The client has played so much; it cannot have played what it was not given, nor less than before."""
        self.reported = max(self.reported or 0.0, min(max(seconds, 0.0), self.handed))

    def heard(self, now: float, told: float | None = None) -> float:
        """Seconds that count as heard: what was ``told`` just now, else the last report, else by the clock."""
        if told is not None:
            return min(max(told, 0.0), self.handed)
        if self.reported is not None:
            return self.reported
        return max(self.handed - max(self._until - now, 0.0), 0.0)

    def end(self) -> float | None:
        """When all that was made will be played; None while a part of it was not handed out."""
        if self.handed < self.made - _ROUNDING:
            return None
        if self.reported is None or self.reported >= self.made - _ROUNDING:
            return self._until if self.reported is None else 0.0
        return self._until + _REPORT


@dataclass
class Live:
    """The answer that goes on."""

    epoch: int
    begun: float
    whole: bool
    """Whether it is handed over whole, so that nobody waits until it is played."""
    playing: Playing = field(default_factory=Playing)
    ducked: bool = False
    finished: bool = False
    """Whether the model has said all of it."""
    last: float | None = None
    """When the model last said something."""

    def quiet(self) -> float:
        """From when on a model that decides by itself counts as having said it all."""
        return self.begun + _PATIENCE if self.last is None else self.last + _QUIET
