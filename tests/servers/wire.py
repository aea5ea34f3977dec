"""HTTP/1.1 for test servers: one synchronous handler on an asyncio loop, so a request is atomic by construction.

A handler returns an :class:`Answer`, which may come late, be cut short or never come: what networks do to clients.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import httptools


@dataclass
class Request:
    """One request; header names are lower case, ``path`` is decoded, ``query`` keeps the last value of each name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; one without a value is the empty string."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


@dataclass
class Answer:
    """One answer, sent after ``delay`` seconds; with ``sent`` the connection breaks after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None
    dropped: bool = False

    def to_bytes(self, method: str) -> bytes:
        """The answer on the wire."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        headers = {"Content-Length": str(len(self.body)), **self.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        return head if method == "HEAD" or self.status in (204, 304) else head + self.body[: self.sent]


Handler = Callable[[Request], Answer]


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser; nonsense closes the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """A new request begins."""
        self._target, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        """Part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Clients that ask first are told to go on."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Handle the request at once; only the sending may wait."""
        method = self._parser.get_method().decode()
        answer = self._handler(Request(method, self._target.decode(), self._headers, b"".join(self._body)))
        if answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._send, method, answer)
        else:
            self._send(method, answer)

    def _send(self, method: str, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        if answer.dropped:
            self._transport.abort()
            return
        self._transport.write(answer.to_bytes(method))
        if answer.sent is not None:
            self._transport.close()


async def _serve(handler: Handler, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(handler), "127.0.0.1", port, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def exit_with_parent() -> None:
    """Wait until standard input closes, which it does when whoever started this dies; then end at once."""
    while os.read(0, 1024):
        continue
    os._exit(0)


def main(handler: Handler, parser: argparse.ArgumentParser | None = None) -> None:
    """Serve on ``--port`` (0: a free one), print the port as the first line, end when standard input closes."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    asyncio.run(_serve(handler, arguments.port))
