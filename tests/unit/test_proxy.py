"""The proxy itself: what it passes on is what was sent, whichever way it was framed, and its faults are what they say."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers.proxy_client import Proxy
from tests.servers.proxy_faults import Fault


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
            return
        if self.path == "/until-closed":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Echo(ThreadingHTTPServer):
    """Answers a POST with its body, framed as the path says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.seen: list[tuple[str, str]] = []


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(f"http://127.0.0.1:{echo.server_port}") as running:
        yield running


def post(proxy: Proxy, path: str, body: bytes, *, chunked: bool = False, target: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        headers = {"X-Amz-Target": target} if target else {}
        pieces = (body[at : at + 7000] for at in range(0, len(body), 7000))
        connection.request("POST", path, pieces if chunked else body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/sized", "/chunked", "/until-closed"])
def test_bodies_pass_however_they_are_framed(echo: Echo, proxy: Proxy, path: str, chunked: bool) -> None:
    body = bytes(range(256)) * 100
    assert post(proxy, path, body, chunked=chunked) == (200, body)
    # The host is the one the client signed.
    assert echo.seen[-1] == (path, f"127.0.0.1:{proxy.port}")


def test_an_error_is_for_what_matches(proxy: Proxy) -> None:
    proxy.arm("error", match="AmazonSQS.SendMessage", status=503, body='{"__type": "x"}', headers={"Retry-After": "3"})
    assert post(proxy, "/sized", b"a", target="AmazonSQS.ReceiveMessage") == (200, b"a")
    assert post(proxy, "/sized", b"a", target="AmazonSQS.SendMessage") == (503, b'{"__type": "x"}')
    assert post(proxy, "/sized", b"a", target="AmazonSQS.SendMessage") == (200, b"a")


def test_faults_come_after_those_to_be_skipped(proxy: Proxy) -> None:
    proxy.arm("error", match="/skip", skip=1, times=2, status=500)
    assert [post(proxy, "/skip", b"a")[0] for _ in range(4)] == [200, 500, 500, 200]


@pytest.mark.parametrize(("action", "applied"), [("lost", True), ("reset", False), ("late", False)])
def test_a_broken_connection_and_what_became_of_the_request(
    echo: Echo, proxy: Proxy, action: str, applied: bool
) -> None:
    proxy.arm(action, match=f"/{action}", delay=0.2)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(proxy, f"/{action}", b"a")
    assert (f"/{action}" in [path for path, _ in echo.seen]) is applied
    while proxy.control()["late"]:
        time.sleep(0.02)
    assert (f"/{action}" in [path for path, _ in echo.seen]) is (action != "reset")


def test_half_a_body(proxy: Proxy) -> None:
    proxy.arm("cut", match="/half")
    with pytest.raises(http.client.IncompleteRead) as cut:
        post(proxy, "/half", b"0123456789")
    assert cut.value.partial == b"01234"


def test_a_trickle_is_whole_in_the_end(proxy: Proxy) -> None:
    proxy.arm("throttle", match="/slow", rate=5_000)
    body = bytes(1500)
    assert post(proxy, "/slow", body) == (200, body)


def test_busy_strikes_whoever_comes_too_soon(proxy: Proxy) -> None:
    proxy.arm("busy", match="/busy", status=429, delay=30.0, times=9)
    assert [post(proxy, "/busy/a", b"x")[0] for _ in range(3)] == [200, 429, 429]
    assert post(proxy, "/busy/b", b"x")[0] == 200
    proxy.disarm()
    assert post(proxy, "/busy/a", b"x")[0] == 200


def test_an_action_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="explode"):
        Fault("explode")


def test_it_tells_what_struck(proxy: Proxy) -> None:
    before = proxy.fired("error")
    proxy.arm("error", match="/told")
    post(proxy, "/told", b"")
    assert proxy.fired("error") == before + 1
