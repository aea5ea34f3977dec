"""The guard inside requests: an adapter whose every connection, after every redirect too, is made by ``Guard.connect``.

Both our own GET and yt-dlp go through it; nothing of the process is patched. This module loads requests, so it is
imported where a download begins.
"""

from __future__ import annotations

import socket
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from duplexforge.downloading.guard import Guard


class GuardedAdapter(HTTPAdapter):
    """Sends requests only where ``guard`` allows. Raises InputError(``refused``) otherwise."""

    def __init__(self, guard: Guard, **settings: Any) -> None:
        # The base class builds its pools while it is made.
        self._guard = guard
        super().__init__(**settings)

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """As requests does, with pools whose connections the guard makes."""
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = guarded_pools(self._guard)

    def send(self, request: PreparedRequest, *args: Any, **settings: Any) -> Response:
        """Send one hop: requests calls this again for each redirect."""
        check_hop(self._guard, request.url or "", settings.get("proxies"))
        return super().send(request, *args, **settings)


def check_hop(guard: Guard, url: str, proxies: Any) -> None:
    """The look before a request. Behind a proxy it is the last one on our side, so the name is looked up as well."""
    if proxies and any(proxies.values()):
        guard.check_resolved(url)
    else:
        guard.check(url)


def guarded_pools(guard: Guard) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools by scheme, with connections that ``guard`` makes."""

    def connected(self: HTTPConnection) -> socket.socket:
        # The same errors as urllib3's own method, which callers tell apart.
        timeout = self.timeout if isinstance(self.timeout, int | float) else None
        try:
            return guard.connect(self._dns_host, self.port, timeout, self.socket_options or ())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(
                self, f"Connection to {self.host} timed out (connect timeout={timeout})"
            ) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    class Plain(HTTPConnection):
        _new_conn = connected

    class Secure(HTTPSConnection):
        _new_conn = connected

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
