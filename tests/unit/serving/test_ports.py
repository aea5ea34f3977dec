"""Ports: the first free of three, or the one that was asked for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from duplexforge.errors import ConfigError
from duplexforge.serving import ports


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Three ports of our own in place of 8000, 8080 and 8010, each held by a socket that listens."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    monkeypatch.setattr(ports, "PORTS", tuple(one.getsockname()[1] for one in held))
    yield held
    for one in held:
        one.close()


def test_the_ports_of_the_contract() -> None:
    assert ports.PORTS == (8000, 8080, 8010)


@pytest.mark.parametrize("free", [0, 1, 2])
def test_the_first_free_one_is_taken(three: list[socket.socket], free: int) -> None:
    for one in three[free:]:
        one.close()
    found = ports.listen("127.0.0.1", None)
    with closing(found.socket):
        assert found.port == ports.PORTS[free]
        assert found.taken == ports.PORTS[:free]
        socket.create_connection(("127.0.0.1", found.port)).close()


def test_none_is_free(three: list[socket.socket]) -> None:
    with pytest.raises(ConfigError, match="all taken"):
        ports.listen("127.0.0.1", None)


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(three: list[socket.socket]) -> None:
    with pytest.raises(ConfigError, match=f"port {ports.PORTS[0]} is taken"):
        ports.listen("127.0.0.1", ports.PORTS[0])


def test_any_free_port() -> None:
    with closing(ports.listen("127.0.0.1", 0).socket) as found:
        assert found.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        ports.listen(host, 0)
