"""Clients with bad manners: each ends in a close code or a status, and those beside them notice nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import websockets.sync.client as sockets

from tests.unit.serving.running import (
    BINARY,
    CONTINUED,
    PATIENCE,
    PING,
    TEXT,
    Raw,
    Running,
    frame,
    running,
    wait_until,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(
        sca_frame_bytes=65536, sca_handshake_seconds=0.4, sca_send_seconds=0.4, sca_messages_per_second=1e6
    ) as found:
        yield found


@contextmanager
def neighbour(server: Running) -> Iterator[None]:
    """Somebody else's session, which lives on."""
    with sockets.connect(server.ws + "/ws/neighbour") as client:
        client.recv(PATIENCE)
        yield
        client.send('{"type": "ping", "id": 4}')
        assert json.loads(client.recv(PATIENCE))["id"] == 4


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_giant_frame_is_not_even_read(server: Running, opcode: int) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        # Its head alone: the size is known before any of it has come.
        client.socket.sendall(frame(opcode, bytes(70_000))[:14])
        assert client.closed() == 1009


def test_a_message_in_fragments_may_not_be_longer_either(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        client.frame(BINARY, bytes(40_000), last=False)
        client.frame(CONTINUED, bytes(40_000), last=False)
        assert client.closed() == 1009


def test_fragments_of_nothing(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        client.socket.sendall(frame(BINARY, b"", last=False) + 1000 * frame(CONTINUED, b"", last=False))
        assert client.closed() == 1009


def test_ordinary_fragments_are_one_message(server: Running) -> None:
    with sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        client.send(['{"type": ', '"ping", ', '"id": 7}'])
        assert json.loads(client.recv(PATIENCE))["id"] == 7


def test_compression_is_not_agreed_on(server: Running) -> None:
    with sockets.connect(server.ws + "/ws/pcm16", compression="deflate") as client:
        assert client.protocol.extensions == []
    bomb = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    with neighbour(server), Raw(server.ws, "/ws/pcm16", headers=bomb) as raw:
        assert b"deflate" not in raw.head
        raw.socket.sendall(bytes([0xC2]) + frame(BINARY, bytes(100))[1:])
        assert raw.closed() == 1002


def test_text_that_is_none(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        client.frame(TEXT, b"\xff\xfe")
        assert client.closed() == 1007


def test_frames_that_are_not_masked(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        client.socket.sendall(bytes([0x82, 2, 0, 0]))
        assert client.closed() == 1002


def test_many_tiny_frames_are_taken_one_after_the_other(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pcm16") as client:
        client.socket.sendall(20_000 * frame(BINARY, b"\0") + frame(TEXT, b"{}") + frame(TEXT, b"what"))
        client.socket.sendall(frame(8, (1000).to_bytes(2, "big")))
        assert client.closed() == 1000


def overwhelm(server: Running, client: Raw, message: bytes) -> None:
    """Send ``message`` again and again, whole, and read no answer, until the session is over."""
    client.socket.setblocking(False)
    rest = b""
    by = time.monotonic() + PATIENCE
    while server.service.statistics()["active_sessions"] == 2:
        assert time.monotonic() < by
        rest = rest or message
        try:
            rest = rest[client.socket.send(rest) :]
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return
    client.socket.settimeout(PATIENCE)


LONG = frame(TEXT, b'{"type": "config", "config": {"prompt": "' + b"x" * 16_000 + b'"}}')


def test_a_reader_that_never_reads_is_let_go(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/lazy", receive=4096) as client:
        wait_until(lambda: server.service.statistics()["active_sessions"] == 2)
        overwhelm(server, client, LONG)
        wait_until(lambda: server.service.statistics()["active_sessions"] == 1)
        wait_until(lambda: len(server.server.server_state.connections) == 1)


def test_one_that_reads_again_in_time_sees_why(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/slow", receive=2**18) as client:
        wait_until(lambda: server.service.statistics()["active_sessions"] == 2)
        overwhelm(server, client, LONG)
        assert client.closed() == 1008


def test_pings_whose_pongs_nobody_reads(server: Running) -> None:
    with neighbour(server), Raw(server.ws, "/ws/pings", receive=4096) as client:
        wait_until(lambda: server.service.statistics()["active_sessions"] == 2)
        overwhelm(server, client, 1000 * frame(PING, bytes(125)))
        wait_until(lambda: server.service.statistics()["active_sessions"] == 1)


def test_clients_that_vanish_leave_their_slots(server: Running) -> None:
    for _ in range(3 * server.service.settings.sca_slots):
        client = Raw(server.ws, "/ws/pcm16")
        client.frame(BINARY, bytes(3201))
        # A reset, as from a machine that lost its power and came back.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        client.socket.close()
        wait_until(lambda: server.service.engine.taken == 0)


def test_one_that_hung_up_behind_much_that_it_sent_leaves_its_slot() -> None:
    with running(sca_messages_per_second=1.0) as server:
        with Raw(server.ws, "/ws/pcm16") as client:
            client.socket.sendall(20_000 * frame(BINARY, bytes(2)))
            wait_until(lambda: server.service.engine.taken == 1)
        # At one a second it would take hours to read all of it.
        wait_until(lambda: server.service.engine.taken == 0)


# -- before there is a session -----------------------------------------------------------------------------------------


def answer(server: Running, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back for ``pieces`` until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        got = b""
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            while more := client.recv(4096):
                got += more
        except ConnectionError:
            pass
        return got


def test_one_that_says_nothing(server: Running) -> None:
    assert answer(server).startswith(b"HTTP/1.1 408")


def test_a_head_that_drips(server: Running) -> None:
    drops = [b"GET / HTTP/1.1\r\n", *[b"X-Drop: 1\r\n"] * 40]
    assert answer(server, *drops, pause=0.05)[:12] in (b"HTTP/1.1 408", b"")


def test_a_head_without_end(server: Running) -> None:
    assert answer(server, b"GET / HTTP/1.1\r\nX: ", *[b"a" * 8192] * 40)[:12] in (b"HTTP/1.1 431", b"")


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"\0" * 100])
def test_what_is_no_http(server: Running, rubbish: bytes) -> None:
    assert answer(server, rubbish)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408")


def test_a_connection_may_be_used_again(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        for _ in range(3):
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while not got.endswith(b"ok"):
                got += client.recv(4096)
            assert got.startswith(b"HTTP/1.1 200")


def test_one_whose_network_is_gone_is_noticed() -> None:
    with running(ping=0.1) as server, sockets.connect(server.ws + "/ws/me") as lively:
        # It never reads, so it never answers a ping; its system takes everything in, as that of a machine behind a dead link.
        with Raw(server.ws, "/ws/dead"):
            wait_until(lambda: server.service.engine.taken == 2)
            wait_until(lambda: server.service.engine.taken == 1)
        lively.send('{"type": "ping"}')
        assert lively.recv(PATIENCE)
