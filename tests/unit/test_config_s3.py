"""The store's settings as the S3 client takes them, and what then goes over the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from duplexforge.config import StoreSettings
from duplexforge.config.s3 import addressing, credentials, s3_options
from duplexforge.storage import open_store

R2 = "https://account.r2.cloudflarestorage.com"


def settings(**fields: Any) -> StoreSettings:
    return StoreSettings(_env_file=None, **fields)


@pytest.mark.parametrize(
    ("endpoint", "how", "bucket", "wanted"),
    [
        (None, "auto", "b", (None, True)),
        (None, "auto", "b.with.dots", (None, False)),
        (None, "path", "b", (None, False)),
        (R2, "auto", "b", (R2, False)),
        (R2, "path", "b", (R2, False)),
        (R2, "virtual", "b", ("https://b.account.r2.cloudflarestorage.com", True)),
        (
            "https://b.account.r2.cloudflarestorage.com",
            "virtual",
            "b",
            ("https://b.account.r2.cloudflarestorage.com", True),
        ),
        ("http://localhost:9000", "virtual", "b", ("http://b.localhost:9000", True)),
    ],
)
def test_where_requests_for_a_bucket_go(endpoint: str | None, how: str, bucket: str, wanted: object) -> None:
    assert addressing(settings(endpoint=endpoint, s3_addressing=how), bucket) == wanted


def test_a_region_nobody_named_is_us_east_1_on_aws_and_auto_elsewhere() -> None:
    assert s3_options(settings(), "b")["region"] == "us-east-1"
    assert s3_options(settings(endpoint=R2), "b")["region"] == "auto"
    assert s3_options(settings(aws_region="eu-west-3"), "b")["region"] == "eu-west-3"


def test_the_region_is_found_under_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert settings().aws_region == "eu-north-1"
    monkeypatch.setenv("AWS_REGION", "eu-south-1")
    assert settings().aws_region == "eu-south-1"


def test_aws_session_tokens_never_go_to_r2() -> None:
    keys = {"access_key_id": "k", "secret_access_key": "s", "aws_session_token": "aws"}
    assert credentials(settings(**keys))["token"] == "aws"
    assert credentials(settings(endpoint="http://127.0.0.1:1", **keys))["token"] == "aws"
    assert credentials(settings(endpoint=R2, **keys))["token"] is None
    assert credentials(settings(endpoint=R2, r2_session_token="r2", **keys))["token"] == "r2"


def test_no_key_leaves_the_identity_to_the_platform() -> None:
    assert "credential_provider" not in s3_options(settings(), "b")


def test_a_word_that_is_no_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ADDRESSING", "sideways")
    with pytest.raises(ValueError, match=r"s3_addressing|S3_ADDRESSING"):
        settings()


class Listener(ThreadingHTTPServer):
    """Answers everything with success and remembers the headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Heard)
        self.heard: list[dict[str, str]] = []


class _Heard(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent(listener: Listener, **fields: Any) -> dict[str, str]:
    """The headers of a conditional write."""
    wanted = settings(
        store_url="s3://bucket", endpoint=f"http://127.0.0.1:{listener.server_port}",
        access_key_id="key", secret_access_key="secret", **fields,
    )  # fmt: skip
    assert open_store(wanted).put_if_absent("a", b"hello") is True
    return listener.heard.pop()


def test_a_write_is_conditional_and_signed_with_its_hash(listener: Listener) -> None:
    headers = sent(listener)
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-content-sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert not [name for name in headers if name.startswith("x-amz-checksum")]
    assert "x-amz-security-token" not in headers


def test_the_environments_token_is_not_added_to_a_key_of_the_settings(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(store_url="s3://bucket", endpoint=f"http://127.0.0.1:{listener.server_port}",
                      access_key_id="key", secret_access_key="secret")  # fmt: skip
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    open_store(wanted).put("a", b"")
    assert "x-amz-security-token" not in listener.heard.pop()
    assert sent(listener, aws_session_token="mine")["x-amz-security-token"] == "mine"


def test_a_bucket_that_asks_for_a_checksum_gets_one(listener: Listener) -> None:
    assert (
        sent(listener, s3_checksum="SHA256")["x-amz-checksum-sha256"] == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    )
    assert "x-amz-checksum-crc64nvme" in sent(listener, s3_checksum="CRC64NVME")
