"""Stretches of speech out of probabilities: when one began, how much of it was voice, where its last sound was. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Voicing"]

_HYSTERESIS = 0.15
"""What is voice already goes on down to so much below the threshold (Silero's own rule)."""
_LONGEST = 0.1
"""Seconds of a window, at most."""
_EPSILON = 1e-6
"""Sums of windows are compared with times that people wrote down."""


@dataclass
class Voicing:
    """The stretch of speech that goes on, or the last one. All times are seconds of the user's stream."""

    voiced: bool = False
    """Whether the last window was voice."""
    since: float | None = None
    """Where the stretch began; None: there is none."""
    last: float = 0.0
    """Where its last voiced window ended."""
    seconds: float = 0.0
    """How much of it was voice."""
    at: float = 0.0
    """How far the stream was heard."""

    def hear(self, probability: float, at: float, threshold: float) -> None:
        """Take in the window that ends at ``at`` seconds and begins where the last one ended."""
        # Nobody listened for a while: that time is not voice.
        length, self.at = min(max(at - self.at, 0.0), _LONGEST), at
        self.voiced = probability >= (max(threshold - _HYSTERESIS, threshold / 2) if self.voiced else threshold)
        if self.voiced:
            if self.since is None:
                self.since, self.seconds = at - length, 0.0
            self.last, self.seconds = at, self.seconds + length

    @property
    def silence(self) -> float:
        """Seconds since the last voiced window; 0 while there is no stretch."""
        return 0.0 if self.since is None else self.at - self.last

    def spoken(self, seconds: float) -> bool:
        """Whether the stretch has so much voice."""
        return self.since is not None and self.seconds >= seconds - _EPSILON

    def silent(self, seconds: float) -> bool:
        """Whether a stretch was followed by so much silence."""
        return self.since is not None and self.silence >= seconds - _EPSILON

    def drop(self) -> None:
        """There is no stretch; voice that goes on begins a new one."""
        self.since, self.seconds = None, 0.0
