"""What a protocol may ask of a conversation, and the settings that a client can change while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.events import Event
from duplexforge.serving.packets import Floats

__all__ = ["Mode", "Session", "SessionConfig", "Turns"]

Mode = Literal["stream", "turn"]
Turns = Literal["server", "client"]


@dataclass(frozen=True)
class SessionConfig:
    """How a session runs. ``Session.configure`` replaces it; UsageError for a value out of range."""

    mode: Mode = "stream"
    """stream: sound goes out as it is made, and the user is heard during it. turn: one speaks after the other, an answer is
    handed over whole."""
    turns: Turns = "server"
    """Who says that the user's turn is over: the server (voice activity and the model), or the client (``commit``)."""
    interruption: bool = True
    """Whether the user's voice may break off an answer; a client may at any time."""
    answers: bool = True
    """Whether an answer begins by itself when a turn is over, or waits for ``respond``."""
    vad_threshold: float = 0.5
    silence: float = 0.6
    """Seconds of silence that end a turn when the model has no opinion or is not sure."""
    sure_silence: float = 0.128
    """Seconds of silence that end a turn when the model is sure."""
    sure: float = 0.8
    """The model's probability from which it is."""
    prefix: float = 0.3
    """Seconds before the first sound that belong to the turn."""
    confirm: float = 0.2
    """Seconds of speech that make an interruption out of a duck."""
    manner: Manner = field(default_factory=Manner)


class Session(Protocol):
    """One client's conversation. Its methods are called in the event loop's thread, take no time and never block."""

    id: str
    facts: Facts
    config: SessionConfig

    def hear(self, samples: Floats, rate: int) -> None:
        """Take in the user's sound (float32[n] in ±1 at ``rate``), as much as there is."""
        ...

    def configure(self, config: SessionConfig) -> None:
        """From now on, run so. UsageError, and nothing changes, when a value makes no sense or the backend has no such voice."""
        ...

    def commit(self) -> None:
        """The client says that the user's turn is over; InputError when nothing was heard since the last one."""
        ...

    def clear(self) -> None:
        """Forget what was heard since the last turn."""
        ...

    def respond(self, manner: Manner | None = None) -> None:
        """Answer now, in the session's manner or in this one for once; an answer that is going on is broken off (``turn``)."""
        ...

    def interrupt(self, played: float | None = None) -> None:
        """Break off the answer that is going on; ``played`` seconds of it were heard (None: as last told, else by the clock)."""
        ...

    def played(self, epoch: int, seconds: float) -> None:
        """The client tells how much of answer ``epoch`` it has played. What is no answer of this session is left aside."""
        ...

    def behind(self) -> float:
        """Seconds of the user's sound that the model has not heard yet: who sends a file waits until there are few."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order, until the session is over; one reader.

        A reader that falls behind loses nothing but its session: when too much waits, the last event is ``Failed`` with
        ``slow_reader``.
        """
        ...

    async def close(self) -> None:
        """Leave: the slot is free for another. May be called twice."""
        ...
