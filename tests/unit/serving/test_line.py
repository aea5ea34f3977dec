"""How sessions begin, how they end, and with which code."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import websockets.sync.client as sockets
from websockets.exceptions import ConnectionClosed

from duplexforge.errors import ModelError
from duplexforge.serving.engine import Engine
from duplexforge.serving.service import Service
from tests.unit.serving.broken import Breaks, Missing, Slow
from tests.unit.serving.running import PATIENCE, Running, running, settings, wait_until
from tests.unit.serving.test_app import get

SPEECH = b"\1\2" * 1600


def last_words(client: sockets.ClientConnection) -> tuple[list[dict[str, Any]], int | None, str]:
    """What else it is told, and how it ends."""
    told = []
    try:
        while True:
            told.append(json.loads(client.recv(PATIENCE)))
    except ConnectionClosed as closed:
        end = closed.rcvd
        return told, end.code if end else None, end.reason if end else ""


@pytest.mark.parametrize("path", ["/ws/pcm16", "/ws/one-more"])
def test_one_more_than_there_is_room_for_is_refused_at_once(path: str) -> None:
    with running(sca_slots=2) as server, ExitStack() as stack:
        for number in range(2):
            client = stack.enter_context(sockets.connect(f"{server.ws}/ws/{number}"))
            client.recv(PATIENCE)
        with sockets.connect(server.ws + path) as refused:
            told, code, reason = last_words(refused)
        assert code == 1013
        assert "error" in told[0]
        assert "come back" in reason
        assert path == "/ws/pcm16" or told[0]["retry_after"] > 0
        client.close()
        wait_until(lambda: server.service.engine.taken == 1)
        with sockets.connect(server.ws + path):
            wait_until(lambda: server.service.engine.taken == 2)
        assert server.service.statistics()["refused"]["full"] >= 1
        assert 'duplexforge_serve_refused_total{why="full"}' in get(server.url + "/metrics")[1]


def test_one_that_says_nothing_is_idle() -> None:
    with running(sca_idle_seconds=0.2) as server, sockets.connect(server.ws + "/ws/pcm16") as client:
        told, code, reason = last_words(client)
        assert (told, code, reason) == ([], 1008, "idle for 0.2 s")


def test_one_that_goes_on_is_not() -> None:
    with running(sca_idle_seconds=1.0) as server, sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        for number in range(30):
            client.send(json.dumps({"type": "ping", "id": number}))
            client.recv(PATIENCE)
            threading.Event().wait(0.05)
        assert server.service.statistics()["active_sessions"] == 1


def test_a_session_has_its_time() -> None:
    with running(sca_session_seconds=0.3) as server, sockets.connect(server.ws + "/ws/pcm16") as client:
        client.send(SPEECH)
        _, code, reason = last_words(client)
        assert (code, reason) == (1008, "the session's time is over")
        assert server.service.statistics()["closed"] == {"1008": 1}


def test_a_message_that_is_wrong_ends_nothing() -> None:
    with running() as server, sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        for wrong in ("", "{", "[" * 10_000, '{"type": "audio", "audio": "%%"}', b"\0\1", '{"a": 1, "a": 1}', "\0"):
            client.send(wrong)
            assert json.loads(client.recv(PATIENCE))["type"] == "error"
        client.send('{"type": "ping"}')
        assert json.loads(client.recv(PATIENCE))["type"] == "pong"


@pytest.mark.parametrize("name", ["a b", "-x", "..", ".x", "x" * 65, "ü", "a\\b", "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    with running() as server, ExitStack() as stack:
        client = stack.enter_context(sockets.connect(f"{server.ws}/ws/{quote(name)}"))
        told, code, _ = last_words(client)
        assert code == 1008
        assert "name" in told[0]["error"]


def test_a_session_is_open_once() -> None:
    with running() as server, sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        with sockets.connect(server.ws + "/ws/me") as again:
            told, code, _ = last_words(again)
            assert (told[0]["code"], code) == ("in_use", 1008)


def test_what_is_kept_of_a_session_can_be_deleted(tmp_path: Path) -> None:
    with running(sca_sessions_dir=str(tmp_path)) as server:
        with sockets.connect(server.ws + "/ws/me") as client:
            client.recv(PATIENCE)
            client.send('{"type": "config", "config": {"emotion": "happy"}}')
            client.recv(PATIENCE)
            assert get(server.url + "/sessions/me", "DELETE")[0] == 400
        wait_until(lambda: any(path.is_file() for path in tmp_path.rglob("*")))
        wait_until(lambda: server.service.quiet)
        assert json.loads(get(server.url + "/sessions/me", "DELETE")[1]) == {"deleted": True}
        assert json.loads(get(server.url + "/sessions/me", "DELETE")[1]) == {"deleted": False}
        assert json.loads(get(server.url + "/sessions/%2e%2e", "DELETE")[1]) in (
            {"deleted": False},
            {"error": "Not Found"},
        )
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# -- draining ----------------------------------------------------------------------------------------------------------


def test_a_server_that_stops_lets_conversations_finish() -> None:
    server = Running(settings(sca_drain_seconds=PATIENCE))
    wait_until(lambda: server.service.ready)
    with sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        server.stop()
        assert get(server.url + "/readyz")[0] == 503
        assert get(server.url + "/livez")[0] == 200
        with sockets.connect(server.ws + "/ws/late") as late:
            assert last_words(late)[1] == 1013
        client.send('{"type": "ping"}')
        assert json.loads(client.recv(PATIENCE))["type"] == "pong"
    server.join()


def test_and_then_breaks_them_off() -> None:
    with running(sca_drain_seconds=0.2) as server, sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        server.stop()
        assert last_words(client)[1:] == (1001, "the server is stopping")
        server.join()


# -- models that fail --------------------------------------------------------------------------------------------------


def odd(backend: Any) -> Running:
    """A server with another backend."""
    wanted = settings(sca_drain_seconds=0.0)
    return Running(wanted, service=Service(Engine(backend), wanted))


def test_a_model_that_breaks_ends_every_session_and_does_not_look_alive(capsys: pytest.CaptureFixture[str]) -> None:
    server = odd(Breaks(None))
    wait_until(lambda: server.service.ready)
    with sockets.connect(server.ws + "/ws/one") as one, sockets.connect(server.ws + "/ws/pcm16") as two:
        one.recv(PATIENCE)
        two.send(SPEECH)
        ends = [last_words(client) for client in (one, two)]
    assert [code for _, code, _ in ends] == [1011, 1011]
    assert "insides" not in json.dumps(ends)
    assert get(server.url + "/livez")[0] == get(server.url + "/readyz")[0] == 503
    with sockets.connect(server.ws + "/ws/three") as three:
        assert last_words(three)[1] == 1011
    server.stop()
    server.join()
    assert "insides" in capsys.readouterr().err


def test_while_the_model_is_being_loaded_people_are_told_to_come_back() -> None:
    backend = Slow(None)
    server = odd(backend)
    try:
        wait_until(lambda: get(server.url + "/livez")[0] == 200)
        assert get(server.url + "/readyz")[0] == 503
        assert json.loads(get(server.url + "/stats")[1])["model"] == ""
        with sockets.connect(server.ws + "/ws/early") as early:
            told, code, _ = last_words(early)
            assert (told[0]["code"], code) == ("loading", 1013)
    finally:
        backend.go_on.set()
    wait_until(lambda: server.service.ready)
    server.stop()
    server.join()


def test_a_model_that_is_not_there_ends_the_server() -> None:
    server = odd(Missing(None))
    server.join()
    assert isinstance(server.service.failed, ModelError)
    assert "no weights" in str(server.service.failed)
