"""What all WebSocket protocols have in common: a session, its limits, and how it ends.

A protocol is a *dialect*: it turns a client's messages into commands of a session and the session's events into messages,
and does no input or output. ``hold`` does the rest: it takes the client in or refuses it at once, reads no faster than the
limits and the model allow, and ends with a close code that says why.

    1000  the session is over            1001  the server is stopping         1008  idle, too long, or a slow reader
    1009  a message was too large        1011  the model or a bug             1013  full: come back later
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol

from fastapi import WebSocket, WebSocketDisconnect

from duplexforge import log
from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.serving.events import Event, Failed
from duplexforge.serving.limits import Bucket, Full
from duplexforge.serving.service import STOPPING, End, Service
from duplexforge.serving.session import Session, SessionConfig

__all__ = ["Dialect", "hold"]

_SUBPROTOCOLS = ("realtime", "duplexforge")
_MOST_AHEAD = 2.0
"""Seconds of a user's sound that may wait for the model: a client that sends a file at once has to wait from here on."""
_LOOK = 0.02
_REASON_BYTES = 120


class Dialect(Protocol):
    """One protocol for one client. Messages are JSON texts."""

    def __init__(self, session: Session, settings: ServeSettings) -> None: ...

    def greet(self) -> Iterable[str]:
        """What is said when the session begins."""
        ...

    def take(self, message: str | bytes) -> Iterable[str]:
        """A message came; what is answered at once. InputError and UsageError are told to the client, and the session goes on."""
        ...

    def tell(self, event: Event) -> Iterable[str]:
        """Something happened; what the client is told."""
        ...

    @staticmethod
    def complain(error: DuplexforgeError) -> str:
        """An error in this protocol's words."""
        ...


async def hold(
    websocket: WebSocket, service: Service, dialect: type[Dialect], config: SessionConfig, *, name: str = ""
) -> None:
    """Talk to one client in ``dialect`` until one side ends it."""
    await websocket.accept(subprotocol=_chosen(websocket.scope["subprotocols"]))
    owner = websocket.scope["state"]["owner"]
    began = time.monotonic()
    try:
        async with service.converse(config, owner, name) as session:
            end = await _Line(websocket, service, session, dialect(session, service.settings)).run()
    except DuplexforgeError as error:
        await _say(websocket, dialect.complain(error))
        end = End(1013 if isinstance(error, Full) else 1011 if error.exit_code == 69 else 1008, str(error))
    service.ended(end.code)
    seconds = round(time.monotonic() - began, 1)
    log.get("serve").info(
        "connection ended", dialect=dialect.__name__, code=end.code, reason=end.reason, seconds=seconds
    )
    if end.code is not None:
        await _close(websocket, end)


class _Line:
    """One client's connection while its session lives."""

    def __init__(self, websocket: WebSocket, service: Service, session: Session, dialect: Dialect) -> None:
        self._websocket, self._service, self._session, self._dialect = websocket, service, session, dialect
        wanted = service.settings
        self._messages = Bucket(wanted.sca_messages_per_second)
        self._bytes = Bucket(wanted.sca_bytes_per_second)
        self._idle = wanted.sca_idle_seconds
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._active = self._loop.time()
        self._timers = {"idle": self._loop.call_later(self._idle, self._look)}
        self._timers["time"] = self._loop.call_later(
            wanted.sca_session_seconds, self.finish, End(1008, "the session's time is over")
        )

    def finish(self, end: End) -> None:
        """End with this; the first one counts."""
        if not self._end.done():
            self._end.set_result(end)

    async def run(self) -> End:
        """Until it ends."""
        tasks = [asyncio.create_task(self._guarded(work)) for work in (self._read(), self._tell())]
        self._service.lines.add(self.finish)
        try:
            return await self._end
        finally:
            self._service.lines.discard(self.finish)
            for timer in self._timers.values():
                timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except WebSocketDisconnect:
            self.finish(End(None))
        except Exception as error:  # noqa: BLE001 - a bug ends this session and no other; its client sees none of our insides
            log.get("serve").error("a session broke", error=str(error), exc_info=True)
            self.finish(End(1011, "internal error"))

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self.finish(End(None))
                return
            self._active = self._loop.time()
            data: str | bytes = message.get("text") or message.get("bytes") or b""
            wait = max(self._messages.take(1), self._bytes.take(len(data)))
            await self._say(self._understood(data))
            # Also without a wait: a client that has sent much at once does not get its turn before the others.
            await asyncio.sleep(wait)
            while self._session.behind() > _MOST_AHEAD:
                await asyncio.sleep(_LOOK)

    def _understood(self, data: str | bytes) -> Iterable[str]:
        try:
            return list(self._dialect.take(data))
        except (InputError, UsageError) as error:
            return [self._dialect.complain(error)]

    async def _tell(self) -> None:
        await self._say(self._dialect.greet())
        async for event in self._session.events():
            self._service.note(event)
            await self._say(self._dialect.tell(event))
            if isinstance(event, Failed) and event.over:
                self.finish(_end_of(event))
                return
        self.finish(End(1000))

    async def _say(self, messages: Iterable[str]) -> None:
        for message in messages:
            await self._websocket.send_text(message)
            self._active = self._loop.time()

    def _look(self) -> None:
        quiet = self._loop.time() - self._active
        if quiet >= self._idle:
            self.finish(End(1008, f"idle for {self._idle:g} s"))
        else:
            self._timers["idle"] = self._loop.call_later(self._idle - quiet, self._look)


def _end_of(failed: Failed) -> End:
    if failed.code == "stopping":
        return STOPPING
    return End(1008 if failed.code == "slow_reader" else 1011, failed.message)


def _chosen(offered: list[str]) -> str | None:
    """The subprotocol that is agreed on. Browsers and OpenAI's clients refuse to go on without one of theirs; never a key."""
    return next((name for name in _SUBPROTOCOLS if name in offered), None)


async def _say(websocket: WebSocket, message: str) -> None:
    try:
        await websocket.send_text(message)
    except WebSocketDisconnect:
        return


async def _close(websocket: WebSocket, end: End) -> None:
    reason = end.reason.encode()[:_REASON_BYTES].decode(errors="ignore")
    try:
        await websocket.close(end.code or 1000, reason)
    except (WebSocketDisconnect, RuntimeError):  # the client, or the transport on its behalf, was faster
        return
