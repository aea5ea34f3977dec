"""``python -m tests.servers.kube [--port 0] [--bare]``: prints its port, ends when standard input closes.

``/__control`` (JSON) tells the timeline and takes faults; see :class:`tests.servers.kube.server.Kube` and
:class:`tests.servers.kube.client.KubeServer`. ``--bare`` has no controllers, scheduler or kubelets: envtest's way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading

from tests.servers.kube.kinds import Object
from tests.servers.kube.server import Kube, Stream
from tests.servers.wire import Answer, Connection, Request, exit_with_parent


class StreamingConnection(Connection):
    """A connection on which an answer may be a watch: lines of JSON, one chunk each, until one side closes."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(self._asked)
        self._kube = kube
        self._stream: Stream | None = None

    def _asked(self, request: Request) -> Answer:
        answer = self._kube(request)
        if isinstance(answer, Answer):
            return answer
        self._stream = answer
        return Answer(headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"})

    def _send(self, method: str, answer: Answer) -> None:
        if self._stream is None:
            super()._send(method, answer)
            return
        stream = self._stream
        # The head first: a client that watches an empty collection must not wait for its first event.
        stream.send, stream.close = self._event, self._end
        head = [f"{name}: {value}" for name, value in answer.headers.items()]
        self._transport.write(("\r\n".join(["HTTP/1.1 200 OK", *head]) + "\r\n\r\n").encode())
        self._kube.opened(stream)

    def _event(self, event: Object) -> None:
        line = json.dumps(event).encode() + b"\n"
        self._transport.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _end(self) -> None:
        if self._stream:
            self._kube.closed(self._stream)
            self._stream = None
            self._transport.write(b"0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away, perhaps in the middle of a watch."""
        if self._stream:
            self._kube.closed(self._stream)
            self._stream = None


async def _serve(port: int, *, bare: bool) -> None:
    kube, loop = Kube(bare=bare), asyncio.get_running_loop()
    server = await loop.create_server(lambda: StreamingConnection(kube), "127.0.0.1", port, backlog=128)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await kube.turn()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bare", action="store_true")
    arguments = parser.parse_args()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    asyncio.run(_serve(arguments.port, bare=arguments.bare))


if __name__ == "__main__":
    main()
