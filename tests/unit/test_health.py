"""livez, readyz and metrics over real HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from duplexforge import health, metrics
from duplexforge.errors import ConfigError

STATE = {"alive": True, "ready": False}


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    STATE.update(alive=True, ready=False)
    served = health.serve(0, alive=lambda: STATE["alive"], ready=lambda: STATE["ready"], host="127.0.0.1")
    yield served
    served.shutdown()
    served.server_close()


def ask(server: ThreadingHTTPServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_follow_the_state(server: ThreadingHTTPServer) -> None:
    assert ask(server, "/livez")[0] == 200
    assert ask(server, "/readyz")[0] == 503
    STATE.update(alive=False, ready=True)
    assert ask(server, "/livez")[0] == 503
    assert ask(server, "/readyz") == (200, "ok\n")


def test_metrics_are_prometheus_text(server: ThreadingHTTPServer) -> None:
    metrics.TASKS.labels("health-test", "completed", "").inc()
    status, text = ask(server, "/metrics")
    assert status == 200
    assert 'duplexforge_tasks_total{outcome="completed",reason="",stage="health-test"} 1.0' in text


def test_other_pages_are_not_found(server: ThreadingHTTPServer) -> None:
    assert ask(server, "/")[0] == 404
    assert ask(server, "/../etc/passwd")[0] == 404


def test_a_taken_port_is_the_configurations_fault(server: ThreadingHTTPServer) -> None:
    with pytest.raises(ConfigError, match=str(server.server_port)):
        health.serve(server.server_port, alive=lambda: True, ready=lambda: True, host="127.0.0.1")


def test_more_pages_stand_beside_the_three_or_in_their_place() -> None:
    pages = {
        "/status.json": lambda: (200, b"{}", "application/json"),
        "/metrics": lambda: (503, b"not yet", "text/plain"),
    }
    served = health.serve(0, alive=lambda: True, ready=lambda: True, host="127.0.0.1", pages=pages)
    try:
        assert ask(served, "/status.json") == (200, "{}")
        assert ask(served, "/metrics") == (503, "not yet")
        assert ask(served, "/livez")[0] == 200
        assert ask(served, "/else") == (404, "livez, metrics, readyz, status.json\n")
    finally:
        served.shutdown()
        served.server_close()
