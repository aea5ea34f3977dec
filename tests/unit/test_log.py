"""Logging: JSON lines, and no secret in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from duplexforge import log

SECRET = "canary-4f6d2a"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines; the session's logging comes back in the end."""
    stream = io.StringIO()
    log.setup(level="INFO", stream=stream)
    log.hide(SECRET)
    yield stream
    log.setup(level="WARNING")


def test_json_lines(written: io.StringIO) -> None:
    log.get("worker", stage="download").info("hello\nworld", number=3, nothing=None)
    log.get("worker").debug("not told")
    (line,) = written.getvalue().splitlines()
    event = json.loads(line)
    del event["timestamp"]
    assert event == {
        "event": "hello\nworld", "part": "worker", "stage": "download", "level": "info", "number": 3, "nothing": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        f"key is {SECRET}",
        {"deep": [SECRET]},
        [SECRET],
        RuntimeError(SECRET),
        f"https://h/k?X-Amz-Signature={SECRET}x&X-Amz-Credential={SECRET}y",
    ],
)
def test_registered_secrets_are_never_written(written: io.StringIO, value: object) -> None:
    log.get("worker").info(f"event {SECRET}", value=value)
    assert SECRET not in written.getvalue()
    assert "***" in written.getvalue()


def test_secrets_in_tracebacks(written: io.StringIO) -> None:
    try:
        raise RuntimeError(f"refused {SECRET}")
    except RuntimeError:
        log.get("worker").exception("it failed")
    assert "RuntimeError" in written.getvalue()
    assert SECRET not in written.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "https://b.example/k?X-Amz-Signature=abc123&X-Amz-Expires=60",
        "https://b.example/k?a=1&x-amz-security-token=abc123",
        "https://b.example/k?sig=abc123",
        "https://b.example/k?Signature=abc123&Expires=1",
        "token=abc123",
        "Authorization: Bearer abc123",
        "password=abc123",
    ],
)
def test_signed_urls_and_bearers_lose_their_value(written: io.StringIO, text: str) -> None:
    log.get("worker").info("asked", url=text, inside={"url": text})
    assert "abc123" not in written.getvalue()
    assert "abc123" not in log.redact(text)


def test_ordinary_words_stay() -> None:
    log.hide("key")
    log.hide(None)
    assert log.redact("the key of https://h/k?page=2") == "the key of https://h/k?page=2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@proxy:3128/x", "http://me:***@proxy:3128/x"),
        ("https://:token@host/a?b=c", "https://:***@host/a?b=c"),
        ("at http://host:8080/me@home", "at http://host:8080/me@home"),
        ("mail me@example.org at 10:20", "mail me@example.org at 10:20"),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert log.redact(text) == shown
