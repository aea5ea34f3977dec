"""uvicorn's HTTP and WebSocket connections, with the deadlines and bounds that they lack.

A request head has to come in time and in bounds; a message may not come in endless fragments; a client that takes nothing in
is let go, with what waits for it; and a connection that we closed does not wait for its client for ever.
"""

from __future__ import annotations

import socket
from asyncio import Handle, TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from duplexforge.config import ServeSettings

__all__ = ["connections"]

_HEAD_BYTES = 2**16
_MOST_FRAGMENTS = 256
_MOST_UNSENT = 2**18
"""Bytes that may wait for a client that keeps asking for answers to its pings."""
_PIECE = 4096
_HUNG_UP = (7, 8)
"""TCP_CLOSE after a reset, TCP_CLOSE_WAIT after an end."""
_FAREWELL = 2.0
"""Seconds that a client has to take in our last words."""


class Http(HttpToolsProtocol):
    """A connection whose request heads have a deadline and a size."""

    patience = 5.0
    most = 512

    _deadline: TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A client is there. One too many is sent away before it costs anything."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._deadline is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._rest()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        super().data_received(data)
        if self._deadline is not None:
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head = 0
        self._deadline = self.loop.call_later(self.patience, self._refuse, b"408 Request Timeout")

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        self._rest()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket that does not wait for its client for ever, and reads no more at once than is soon done.

    The system hands over up to 256 KiB, which may be 40,000 frames: parsed in one go they would hold up everybody for a second.
    """

    patience = 5.0

    _stuck: TimerHandle | None = None
    _feeding: Handle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unread = bytearray()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        self._unread += data
        self._feed_soon()

    async def receive(self) -> Any:
        """The next message, for the application."""
        message = await super().receive()
        if self._unread and _gone(self.transport):
            self.transport.abort()
            return {"type": "websocket.disconnect", "code": 1006}
        if self._unread:
            self.transport.pause_reading()
            self._feed_soon()
        return message

    def _feed(self) -> None:
        """Parse a piece; the next one when others had their turn, and when the application has taken what is in this one."""
        self._feeding = None
        piece = bytes(self._unread[:_PIECE])
        del self._unread[:_PIECE]
        super().data_received(piece)
        if self._unread:
            self.transport.pause_reading()
            self._feed_soon()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _feed_soon(self) -> None:
        free = self.queue.empty() or self.close_sent
        if self._unread and free and self._feeding is None and not self.transport.is_closing():
            self._feeding = self.loop.call_soon(self._feed)

    def handle_cont(self, event: Frame) -> None:
        """A fragment came. The size of a message is bounded already; this bounds fragments that carry nothing."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self.conn.send_close(1009, f"a message has at most {_MOST_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, as long as the client takes our answers in."""
        if self.transport.get_write_buffer_size() > _MOST_UNSENT:
            self.transport.abort()
            return
        super().handle_ping()

    def pause_writing(self) -> None:
        """More waits than the client takes in."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.patience, self._let_go)

    def resume_writing(self) -> None:
        """The client has taken it in."""
        self._calm()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._calm()
        if self._feeding is not None:
            self._feeding.cancel()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """No pong came: nobody is there to whom the rest could be sent, unless the pong is in what we have not read."""
        if self._unread or self.read_paused:
            self.pong_timer = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """What the application says; after its farewell the client has a moment, then the connection ends with all that waits."""
        await super().send(message)
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(_FAREWELL, self.transport.abort)
            self._feed_soon()

    def _calm(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _let_go(self) -> None:
        # The farewell stands behind all that waits: a client that reads again within a moment still gets to see it.
        self._stuck = None
        if not self.close_sent:
            self.conn.send_close(1008, "slow reader")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1008, "reason": "slow reader"})
        self.disconnected = True
        self.writable.set()
        self.close_timer = self.loop.call_later(_FAREWELL, self.transport.abort)
        # What came and was not read would make the system reset the connection, and our last words would be lost with it.
        self.read_paused = False
        self.transport.resume_reading()
        self._feed_soon()


def _gone(transport: Transport) -> bool:
    """Whether the client has hung up behind what we have not read yet, as the system knows (Linux alone tells).

    Nobody would get an answer to the rest, and until it was read its slot would be taken.
    """
    if not hasattr(socket, "TCP_INFO"):
        return False
    found: socket.socket = transport.get_extra_info("socket")
    try:
        return found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _HUNG_UP
    except OSError:
        return True


def connections(settings: ServeSettings) -> tuple[type[Http], type[Socket]]:
    """Both kinds, with the limits of ``settings``; uvicorn makes one object of them for each client."""
    http = {"patience": settings.sca_handshake_seconds, "most": settings.sca_slots + 512}
    return type("Http", (Http,), http), type("Socket", (Socket,), {"patience": settings.sca_send_seconds})
