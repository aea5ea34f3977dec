"""The server as a process: listen, load, announce, serve, drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from duplexforge import log
from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError
from duplexforge.serving import ports, transport
from duplexforge.serving.app import application
from duplexforge.serving.backends import open_backend
from duplexforge.serving.drain import Server
from duplexforge.serving.engine import Engine
from duplexforge.serving.service import Service

__all__ = ["assemble", "run", "server"]

_PING = 20.0
"""Seconds between two pings, and for which a pong may take: a client whose network is gone is noticed."""
_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what one types to reach a server that listens everywhere


class _Passed(logging.Handler):
    """uvicorn's own log, sent through ours: it redacts secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        log.get("uvicorn").warning(record.getMessage(), **({"error": repr(error)} if error else {}))


def assemble(settings: ServeSettings) -> Service:
    """The service that ``settings`` describe, not loaded yet. UsageError or ModelError for a backend that cannot be."""
    for key in settings.keys:
        log.hide(key)
    return Service(Engine(open_backend(settings.sca_backend, settings)), settings)


def server(service: Service, *, loaded: Callable[[], None] = lambda: None, ping: float = _PING) -> Server:
    """uvicorn for ``service``: it listens at once, so that probes are answered, and loads the model meanwhile."""
    app = application(service)
    app.router.lifespan_context = _lifespan(service, loaded)
    settings = service.settings
    http, socket = transport.connections(settings)
    config = uvicorn.Config(
        app,
        http=http,
        ws=socket,
        ws_max_size=settings.sca_frame_bytes,
        # What a client compressed a thousandfold would be unpacked before anybody counts it.
        ws_per_message_deflate=False,
        ws_ping_interval=ping,
        ws_ping_timeout=ping,
        timeout_graceful_shutdown=3,
        log_config=None,
        access_log=False,
        server_header=False,
        # An address that a client can make up would be no owner.
        proxy_headers=False,
        lifespan="on",
    )
    return Server(config, service)


def _lifespan(service: Service, loaded: Callable[[], None]) -> Any:
    async def load() -> None:
        try:
            await service.load()
        except DuplexforgeError:
            return  # kept in service.failed, which ends the server
        except Exception as error:  # noqa: BLE001 - nobody else waits for this task
            service.failed = DuplexforgeError(f"{type(error).__name__}: {error}")
            return
        loaded()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.to_thread(service.engine.stop)

    return lifespan


def run(settings: ServeSettings, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; raises what kept it from serving."""
    service = assemble(settings)
    found = ports.listen(settings.sca_host, settings.sca_port)
    for port in found.taken:
        announce(f"port {port} is taken")
    host = _ADDRESSES.get(settings.sca_host, settings.sca_host)
    url = f"http://[{host}]:{found.port}" if ":" in host and "[" not in host else f"http://{host}:{found.port}"
    announce(f"loading the backend {settings.sca_backend}; {url}/readyz tells when it is ready")
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Passed(logging.WARNING)], False
    serving = server(service, loaded=lambda: announce(_ready(service, url)))
    with found.socket:
        asyncio.run(serving.serve(sockets=[found.socket]))
    if service.failed is not None:
        raise service.failed


def _ready(service: Service, url: str) -> str:
    facts = service.engine.facts
    doors = "everybody who reaches it may talk" if not service.settings.keys else "a key opens it"
    return f"{url} answers with {facts.name} ({facts.model}), {service.settings.sca_slots} at a time; {doors}. Ctrl-C stops it."
