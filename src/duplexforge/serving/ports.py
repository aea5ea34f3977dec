"""Where the server listens: the port that was asked for, or the first free one of three."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from duplexforge.errors import ConfigError

__all__ = ["PORTS", "Listening", "listen"]

PORTS = (8000, 8080, 8010)


class Listening(NamedTuple):
    """A socket that listens. ``taken`` are the ports that were tried before."""

    socket: socket.socket
    port: int
    taken: tuple[int, ...]


def listen(host: str, port: int | None) -> Listening:
    """Listen on ``host`` at ``port``; None: 8000, else 8080, else 8010. ConfigError when that cannot be.

    The socket is bound here and handed on, so that nobody can take the port between the look and the use.
    """
    taken: list[int] = []
    for number in PORTS if port is None else (port,):
        try:
            bound = _bind(host, number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(f"cannot listen on {host}:{number}: {error.strerror or error}") from error
            taken.append(number)
        else:
            return Listening(bound, bound.getsockname()[1], tuple(taken))
    if port is None:
        raise ConfigError(
            f"the ports {', '.join(map(str, PORTS))} are all taken on {host}: name a free one with --port"
        )
    raise ConfigError(f"port {port} is taken on {host}: name another with --port, or none to try {PORTS}")


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of a server that ended a moment ago do not count as one that still listens.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except BaseException:
        bound.close()
        raise
    return bound
