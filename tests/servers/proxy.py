"""A fault-injecting HTTP proxy before one upstream: ``python -m tests.servers.proxy --upstream http://127.0.0.1:4566``.

It passes requests on as they came, the host they were sent to included, so it stands before S3, SQS or a Hub alike; see
:class:`tests.servers.proxy_faults.Fault` for what it does to some of them. ``/__proxy`` (JSON) arms faults (``arm``,
``disarm``, ``seed``) and tells what happened; every other path, the upstream's own control page included, is passed on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.servers.proxy_faults import Fault, Faults
from tests.servers.wire import exit_with_parent

_LINE = 1 << 20
_BLOCK = 1 << 16
_BROKEN = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError)


@dataclass
class Message:
    """One request or answer: the head as it came, its headers in lower case, and the body with its framing."""

    head: bytes
    first: list[str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def lasts(self) -> bool:
        """Whether the connection may be used again afterwards."""
        return self.headers.get("connection", "").lower() != "close"


async def read_head(reader: asyncio.StreamReader) -> Message:
    """The head of the next message; IncompleteReadError at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Message(head, lines[0].split(" ", 2), headers)


async def read_body(reader: asyncio.StreamReader, message: Message, *, to_end: bool = False) -> bytes:
    """The body as it is on the wire, so that it can be passed on; ``to_end``: until the connection closes when unframed."""
    if message.headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while True:
            line = await reader.readuntil(b"\r\n")
            parts.append(line)
            size = int(line.split(b";")[0], 16)
            parts.append(await reader.readexactly(size + 2) if size else await reader.readuntil(b"\r\n"))
            if not size:
                return b"".join(parts)
    if "content-length" in message.headers:
        return await reader.readexactly(int(message.headers["content-length"]))
    return await reader.read(-1) if to_end else b""


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection so that the client sees a reset, not an end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Upstream:
    """Connections to the server behind; those that are free are used again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: Message) -> Message:
        """The answer to a request. A connection that went stale while it was free is replaced by a new one."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof() and not writer.is_closing():
                with suppress(*_BROKEN):
                    return await self._ask(reader, writer, request)
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LINE)
        return await self._ask(reader, writer, request)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Message) -> Message:
        writer.write(request.head + request.body)
        await writer.drain()
        answer = await read_head(reader)
        while answer.first[1] == "100":
            answer = await read_head(reader)
        if request.first[0] != "HEAD" and answer.first[1] not in ("204", "304"):
            answer.body = await read_body(reader, answer, to_end=True)
        framed = "content-length" in answer.headers or "transfer-encoding" in answer.headers
        if answer.lasts and (framed or not answer.body):
            self._free.append((reader, writer))
        else:
            writer.close()
        return answer


class Proxy:
    """Serves client connections, each in a task of its own."""

    def __init__(self, upstream: str) -> None:
        self._upstream = Upstream(upstream)
        self._faults = Faults()
        self._requests: Counter[str] = Counter()
        self._late: set[asyncio.Task[Message]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection until either side ends it."""
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except _BROKEN:
            reset(writer)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            request = await read_head(reader)
        except asyncio.IncompleteReadError:
            return False
        if request.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await read_body(reader, request)
        if request.first[1] == "/__proxy":
            writer.write(self._control(request.body))
            return request.lasts
        method, target = request.first[:2]
        self._requests[method] += 1
        fault = self._faults.next(method, f"{target} {request.headers.get('x-amz-target', '')}")
        if fault is None:
            answer = await self._upstream.ask(request)
            writer.write(answer.head + answer.body)
            return request.lasts and answer.lasts
        return await self._struck(fault, request, writer) and request.lasts

    async def _struck(self, fault: Fault, request: Message, writer: asyncio.StreamWriter) -> bool:
        """Do what the fault says; whether the connection lives on."""
        if fault.action in ("error", "busy"):
            writer.write(fault.answer())
            return True
        if fault.action == "late":
            task = asyncio.create_task(self._send_late(fault.delay, request))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if fault.action in ("late", "reset"):
            reset(writer)
            return False
        answer = await self._upstream.ask(request)
        if fault.action == "lost":
            reset(writer)
            return False
        if fault.action == "slow":
            await asyncio.sleep(fault.delay)
            writer.write(answer.head + answer.body)
            return answer.lasts
        return await self._spoilt(fault, answer, writer)

    async def _spoilt(self, fault: Fault, answer: Message, writer: asyncio.StreamWriter) -> bool:
        """A body that is cut, that stalls or that trickles."""
        writer.write(answer.head)
        if fault.action == "throttle":
            # Ten blocks a second: never long enough silent for a read timeout, for ever to a user.
            step = max(1, fault.rate // 10)
            for start in range(0, len(answer.body), step):
                writer.write(answer.body[start : start + step])
                await writer.drain()
                await asyncio.sleep(0.1)
            return answer.lasts
        writer.write(answer.body[: len(answer.body) // 2])
        await writer.drain()
        if fault.action == "stall":
            await asyncio.sleep(fault.delay)
        writer.close()
        return False

    async def _send_late(self, delay: float, request: Message) -> Message:
        await asyncio.sleep(delay)
        return await self._upstream.ask(request)

    def _control(self, body: bytes) -> bytes:
        wanted: dict[str, Any] = json.loads(body or b"{}")
        if wanted.get("disarm"):
            self._faults.armed.clear()
        if "seed" in wanted:
            self._faults.seed(wanted["seed"])
        if "arm" in wanted:
            self._faults.armed.append(Fault(**wanted["arm"]))
        armed = sum(fault.times for fault in self._faults.armed)
        told = {"requests": self._requests, "fired": self._faults.fired, "armed": armed, "late": len(self._late)}
        text = json.dumps(told).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nContent-Type: application/json\r\n\r\n"
        return head.encode() + text


async def _serve(proxy: Proxy, port: int) -> None:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=_LINE, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve on ``--port`` (0: a free one), print the port as the first line, end when standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    asyncio.run(_serve(Proxy(arguments.upstream), arguments.port))


if __name__ == "__main__":
    main()
