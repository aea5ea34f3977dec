"""The server without its network: the engine, who may have a slot of it, and what is told about it all."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from duplexforge import metrics, voices
from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError, InputError
from duplexforge.serving import keeping
from duplexforge.serving.conversation import Conversation
from duplexforge.serving.engine import Engine
from duplexforge.serving.events import Event, Heard
from duplexforge.serving.limits import Full, Guests
from duplexforge.serving.session import Session, SessionConfig
from duplexforge.serving.vad import silero

__all__ = ["NAME", "STOPPING", "End", "Service"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a session may be called."""
_LATEST = 256
"""Answers whose times are kept for the statistics."""
_LOADING = 5.0
"""Seconds after which it is worth coming back while the model is being loaded."""


class End(NamedTuple):
    """How a connection ends; ``code`` None: the client has gone by itself."""

    code: int | None
    reason: str = ""


STOPPING = End(1001, "the server is stopping")


class Service:
    """One model and the conversations that it holds. Everything happens in the event loop's thread."""

    def __init__(self, engine: Engine, settings: ServeSettings) -> None:
        self.engine, self.settings = engine, settings
        self.draining = False
        self.failed: DuplexforgeError | None = None
        """Why it could not begin."""
        self.loaded = False
        self.lines: set[Callable[[End], None]] = set()
        """How to end each connection that is open."""
        self._guests = Guests(settings.sca_sessions_per_key)
        self._open: dict[str, Conversation] = {}
        self._names: set[tuple[str, str]] = set()
        self._began = time.time()
        self._total = 0
        self._refused: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._past: Counter[str] = Counter()
        self._times: deque[Heard] = deque(maxlen=_LATEST)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Load the model and the voice detection; what goes wrong is kept in ``failed`` and raised."""
        try:
            await _aside(silero)
            await _aside(lambda: self.engine.start(self.settings.sca_slots))
        except DuplexforgeError as error:
            self.failed = error
            raise
        self.loaded = True

    @property
    def alive(self) -> bool:
        """Whether the model works, or is still being loaded."""
        return self.failed is None and (not self.loaded or self.engine.alive)

    @property
    def ready(self) -> bool:
        """Whether a conversation may begin, if there is room."""
        return self.loaded and not self.draining and self.engine.ready

    @property
    def quiet(self) -> bool:
        """Whether nobody is there."""
        return not self._open and not self.lines

    def drain(self) -> None:
        """No conversation begins any more; those that are open go on."""
        self.draining = True
        self.engine.drain()

    def dismiss(self, end: End) -> None:
        """End what is open."""
        for finish in list(self.lines):
            finish(end)

    # -- conversations ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def converse(self, config: SessionConfig, owner: str, name: str = "") -> AsyncIterator[Session]:
        """A conversation of ``owner``, for as long as the block lasts. Named ones are kept where SCA_SESSIONS_DIR says.

        Raises Full when there is no room, InputError for a name that cannot be one or is in use, UsageError for a config
        that makes no sense, ModelError when the model does not work.
        """
        try:
            conversation = self._begin(config, owner, name)
        except Full as error:
            self._refused[error.reason] += 1
            metrics.SERVE_REFUSED.labels(error.reason).inc()
            raise
        try:
            yield conversation
        finally:
            await self._end(conversation, owner, name)

    def forget(self, owner: str, name: str) -> bool:
        """Delete what is kept of the session ``name``; whether there was any. InputError while it is open."""
        if (owner, name) in self._names:
            raise InputError(f"the session {name} is open: end it first", reason="in_use")
        folder = self.settings.sca_sessions_dir
        return bool(folder) and NAME.fullmatch(name) is not None and keeping.forget(Path(str(folder)), owner, name)

    def _begin(self, config: SessionConfig, owner: str, name: str) -> Conversation:
        if not self.loaded:
            raise Full("the model is being loaded: come back later", reason="loading", after=_LOADING)
        if name and not NAME.fullmatch(name):
            raise InputError("a session's name has 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first")
        if (owner, name) in self._names:
            raise InputError(f"the session {name} is open already", reason="in_use")
        self._guests.enter(owner)
        kept = Path(self.settings.sca_sessions_dir) if self.settings.sca_sessions_dir else None
        try:
            begun = Conversation(self.engine, config, name=name, owner=owner, sessions=kept, voice=silero())
        except BaseException:
            self._guests.leave(owner)
            raise
        self._total += 1
        self._open[begun.id] = begun
        if name:
            self._names.add((owner, name))
        metrics.SERVE_SESSIONS.inc()
        return begun

    async def _end(self, conversation: Conversation, owner: str, name: str) -> None:
        self._guests.leave(owner)
        del self._open[conversation.id]
        for counted, number in _counts(conversation).items():
            self._past[counted] += number
        metrics.SERVE_SESSIONS.dec()
        try:
            await conversation.close()
        finally:
            # Only now may the next one of this name read what was kept.
            self._names.discard((owner, name))

    # -- what is told -------------------------------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        """Count what a protocol is about to tell."""
        if isinstance(event, Heard):
            self._times.append(event)
            metrics.SERVE_ANSWER.observe(event.first)

    def ended(self, code: int | None) -> None:
        """Count how a connection ended; None: by its client."""
        word = "client" if code is None else str(code)
        self._ends[word] += 1
        metrics.SERVE_CLOSED.labels(word).inc()

    def statistics(self) -> dict[str, Any]:
        """Everything that is counted. Times are in seconds, ``average_latency`` in milliseconds."""
        counted = Counter(self._past)
        for one in self._open.values():
            counted.update(_counts(one))
        first = np.asarray([heard.first for heard in self._times] or [0.0])
        return {
            "backend": self.engine.facts.name if self.loaded else self.settings.sca_backend,
            "model": self.engine.facts.model if self.loaded else "",
            "ready": self.ready,
            "draining": self.draining,
            "uptime": round(time.time() - self._began, 1),
            "active_sessions": len(self._open),
            "total_sessions": self._total,
            "refused": dict(self._refused),
            "closed": dict(self._ends),
            **{name: counted[name] for name in ("turns", "answers", "interruptions", "false_alarms")},
            "average_latency": round(1000 * float(first.mean()), 1),
            "latency_p50": round(float(np.median(first)), 4),
            "engine": self.engine.statistics(),
        }

    def speakers(self) -> dict[str, Any]:
        """The voices of the model, its emotions, and the ranges of the controls."""
        facts = self.engine.facts
        known = {voice.key: voice for voice in voices.VOICES}
        return {
            "speakers": [
                {"id": known[key].id, "name": known[key].name, "key": key, "pitch": known[key].pitch}
                if key in known
                else {"id": number, "name": key, "key": key}
                for number, key in enumerate(facts.speakers)
            ],
            "emotions": list(facts.emotions),
            "accents": list(voices.ACCENTS) if facts.emotions else [],
            "controls": {name: [0.5, 2.0] for name in ("pitch", "energy", "rate")} if facts.speakers else {},
        }


async def _aside(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread that a server which ends does not wait for: loading a large model takes minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - whoever awaits gets it
            error = raised
        with suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    await done


def _counts(conversation: Conversation) -> dict[str, int]:
    found = conversation.counts
    return {
        "turns": found.turns,
        "answers": found.answers,
        "interruptions": found.interruptions,
        "false_alarms": found.false_alarms,
    }
