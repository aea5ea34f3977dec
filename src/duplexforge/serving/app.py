"""The routes: probes, figures, the page, and the protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from duplexforge import __version__, log
from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.serving.backends import Manner
from duplexforge.serving.gate import Gate
from duplexforge.serving.limits import Full
from duplexforge.serving.protocols import one_shot
from duplexforge.serving.protocols.agent import Agent
from duplexforge.serving.protocols.line import hold
from duplexforge.serving.protocols.pcm16 import Pcm16
from duplexforge.serving.protocols.realtime import Realtime, RealtimeBeta, speaks_beta
from duplexforge.serving.schemas import FOLDER
from duplexforge.serving.service import Service
from duplexforge.serving.session import SessionConfig

__all__ = ["application"]

_PAGE = Path(__file__).parent / "page"
_NO_PAGE = "duplexforge serve: /health /infer_wav /ws/pcm16 /ws/<session> /v1/realtime /stats /speakers /metrics /openapi.json\n"


def application(service: Service) -> FastAPI:
    """The application of one service."""
    # Their own pages load scripts from elsewhere, which a page that sees keys should not.
    app = FastAPI(title="duplexforge serve", version=__version__, docs_url=None, redoc_url=None)
    app.state.service = service
    _probes(app, service)
    _figures(app, service)
    _sockets(app, service)
    app.include_router(one_shot.router)
    _page(app)
    _errors(app)
    app.add_middleware(Gate, settings=service.settings)
    return app


def _probes(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_class=PlainTextResponse)
    async def health() -> str:
        """Whether somebody is there."""
        return "ok"

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> Response:
        """Whether the model works, or is being loaded; 503: start the server again."""
        return _verdict(service.alive)

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz() -> Response:
        """Whether conversations may begin: the model is loaded and the server is not stopping."""
        return _verdict(service.ready)


def _figures(app: FastAPI, service: Service) -> None:
    @app.get("/stats")
    async def stats() -> dict[str, Any]:
        """What is going on, and what happened since the start."""
        return service.statistics()

    @app.get("/speakers")
    async def speakers() -> dict[str, Any]:
        """The voices, emotions and controls that a session may choose from."""
        return service.speakers()

    @app.delete("/sessions/{name}")
    async def forget(request: Request, name: str) -> dict[str, bool]:
        """Delete what is kept of a session of ours."""
        return {"deleted": service.forget(request.state.owner, name)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _sockets(app: FastAPI, service: Service) -> None:
    wanted = service.settings

    @app.websocket("/ws/pcm16")
    async def pcm16(websocket: WebSocket) -> None:
        manner = Manner(prompt=wanted.sca_qwen_system_prompt or "")
        await hold(websocket, service, Pcm16, SessionConfig(manner=manner))

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        dialect = RealtimeBeta if speaks_beta(websocket.headers, websocket.scope["subprotocols"]) else Realtime
        manner = Manner(prompt=wanted.sca_qwen_system_prompt or "")
        await hold(websocket, service, dialect, SessionConfig(manner=manner))

    @app.websocket("/ws")
    async def nameless(websocket: WebSocket) -> None:
        await hold(websocket, service, Agent, SessionConfig())

    @app.websocket("/ws/{session}")
    async def agent(websocket: WebSocket, session: str) -> None:
        await hold(websocket, service, Agent, SessionConfig(), name=session)


def _page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        index = _PAGE / "index.html"
        return FileResponse(index) if index.is_file() else PlainTextResponse(_NO_PAGE)

    app.mount("/schema", StaticFiles(directory=FOLDER), name="schema")
    if _PAGE.is_dir():
        app.mount("/page", StaticFiles(directory=_PAGE), name="page")


def _errors(app: FastAPI) -> None:
    @app.exception_handler(DuplexforgeError)
    async def ours(_: Request, error: DuplexforgeError) -> Response:
        headers = {"Retry-After": f"{error.after or 1:.0f}"} if isinstance(error, Full) else None
        return JSONResponse({"error": str(error)}, _status(error), headers)

    @app.exception_handler(HTTPException)
    async def theirs(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        log.get("serve").error("a request broke", error=str(error), exc_info=error)
        return JSONResponse({"error": "internal error"}, 500)


def _status(error: DuplexforgeError) -> int:
    if isinstance(error, Full):
        return 429 if error.reason == "per_key" else 503
    if isinstance(error, InputError | UsageError):
        return 400
    return 503 if error.exit_code in (69, 75) else 500


def _verdict(good: bool) -> Response:
    return PlainTextResponse("ok\n" if good else "no\n", 200 if good else 503)
