"""What answers: one protocol, and the backends by name. A backend is loaded when it is chosen, not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from duplexforge.errors import UsageError
from duplexforge.serving.packets import AudioInput, Floats, Outcome

__all__ = ["BACKENDS", "Backend", "Facts", "Given", "Manner", "open_backend"]


@dataclass(frozen=True)
class Facts:
    """What a backend is, once it is loaded."""

    name: str
    model: str
    """For people: which weights, or which model."""
    hears: int
    """Samples a second that it hears."""
    frame: int
    """Samples of a frame of the user."""
    says: int
    """Samples a second of what it says; 0 for text alone."""
    decides: bool = False
    """Whether it says by itself when to speak and when to be silent; others are told to begin."""
    speakers: tuple[str, ...] = ()
    """Keys of its voices, in the order of their numbers."""
    emotions: tuple[str, ...] = ()
    reads: bool = False
    """Whether it reads ``Manner.prompt``; it is then told what was said in earlier turns like the present one."""


@dataclass(frozen=True)
class Manner:
    """How a session wants to be answered; a backend takes of it what it has."""

    speaker: str = ""
    """A voice's key; empty: the first."""
    other: str = ""
    """A second voice to blend with."""
    blend: float = 0.0
    emotion: str = ""
    accent: str = ""
    pitch: float = 1.0
    energy: float = 1.0
    rate: float = 1.0
    temperature: float | None = None
    seed: int | None = None
    prompt: str = ""
    """Instructions, for models that read."""
    voice: Floats | None = None
    """A voice's vector, instead of ``speaker``."""


@dataclass(frozen=True)
class Given:
    """What one step gives to one slot: a frame of the user, or none, and whether the slot is to go on speaking."""

    frame: AudioInput | None = None
    speak: bool = False


class Backend(Protocol):
    """A model with a fixed number of slots. One thread calls it, so that it needs no locks.

    Errors of one slot are that slot's: ``step`` never raises for what a user sent. What it does raise is the model's end, and
    every session is told so.
    """

    facts: Facts

    def load(self, slots: int) -> None:
        """Make ready for so many slots. ModelError when weights or packages are missing."""
        ...

    def open(self, slot: int, manner: Manner) -> None:
        """Start a slot afresh for a new conversation. UsageError for a manner that it has not."""
        ...

    def manner(self, slot: int, manner: Manner) -> None:
        """From the next answer on, answer so. UsageError for a manner that it has not."""
        ...

    def attend(self, slot: int, since: float) -> None:
        """A turn of the user began at ``since`` seconds of their stream: what was heard before it may be forgotten."""
        ...

    def begin(self, slot: int) -> None:
        """The user's turn is over: an answer begins with the next step that lets the slot speak; an older one is dropped."""
        ...

    def step(self, given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        """One step of the slots in ``given``, as one batch: what each made, in order; a slot that is silent may be missing."""
        ...

    def cancel(self, slot: int) -> None:
        """Drop the answer of a slot at once; what it has heard stays."""
        ...

    def close(self, slot: int) -> None:
        """The conversation is over: forget it."""
        ...


_PLACES = {
    "echo": ("duplexforge.serving.backends.echo", "Echo"),
    "s2s": ("duplexforge.serving.backends.s2s", "SpeechToSpeech"),
}
BACKENDS = tuple(_PLACES)


def open_backend(name: str, options: Any) -> Backend:
    """The backend of that name with its part of the settings, not loaded yet; UsageError for a name that there is not."""
    if name not in _PLACES:
        raise UsageError(f"there is no backend {name}; there are {', '.join(BACKENDS)}")
    place, kind = _PLACES[name]
    make: Callable[[Any], Backend] = getattr(import_module(place), kind)
    return make(options)
