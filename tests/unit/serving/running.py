"""A real server in a thread, and a client that knows no manners: bytes on a socket."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from duplexforge.config import ServeSettings
from duplexforge.serving import ports, role
from duplexforge.serving.service import Service

PATIENCE = 30.0
"""Seconds after which a test gives up waiting; none of them measures time."""


def settings(**changes: Any) -> ServeSettings:
    """Settings of a small echo server, nothing of the machine's in them."""
    given = {"sca_backend": "echo", "sca_slots": 4, **changes}
    return ServeSettings(_env_file=None, **given)


class Running:
    """A server that answers at ``url`` and ``ws``."""

    def __init__(self, wanted: ServeSettings, *, service: Service | None = None, ping: float = 20.0) -> None:
        self.service: Service = service or role.assemble(wanted)
        self.server = role.server(self.service, ping=ping)
        self._listening = ports.listen(wanted.sca_host, 0)
        self.port = self._listening.port
        self.url, self.ws = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._run, name="server", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self._listening.socket]))

    def stop(self) -> None:
        """As SIGTERM does it, from another thread."""
        self.server.stop()

    def join(self) -> None:
        """Wait for its end."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self._listening.socket.close()


@contextmanager
def running(*, ping: float = 20.0, **changes: Any) -> Iterator[Running]:
    """A server with these settings, loaded."""
    server = Running(settings(**{"sca_drain_seconds": 0.0, **changes}), ping=ping)
    wait_until(lambda: server.service.ready)
    try:
        yield server
    finally:
        server.stop()
        server.join()


def wait_until(done: Any) -> None:
    """Until ``done()``; the test fails when that takes for ever."""
    by = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < by, "it never happened"
        time.sleep(0.005)


class Raw:
    """A WebSocket client that does what it likes. ``receive`` bytes of buffer: what it does not read stays with the server."""

    def __init__(self, url: str, path: str, *, receive: int | None = None, headers: str = "") -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((parts.hostname, parts.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )
        self._rest = b""
        while b"\r\n\r\n" not in self._rest:
            got = self.socket.recv(4096)
            assert got, "refused"
            self._rest += got
        self.head, _, self._rest = self._rest.partition(b"\r\n\r\n")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def frame(self, opcode: int, payload: bytes = b"", *, last: bool = True) -> None:
        """Send one frame."""
        self.socket.sendall(frame(opcode, payload, last=last))

    def closed(self) -> int | None:
        """Read on to the close frame and tell its code; None when the connection ended without one."""
        while True:
            head = self._take(2)
            if head is None:
                return None
            length = head[1] & 127
            if length > 125:
                extended = self._take(2 if length == 126 else 8)
                length = int.from_bytes(extended or b"", "big")
            body = self._take(length)
            if body is None:
                return None
            if head[0] & 15 == 8:
                return int.from_bytes(body[:2], "big")

    def _take(self, size: int) -> bytes | None:
        while len(self._rest) < size:
            try:
                got = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not got:
                return None
            self._rest += got
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def frame(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([128 | size])
    elif size < 65536:
        length = bytes([128 | 126]) + struct.pack(">H", size)
    else:
        length = bytes([128 | 127]) + struct.pack(">Q", size)
    return bytes([(128 if last else 0) | opcode]) + length + bytes(4) + payload


TEXT, BINARY, CONTINUED, PING = 1, 2, 0, 9


def noise(seconds: float, rate: int = 16000) -> npt.NDArray[np.float32]:
    """Something to hear."""
    return np.random.default_rng(7).uniform(-0.3, 0.3, round(seconds * rate)).astype(np.float32)
