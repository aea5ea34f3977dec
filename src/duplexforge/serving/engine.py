"""One thread that runs a model for many conversations at once.

A model has a fixed number of slots. Each conversation takes one, puts its user's frames in, says when an answer begins or is
broken off, and gets what the model made through its *sink*, in the event loop's thread and in order. The engine's thread
gathers every slot that is due (a frame waits, or its answer may go on) into one step of the backend, and sleeps while none
is. A slot is never in a step twice, so that a conversation that sends much takes its turn like the others.

A step that raises is the model's end: every conversation gets ``Failed`` with ``over``, and the engine is not alive any more.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from duplexforge import log, metrics
from duplexforge.errors import ModelError
from duplexforge.serving.backends import Backend, Facts, Manner
from duplexforge.serving.backends.manners import check
from duplexforge.serving.events import Failed
from duplexforge.serving.limits import Full
from duplexforge.serving.measures import Measures
from duplexforge.serving.packets import AudioInput
from duplexforge.serving.rounds import Rounds
from duplexforge.serving.seats import Room, Sink

__all__ = ["Engine", "Sink"]

_STUCK = 60.0
"""Seconds that one step may take until the engine counts as dead."""
_SWITCH = 0.001
"""Seconds for which one thread may keep the interpreter; Python's own 5 ms would add up in each message of the event loop."""
_COME_BACK = 5.0


class Engine:
    """The slots of one backend.

    But for ``start`` and ``stop`` everything returns at once, and is called in the event loop's thread.
    """

    def __init__(self, backend: Backend, *, max_lag: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend, self._max_lag, self._clock = backend, max_lag, clock
        self._room = Room()
        self._thread: threading.Thread | None = None
        self._measures: Measures | None = None
        self._rounds: Rounds | None = None
        self._draining = self._broken = False
        self._log = log.get("serve")

    def start(self, slots: int) -> None:
        """Load the backend in the engine's thread, and return when it is ready; raises what loading raises."""
        loaded: Future[None] = Future()
        sys.setswitchinterval(_SWITCH)
        self._thread = threading.Thread(target=self._work, args=(slots, loaded), name="engine", daemon=True)
        self._thread.start()
        loaded.result()

    def stop(self, seconds: float = 5.0) -> None:
        """End after the step that goes on; conversations that are left get ``Failed`` with ``stopping``. May be called twice."""
        self._room.stop()
        if self._thread is not None:
            self._thread.join(seconds)

    def drain(self) -> None:
        """From now on nobody gets a slot; who has one keeps it."""
        self._draining = True

    @property
    def facts(self) -> Facts:
        """What the backend is; known once it is loaded."""
        return self._backend.facts

    @property
    def alive(self) -> bool:
        """Whether the model works: its thread runs, it has not failed, and no step hangs."""
        running = self._thread is not None and self._thread.is_alive() and not self._broken
        began = self._rounds.step_began if self._rounds else None
        return running and (began is None or self._clock() - began < _STUCK)

    @property
    def ready(self) -> bool:
        """Whether conversations may begin: loaded, alive, not draining."""
        return self._measures is not None and self.alive and not self._draining and not self._room.stopping

    @property
    def taken(self) -> int:
        """Slots that have a conversation."""
        return len(self._room.seats) - len(self._room.free)

    def statistics(self) -> dict[str, float | int]:
        """Everything that is counted, in numbers; empty until the model is loaded."""
        return self._measures.snapshot(self._clock()) if self._measures else {}

    def take(self) -> int:
        """A slot; Full when there is none, ModelError when the model is at its end."""
        if self._measures is None or self._broken:
            raise ModelError("the model does not work: the server has to be started again")
        if self._draining or self._room.stopping:
            raise Full("the server is stopping: come back later", after=_COME_BACK)
        if not self._room.free:
            raise Full("every slot is taken: come back later", after=_COME_BACK)
        slot = self._room.free.pop()
        self._measures.slots(self.taken)
        return slot

    def open(self, slot: int, manner: Manner, sink: Sink, *, progress: bool = False) -> None:
        """Begin a conversation in ``slot``, which was taken; UsageError for a manner that the backend has not.

        With ``progress`` the sink is told after each frame how far the model has heard (``Taken``).
        """
        check(self.facts, manner)
        with self._room.changed(slot) as seat:
            seat.sink, seat.loop, seat.progress = sink, asyncio.get_running_loop(), progress
            seat.wish(partial(self._backend.open, slot, manner))

    def push(self, slot: int, audio: AudioInput) -> None:
        """A frame of the user."""
        with self._room.changed(slot) as seat:
            seat.take_in(audio, len(audio.samples) / self.facts.hears, self._clock())

    def waiting(self, slot: int) -> float:
        """Seconds of the user's sound that the model has not taken yet."""
        return self._room.seats[slot].waiting

    def attend(self, slot: int, since: float) -> None:
        """The user's turn began at ``since`` seconds of their stream; what they said before may be forgotten."""
        with self._room.changed(slot) as seat:
            seat.wish(partial(self._backend.attend, slot, since))

    def begin(self, slot: int, ahead: float) -> None:
        """Answer what was pushed so far; the sound may be ``ahead`` seconds ahead of the clock (infinity: as fast as it goes)."""
        with self._room.changed(slot) as seat:
            seat.begin(partial(self._backend.begin, slot), ahead, self._clock())

    def manner(self, slot: int, manner: Manner) -> None:
        """From the next answer on, answer so. UsageError, and nothing changes, for a manner that the backend has not."""
        check(self.facts, manner)
        with self._room.changed(slot) as seat:
            seat.wish(partial(self._backend.manner, slot, manner))

    def cancel(self, slot: int) -> None:
        """Break off the answer: nothing of it reaches the sink from here on."""
        with self._room.changed(slot) as seat:
            seat.cancel(partial(self._backend.cancel, slot))

    def give_back(self, slot: int) -> None:
        """The conversation is over: its sink is not called any more, and the slot is free."""
        with self._room.changed(slot) as seat:
            seat.leave(partial(self._backend.close, slot))
            self._room.free.append(slot)
        if self._measures:
            self._measures.slots(self.taken)

    def _work(self, slots: int, loaded: Future[None]) -> None:
        """The engine's thread."""
        try:
            self._backend.load(slots)
            self._room.furnish(slots)
            self._measures = Measures(self.facts, slots, self._clock())
            self._rounds = Rounds(self._backend, self._room, self._measures, max_lag=self._max_lag, clock=self._clock)
        except BaseException as error:  # noqa: BLE001 - start raises it
            loaded.set_exception(error)
            return
        metrics.SERVE_READY.set(1)
        loaded.set_result(None)
        over = Failed("stopping", "the server is stopping", over=True)
        try:
            while self._rounds.once():
                pass
        except Exception as error:  # noqa: BLE001 - the end of the thread, told to everybody
            # A broken model must not look alive: whoever watches livez starts the server again.
            self._broken = True
            over = Failed("model_failed", "the model has failed: the server has to be started again", over=True)
            self._log.error("the model has failed, and every conversation ends", error=str(error), exc_info=True)
        self._rounds.farewell(over)
        metrics.SERVE_READY.set(0)
