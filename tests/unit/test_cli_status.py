"""The status command: what goes together, what does not, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from duplexforge import config, log
from duplexforge.cli import app
from duplexforge.config import StoreSettings
from duplexforge.errors import UsageError
from duplexforge.layout import Layout
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.records import DownloadTask
from duplexforge.storage import open_store

Typed = Callable[..., Result]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Typed]:
    """Types the command in a folder with a store of two tasks, one of them held."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATUS_CLUSTER", "off")
    monkeypatch.setenv("STORE_URL", f"file://{tmp_path / 'store'}")
    settings = config.load("status")
    queue = PrefixQueue(
        open_store(settings[StoreSettings]), Layout(), "download", DownloadTask, settings[config.QueueSettings]
    )
    queue.put_many(DownloadTask(id=name, url=f"https://example.org/{name}") for name in ("one", "two"))
    assert queue.claim()
    yield lambda *words: CliRunner().invoke(app, ["status", *words], catch_exceptions=False)
    # The command sent the log to the runner's output, which is closed by now.
    log.setup(level="WARNING")


def test_tables(typed: Typed) -> None:
    text = typed().stdout
    assert "Queues" in text
    assert "Workers (1) and their leases" in text
    assert "Autokicker: not asked" in text


def test_json(typed: Typed) -> None:
    told = json.loads(typed("--json").stdout)
    assert (told["stages"]["download"]["waiting"], told["stages"]["download"]["running"]) == (1, 1)
    assert "account" not in told


def test_the_full_account(typed: Typed) -> None:
    assert json.loads(typed("--full", "--json").stdout)["account"]["inputs"] == 2
    text = typed("--full").stdout
    assert "Episodes" in text
    assert "Everything is accounted for: 2 episodes" in text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--watch", "--serve", "0"], "one at a time"), (["--full", "--watch"], "--full"), (["--full", "--serve", "0"], "--full"),
        (["--json", "--serve", "0"], "/status.json"), (["5"], "5 seconds between what"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(typed: Typed, words: list[str], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        typed(*words)


@pytest.mark.parametrize("words", [["--watch", "0"], ["--watch", "soon"], ["--serve", "70000"], ["--watch", "-1"]])
def test_numbers_that_make_no_sense(typed: Typed, words: list[str]) -> None:
    assert typed(*words).exit_code == 2


def test_looking_leaves_a_small_store_as_it_is(typed: Typed, tmp_path: Path) -> None:
    def files() -> set[Path]:
        return {path for path in (tmp_path / "store").rglob("*") if path.is_file()}

    before = files()
    typed()
    assert files() == before
