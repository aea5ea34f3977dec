"""A session without a model: it keeps what it is told, and tells what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from duplexforge.errors import InputError, UsageError
from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.events import Event
from duplexforge.serving.packets import Floats
from duplexforge.serving.session import SessionConfig

FACTS = Facts(
    "made",
    "none",
    hears=16000,
    frame=1280,
    says=16000,
    speakers=("male_young", "female_young"),
    emotions=("neutral", "happy"),
)


class MadeSession:
    """See ``session.Session``."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.id, self.facts, self.config = "made", facts, SessionConfig()
        self.heard: list[Floats] = []
        self.rates: set[int] = set()
        self.calls: list[tuple[object, ...]] = []

    @property
    def samples(self) -> Floats:
        """All that was heard."""
        return np.concatenate([np.zeros(0, np.float32), *self.heard])

    def hear(self, samples: Floats, rate: int) -> None:
        """Keep it."""
        if not 8000 <= rate <= 48000:
            raise UsageError("no such rate")
        self.heard.append(samples)
        self.rates.add(rate)

    def configure(self, config: SessionConfig) -> None:
        """Take it, unless it names a voice that is not there."""
        for name, known in ((config.manner.speaker, self.facts.speakers), (config.manner.emotion, self.facts.emotions)):
            if name and known and name not in known:
                raise UsageError(f"there is no {name}")
        self.config = config

    def commit(self) -> None:
        """InputError when nothing was heard."""
        if not self.heard:
            raise InputError("nothing was heard", reason="empty")
        self.calls.append(("commit",))

    def clear(self) -> None:
        """Note it."""
        self.calls.append(("clear",))

    def respond(self, manner: Manner | None = None) -> None:
        """Note it."""
        self.calls.append(("respond", manner))

    def interrupt(self, played: float | None = None) -> None:
        """Note it."""
        self.calls.append(("interrupt", played))

    def played(self, epoch: int, seconds: float) -> None:
        """Note it."""
        self.calls.append(("played", epoch, seconds))

    def behind(self) -> float:
        """Nothing waits."""
        return 0.0

    async def events(self) -> AsyncIterator[Event]:
        """None."""
        for event in ():
            yield event

    async def close(self) -> None:
        """Nothing to close."""
