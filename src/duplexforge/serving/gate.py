"""The way in for every request: the page that asks, the key, the size of what is sent.

It stands before the application, so that no protocol can forget it, and nothing of a stranger's request is read before.
"""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duplexforge.config import ServeSettings
from duplexforge.serving.limits import Keys, offered, origin_fits

__all__ = ["Gate"]

_OPEN = frozenset({"/", "/health", "/livez", "/readyz"})
"""What is answered without a key: probes have none, and the page has to be there before it can ask for one."""
_PAGE = "/page/"
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'",
    ),
]


class Gate:
    """ASGI middleware. ``scope["state"]["owner"]`` says afterwards whose request it is."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings
        self._keys = Keys(settings.keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["type"] == "http":
            await self._app(scope, _bounded(receive, self._settings), _guarded(send, page=_is_page(scope["path"])))
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["owner"] = scope["client"][0] if scope.get("client") else ""
        if scope["path"] in _OPEN or _is_page(scope["path"]):
            return None
        if not origin_fits(headers, self._settings.origins, listens=self._settings.sca_host):
            return _error(403, "this page may not use the server: SCA_ORIGINS names those that may")
        if self._keys:
            owner = self._keys.owner(offered(headers, scope.get("subprotocols", ())))
            if owner is None:
                return _error(401, "a key is missing or wrong: send Authorization: Bearer <key>", WWW_AUTHENTICATE)
            state["owner"] = owner
        return None


WWW_AUTHENTICATE = {"WWW-Authenticate": "Bearer"}


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


def _bounded(receive: Receive, settings: ServeSettings) -> Receive:
    """A body in bounds: HTTPException for one that is too long or takes too long to come."""
    most, by = settings.sca_upload_bytes, time.monotonic() + settings.sca_upload_seconds
    got = 0
    whole = False

    async def bounded() -> Message:
        nonlocal got, whole
        if whole:  # what comes now is the client's leaving, for which a long answer may wait long
            return await receive()
        try:
            async with asyncio.timeout(max(0.0, by - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the upload took longer than {settings.sca_upload_seconds:g} s") from None
        got += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if got > most:
            raise HTTPException(413, f"at most {most} bytes are taken")
        return message

    return bounded


def _is_page(path: str) -> bool:
    return path == "/" or path.startswith(_PAGE)


def _guarded(send: Send, *, page: bool) -> Send:
    # A browser that keeps one module and fetches the next after an update would run a page that nobody wrote.
    more = [*_HEADERS, (b"cache-control", b"no-cache")] if page else _HEADERS

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return guarded
