"""livez, readyz and metrics of a worker, on one small HTTP port.

``livez``: the loop moved within the stall time. ``readyz``: loaded and not draining. ``metrics``: Prometheus text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from duplexforge.errors import ConfigError

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a pod's probes come from outside the pod

Page = tuple[int, bytes, str]
"""A page: HTTP status, body, content type."""


def serve(
    port: int,
    *,
    alive: Callable[[], bool],
    ready: Callable[[], bool],
    host: str = ANY_ADDRESS,
    pages: Mapping[str, Callable[[], Page]] | None = None,
) -> ThreadingHTTPServer:
    """Serve the three pages, and ``pages`` by path beside or instead of them, in a thread.

    ``port`` 0 picks a free one (``server.server_port``).
    """
    more = pages or {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if page := more.get(self.path):
                self._answer(*page())
            elif self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path in ("/livez", "/readyz"):
                good = alive() if self.path == "/livez" else ready()
                self._answer(200 if good else 503, b"ok\n" if good else b"no\n", "text/plain")
            else:
                names = sorted({"/livez", "/readyz", "/metrics", *more})
                self._answer(404, ", ".join(name.lstrip("/") for name in names).encode() + b"\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes every few seconds are not news."""

    try:
        server = ThreadingHTTPServer((host, port), Pages)
    except OSError as error:
        raise ConfigError(f"cannot listen on port {port} for health and metrics: {error.strerror or error}") from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
