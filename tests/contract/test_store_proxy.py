"""The store through a network that fails: the proxy stands between the real client and the real server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from duplexforge.errors import ConfigError, StoreError
from duplexforge.storage import Store, open_store
from tests.servers.proxy_client import Proxy
from tests.servers.s3_client import S3Server

SEED = 20


class Behind:
    """A store on a fresh bucket behind the proxy; faults are kept to that bucket."""

    def __init__(self, server: S3Server, proxy: Proxy, **changes: Any) -> None:
        self.server, self.proxy, self.bucket = server, proxy, server.fresh_bucket()
        self.store: Store = open_store(server.settings(self.bucket, endpoint=proxy.url, **changes), attempts=8)

    def arm(self, action: str, key: str = "", **fault: Any) -> None:
        self.proxy.arm(action, match=f"/{self.bucket}{key and '/' + key}", **fault)


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(s3_server.url) as running:
        yield running


@pytest.fixture
def behind(s3_server: S3Server, proxy: Proxy) -> Iterator[Behind]:
    proxy.control(seed=SEED)
    yield Behind(s3_server, proxy, store_timeout=1.0)
    proxy.disarm()


def test_what_is_not_struck_passes_unchanged(behind: Behind, tmp_path: Path) -> None:
    body = bytes(range(256)) * 40_000
    behind.store.put("a", body)
    assert behind.store.download("a", tmp_path / "a") == hashlib.sha256(body).hexdigest()
    file = tmp_path / "a"
    behind.store.upload(file, "parts")
    assert behind.store.get("parts") == body
    assert [meta.key for meta in behind.store.list("")] == ["a", "parts"]
    behind.store.delete(["a", "parts"])
    assert behind.store.head("a") is None


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable")])
def test_bursts_of_errors_cost_time_only(behind: Behind, status: int, code: str) -> None:
    behind.arm("error", status=status, code=code, times=12, p=0.5)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: behind.store.put_if_absent(f"k/{number}", b"x"), range(30)))
        bodies = list(pool.map(lambda number: behind.store.get(f"k/{number}"), range(30)))
    assert bodies == [b"x"] * 30
    assert behind.proxy.fired("error") > 0


def test_lost_answers_of_creations_are_resolved(behind: Behind) -> None:
    behind.arm("lost", method="PUT", times=10, p=0.4)
    with ThreadPoolExecutor(8) as pool:
        for number in range(4):
            bodies = [f"{number}-{writer}".encode() for writer in range(8)]
            won = list(pool.map(lambda body, key=f"r{number}": behind.store.put_if_absent(key, body), bodies))
            winners = [body for body, mine in zip(bodies, won, strict=True) if mine]
            assert winners == [behind.store.get(f"r{number}")]
    assert behind.proxy.fired("lost") > 0


def test_a_late_creation_cannot_replace_what_was_created_meanwhile(behind: Behind) -> None:
    behind.arm("late", "k", method="PUT", delay=0.4)
    assert behind.store.put_if_absent("k", b"mine") is True
    behind.store.delete("k")
    assert behind.store.put_if_absent("k", b"theirs") is True
    while behind.proxy.control()["late"]:
        time.sleep(0.02)
    assert behind.store.get("k") == b"theirs"


def test_a_conflict_is_tried_again_on_any_request(behind: Behind) -> None:
    conflict = {"status": 409, "code": "OperationAborted"}
    for method, request, expected in (
        ("PUT", lambda: behind.store.put_if_absent("k", b"x"), True),
        ("PUT", lambda: behind.store.put("k", b"y"), None),
        ("GET", lambda: behind.store.get("k"), b"y"),
        ("GET", lambda: [meta.key for meta in behind.store.list("")], ["k"]),
        ("POST", lambda: behind.store.delete("k"), None),
    ):
        behind.arm("error", method=method, **conflict)
        assert request() == expected
    assert behind.proxy.control()["armed"] == 0


def test_one_write_a_second_to_a_key_is_waited_for(behind: Behind) -> None:
    before = behind.proxy.fired("busy")
    behind.arm("busy", "lease", method="PUT", status=429, delay=1.0, times=100, headers={"Retry-After": "1"})
    for body in (b"1", b"2", b"3"):
        behind.store.put("lease", body)
    assert behind.store.get("lease") == b"3"
    assert behind.proxy.fired("busy") > before


def test_a_reset_connection_is_made_again(behind: Behind) -> None:
    behind.arm("reset", times=3)
    assert behind.store.put_if_absent("k", b"x") is True
    assert behind.store.get("k") == b"x"


@pytest.mark.parametrize("action", ["cut", "stall"])
def test_a_body_that_ends_or_stalls_halfway_is_fetched_again(behind: Behind, action: str, tmp_path: Path) -> None:
    body = hashlib.sha256(b"seed").digest() * 20_000
    behind.store.put("k", body)
    behind.arm(action, "k", method="GET", delay=30.0)
    assert behind.store.download("k", tmp_path / "file") == hashlib.sha256(body).hexdigest()
    behind.arm(action, "k", method="GET", delay=30.0)
    assert behind.store.get("k") == body


def test_a_trickle_is_given_up(s3_server: S3Server, proxy: Proxy, tmp_path: Path) -> None:
    behind = Behind(s3_server, proxy, store_timeout=0.5)
    impatient = open_store(s3_server.settings(behind.bucket, endpoint=proxy.url, store_timeout=0.5), attempts=1)
    behind.store.put("k", bytes(200_000))
    behind.arm("throttle", "k", method="GET", rate=8_000)
    with pytest.raises(StoreError, match="kB/s") as slow:
        impatient.download("k", tmp_path / "file")
    assert slow.value.reason == "slow"
    assert behind.store.download("k", tmp_path / "file") == hashlib.sha256(bytes(200_000)).hexdigest()


def test_a_file_in_parts_is_looked_at_when_it_is_there(behind: Behind, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(bytes(6 << 20))
    for method in ("PUT", "POST", "HEAD"):
        behind.arm("error", "big", method=method)
        assert behind.store.upload(file, "big") is True
    assert behind.store.head("big").size == 6 << 20  # type: ignore[union-attr]


def test_uploads_in_parts_that_failed_leave_no_parts_behind(behind: Behind, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(bytes(11 << 20))
    behind.arm("error", "big", method="PUT", p=0.3, times=6)
    for number in range(4):
        behind.store.upload(file, f"big-{number}")
    assert behind.proxy.fired("error") > 0
    assert behind.server.control()["unfinished"][behind.bucket] == 0


def test_a_lost_completion_of_parts_leaves_a_whole_file(behind: Behind, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(hashlib.sha256(b"x").digest() * 200_000)
    behind.arm("lost", "big?uploadId", method="POST")
    assert behind.store.upload(file, "big") is True
    assert behind.store.download("big", tmp_path / "back") == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "ExpiredToken", "session token has expired"),
        (501, "NotImplemented", "does not take"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "SignatureDoesNotMatch", "access key"),
    ],
)
def test_what_no_second_try_can_mend_is_the_configurations_fault(
    behind: Behind, status: int, code: str, told: str
) -> None:
    behind.arm("error", status=status, code=code)
    with pytest.raises(ConfigError, match=told) as refused:
        behind.store.put("k", b"x")
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
def test_a_bucket_of_another_region_is_told(s3_server: S3Server, proxy: Proxy, status: int, code: str) -> None:
    behind = Behind(s3_server, proxy)
    behind.store = open_store(s3_server.settings(behind.bucket, endpoint=proxy.url), attempts=1)
    elsewhere = {"Location": f"http://127.0.0.1:1/{behind.bucket}/k"}
    for headers in ({}, elsewhere):
        behind.arm("error", status=status, code=code, headers=headers)
        with pytest.raises(StoreError, match="AWS_REGION") as sent:
            behind.store.put("k", b"x")
        assert sent.value.reason == "redirected"


def test_a_passing_redirect_is_ridden_out(behind: Behind) -> None:
    behind.arm("error", status=307, code="TemporaryRedirect", times=2)
    assert behind.store.put_if_absent("k", b"x") is True


def test_a_store_that_knows_no_conditions_is_refused_with_what_to_use(behind: Behind) -> None:
    behind.arm("error", method="PUT", status=501, code="NotImplemented")
    with pytest.raises(ConfigError, match=r"does not take create-if-absent.*use AWS S3, Cloudflare R2.*folder"):
        behind.store.probe()
