"""The routes, the keys, the pages that may, and errors that tell nothing of our insides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib import error, request

import jsonschema
import pytest
import websockets.sync.client as sockets
from websockets.exceptions import InvalidStatus

from duplexforge.serving import schemas
from tests.unit.serving.running import Running, running

KEYS = "canary-key-one,canary-key-two"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(sca_origins="https://app.example") as found:
        yield found


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with running(sca_keys=KEYS, sca_sessions_per_key=1) as found:
        yield found


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """Status, body, headers."""
    asked = request.Request(url, method=method, headers={name.replace("_", "-"): one for name, one in headers.items()})
    try:
        with request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode(), refused.headers


def test_probes(server: Running) -> None:
    assert get(server.url + "/health")[:2] == (200, "ok")
    assert get(server.url + "/livez")[:2] == (200, "ok\n")
    assert get(server.url + "/readyz")[:2] == (200, "ok\n")


def test_figures(server: Running) -> None:
    stats = json.loads(get(server.url + "/stats")[1])
    assert stats["backend"] == "echo"
    assert stats["active_sessions"] == 0
    assert {"total_sessions", "interruptions", "false_alarms", "average_latency", "engine"} <= set(stats)
    assert json.loads(get(server.url + "/speakers")[1])["speakers"] == []
    assert "duplexforge_serve_sessions 0" in get(server.url + "/metrics")[1]


def test_the_description_names_every_route(server: Running) -> None:
    described = json.loads(get(server.url + "/openapi.json")[1])
    assert {"/health", "/livez", "/readyz", "/stats", "/speakers", "/metrics", "/infer_wav"} <= set(described["paths"])
    assert get(server.url + "/docs")[0] == 404


@pytest.mark.parametrize("name", schemas.rendered())
def test_the_schemas_are_served(server: Running, name: str) -> None:
    assert json.loads(get(f"{server.url}/schema/{name}")[1])["$defs"]


def test_something_stands_at_the_root_and_loads_nothing_from_elsewhere(server: Running) -> None:
    status, body, headers = get(server.url + "/")
    assert status == 200
    assert body
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/schema/../app.py", 404), ("/infer_wav", 405)])
def test_errors_are_one_sentence(server: Running, path: str, status: int) -> None:
    found, body, _ = get(server.url + path)
    assert found == status
    assert set(json.loads(body)) == {"error"}


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "fits"),
    [("https://app.example", True), ("https://evil.example", False), ("null", False), ("own", True)],
)
def test_only_our_pages_may(server: Running, origin: str, fits: bool) -> None:
    origin = server.url if origin == "own" else origin
    assert get(server.url + "/stats", origin=origin)[0] == (200 if fits else 403)
    if fits:
        with sockets.connect(server.ws + "/ws/pcm16", origin=origin):  # type: ignore[arg-type]
            pass
    else:
        with pytest.raises(InvalidStatus) as refused:
            sockets.connect(server.ws + "/ws/pcm16", origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403


def test_a_name_that_was_bent_to_this_machine_is_not_ours(server: Running) -> None:
    host = f"evil.example:{server.port}"
    assert get(server.url + "/stats", host=host, origin=f"http://{host}")[0] == 403


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/livez", "/readyz"])
def test_what_needs_no_key(locked: Running, path: str) -> None:
    assert get(locked.url + path)[0] == 200


@pytest.mark.parametrize("path", ["/stats", "/speakers", "/metrics", "/openapi.json", "/schema/agent.json", "/nothing"])
def test_what_needs_one(locked: Running, path: str) -> None:
    status, body, headers = get(locked.url + path)
    assert status == 401
    assert "Bearer" in headers["www-authenticate"]
    assert "canary" not in body
    assert get(locked.url + path, authorization="Bearer canary-key-thr")[0] == 401
    assert get(locked.url + path, authorization="Bearer canary-key-two")[0] != 401
    assert get(f"{locked.url}{path}?key=canary-key-two")[0] == 401


@pytest.mark.parametrize("path", ["/ws/pcm16", "/ws/me", "/ws"])
def test_sockets_need_one(locked: Running, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        sockets.connect(locked.ws + path)
    assert refused.value.response.status_code == 401
    with sockets.connect(locked.ws + path, additional_headers={"Authorization": "Bearer canary-key-one"}):
        pass


@pytest.mark.parametrize("name", ["bearer.", "openai-insecure-api-key."])
def test_a_browser_shows_its_key_as_a_subprotocol_and_does_not_get_it_back(locked: Running, name: str) -> None:
    offered: Any = ["duplexforge", name + "canary-key-one"]
    with sockets.connect(locked.ws + "/ws/me", subprotocols=offered) as client:
        assert client.subprotocol == "duplexforge"
    with pytest.raises(InvalidStatus):
        sockets.connect(locked.ws + "/ws/me", subprotocols=["duplexforge", name + "wrong"])  # type: ignore[list-item]


def test_one_key_may_have_so_many_sessions(locked: Running) -> None:
    one, two = ({"Authorization": f"Bearer {key}"} for key in KEYS.split(","))
    with sockets.connect(locked.ws + "/ws/a", additional_headers=one) as first:
        first.recv(30)
        with sockets.connect(locked.ws + "/ws/b", additional_headers=one) as second:
            assert json.loads(second.recv(30))["code"] == "per_key"
        with sockets.connect(locked.ws + "/ws/c", additional_headers=two) as third:
            assert json.loads(third.recv(30))["type"] == "metadata"


# -- schemas -----------------------------------------------------------------------------------------------------------


def test_the_schemas_are_those_of_the_models() -> None:
    for name, text in schemas.rendered().items():
        kept = (schemas.FOLDER / name).read_text(encoding="utf-8")
        assert kept == text, "python -m duplexforge.serving.schemas writes them anew"
    assert {path.name for path in Path(schemas.FOLDER).iterdir()} == set(schemas.rendered())


def test_what_is_said_fits_them(server: Running) -> None:
    content = json.loads((schemas.FOLDER / "agent.json").read_text(encoding="utf-8"))
    sides = {
        side: jsonschema.Draft202012Validator({**content["properties"][side], "$defs": content["$defs"]})
        for side in ("in", "out")
    }
    said = [{"type": "config", "config": {"mode": "turn"}}, {"type": "ping"}, {"type": "shout"}, {"type": "interrupt"}]
    with sockets.connect(server.ws + "/ws/me") as client:
        sides["out"].validate(json.loads(client.recv(30)))
        for message in said:
            assert sides["in"].is_valid(message) is (message["type"] != "shout")
            client.send(json.dumps(message))
        for _ in said[:3]:
            sides["out"].validate(json.loads(client.recv(30)))
