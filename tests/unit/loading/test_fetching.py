"""Fetching in a forked process, where the store's client would wait for ever: what comes, and how errors come back."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duplexforge import config, errors
from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError, StoreError
from duplexforge.loading import fetching
from duplexforge.loading.dataset import easy_load
from tests.unit.loading.conftest import Bucket


def _forked(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked process, which is given half a minute."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(work()))
    process.start()
    try:
        assert mine.poll(60), "the forked process hangs"
        return mine.recv()
    finally:
        process.kill()
        process.join()


def test_a_forked_process_fetches(bucket: Bucket, tmp_path: Path) -> None:
    data = easy_load(bucket.url, cache=tmp_path)  # the client runs now
    assert not fetching._forked
    assert _forked(lambda: (fetching._forked, float(data[0]["input_audios"][0, 0]))) == (
        True, float(easy_load(bucket.url, cache=tmp_path)[0]["input_audios"][0, 0]),
    )  # fmt: skip
    assert len(list(tmp_path.rglob("*.arrow"))) == 2


def test_a_forked_process_opens(bucket: Bucket, tmp_path: Path) -> None:
    assert len(easy_load(bucket.url, cache=tmp_path)) == 6
    assert _forked(lambda: len(easy_load(bucket.url, cache=tmp_path / "another"))) == 6


def _error(work: Callable[[], Any]) -> tuple[str, str, str]:
    try:
        work()
    except errors.DuplexforgeError as error:
        return type(error).__name__, error.reason, str(error)
    raise AssertionError("no error")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had been forked."""
    monkeypatch.setattr(fetching, "_forked", True)


@pytest.mark.usefixtures("elsewhere")
def test_errors_are_the_same(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _error(lambda: easy_load(bucket.url + "x", cache=tmp_path))[:2] == ("InputError", "no_manifest")
    url, _, _ = bucket.url.rpartition("/sets")
    gone = url + "-gone"

    def refused() -> Any:
        return easy_load(gone, cache=tmp_path)

    there = _error(refused)
    monkeypatch.setattr(fetching, "_forked", False)
    assert there == _error(refused)


@pytest.mark.usefixtures("elsewhere")
def test_a_process_that_dies_is_told(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load("status", store_url=bucket.url)[StoreSettings]
    monkeypatch.setattr(fetching.sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match=r"fetching manifest\.json ended with 1"):
        fetching.fetch(settings, "manifest.json", tmp_path / "manifest.json")


@pytest.mark.usefixtures("elsewhere")
def test_settings_that_were_given_travel_along(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load("status", store_url=bucket.url)[StoreSettings]
    # Nothing of them stands in the environment, nor on the command line.
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    run, seen = fetching.subprocess.run, []
    monkeypatch.setattr(
        fetching.subprocess, "run", lambda command, **more: seen.append(command) or run(command, **more)
    )
    fetching.fetch(settings, "format.json", tmp_path / "format.json")
    assert (tmp_path / "format.json").read_bytes() == bucket.store.get("sets/one/format.json")
    assert "test-secret-key" not in str(seen)


def test_a_refusal_names_its_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Odd(ConfigError):
        default_reason = "odd"

    def fail(*_: object) -> str:
        raise Odd("it is odd")

    monkeypatch.setattr(fetching, "fetch", fail)
    monkeypatch.setenv("STORE_URL", "s3://somewhere")
    assert fetching.main("a", str(tmp_path / "a")) == {"kind": "ConfigError", "message": "it is odd", "reason": "odd"}
