"""The queue commands: what they print, their exit codes, and that a task somebody holds is left to him."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from duplexforge import config, log
from duplexforge.cli import app
from duplexforge.errors import InputError, RetryLater, UsageError
from duplexforge.queues.base import TaskQueue
from duplexforge.records import DownloadTask
from duplexforge.roles import Site, open_site
from tests.servers.sqs_client import SECRET, SqsServer

Typed = Callable[..., Result]


@pytest.fixture(params=["prefix", "sqs"])
def site(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqs_server: SqsServer
) -> Iterator[Site]:
    """A deployment as the commands find it in their environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_URL", f"file://{tmp_path / 'store'}")
    if request.param == "sqs":
        found = {
            "SQS_ENDPOINT_URL": sqs_server.url, "SQS_REGION": "us-east-1", "SQS_ACCESS_KEY_ID": "test-access-key",
            "SQS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "", "AWS_QUEUE_DOWNLOAD": sqs_server.fresh_queue(),
        }  # fmt: skip
        for name, value in found.items():
            monkeypatch.setenv(name, value)
    yield open_site(config.load("seed"))
    log.setup(level="WARNING")  # the commands set it up for their own output


def queue(site: Site) -> TaskQueue[DownloadTask]:
    return site.queue("download")


def typed(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["queue", *words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return str(done.stdout)


def put(site: Site, *names: str) -> None:
    for name in names:
        queue(site).put(DownloadTask(id=name, url=f"https://example.org/{name}"))


def fail(site: Site, name: str, reason: str) -> None:
    put(site, name)
    lease = queue(site).claim()
    assert lease
    lease.fail(InputError(f"no {name}\x1b[2J", reason=reason), permanent=True)


def test_dead_by_reason_and_a_few_of_them(site: Site) -> None:
    for name, reason in (("a", "gone"), ("b", "corrupt"), ("c", "gone"), ("d", "gone")):
        fail(site, name, reason)
    assert [line.split()[0] for line in typed("dead", "download").splitlines()] == ["a", "b", "c", "d"]
    assert [line.split()[0] for line in typed("dead", "download", "--reason", "gone").splitlines()] == ["a", "c", "d"]
    found = json.loads(typed("dead", "download", "--reason", "gone", "--limit", "2", "--json"))
    assert [one["id"] for one in found] == ["a", "c"]
    assert typed("dead", "download", "--reason", "bug") == "no failed task in download for bug\n"
    assert "\x1b" not in typed("dead", "download")
    typed("dead", "download", "--limit", "0", code=2)


def test_revive_by_reason_leaves_the_others(site: Site) -> None:
    for name, reason in (("a", "gone"), ("b", "corrupt"), ("c", "gone")):
        fail(site, name, reason)
    assert typed("revive", "download", "--reason", "gone", "--dry-run") == "would revive 2 of 2\n"
    assert typed("revive", "download", "a", "b", "--reason", "gone") == "revived 1 of 2\n"
    assert typed("revive", "download", "--reason", "gone") == "revived 1 of 1\n"
    assert typed("revive", "download", "--reason", "gone") == "revived 0 of 0\n"
    assert queue(site).stats().failed == 1
    assert queue(site).stats().waiting == 2


def test_inspect_tells_the_whole_story(site: Site) -> None:
    put(site, "one")
    lease = queue(site).claim()
    assert lease
    lease.fail(RetryLater("busy\nnow", reason="busy"), permanent=False, after=900)
    text = typed("inspect", "download", "one")
    assert text.splitlines()[0] == "one  waiting in download"
    assert "attempt 1  failed" in text
    assert "waits for 9" in text or "waits for 8" in text
    assert "busy: busy now" in text
    told = json.loads(typed("inspect", "download", "one", "--json"))
    assert told["attempts"][0]["reason"] == "busy"
    assert told["todo"]["url"] == "https://example.org/one"


def test_inspect_of_what_nobody_knows(site: Site) -> None:
    assert typed("inspect", "download", "nobody", code=65) == "nobody  unknown in download\n"
    with pytest.raises(UsageError, match="no task's id"):
        typed("inspect", "download", "../x")
    with pytest.raises(UsageError, match="no queue 'nonsense'"):
        typed("inspect", "nonsense", "x")


def test_requeue_lets_a_waiting_task_be_claimed(site: Site) -> None:
    put(site, "one")
    lease = queue(site).claim()
    assert lease
    lease.release(after=900)
    assert typed("requeue", "download", "one", "--dry-run") == "one  would be claimable\n"
    assert queue(site).claim() is None
    assert typed("requeue", "download", "one", "one") == "one  claimable now\n"
    again = queue(site).claim(wait=10)
    assert again
    assert again.attempt == 2


def test_requeue_leaves_a_held_task_to_its_worker(site: Site) -> None:
    put(site, "one", "two")
    lease = queue(site).claim()
    assert lease
    told = typed("requeue", "download", lease.task_id, code=75)
    assert told == f"{lease.task_id}  left alone: a worker holds it\n"
    lease.renew()
    assert lease.still_mine()
    other = {"one": "two", "two": "one"}[lease.task_id]
    assert f"{other}  claimable now" in typed("requeue", "download", "one", "two", code=75)


def test_requeue_of_what_has_ended_or_never_was(site: Site) -> None:
    fail(site, "one", "gone")
    told = typed("requeue", "download", "one", "nobody", code=65).splitlines()
    assert told == [
        "one  left alone: it has ended (queue revive puts failed tasks back)", "nobody  there is no such task",
    ]  # fmt: skip
    assert queue(site).stats().failed == 1


def test_a_lost_message_is_sent_again(site: Site, sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the todo is in the store, as when the queue has dropped the message: requeueing makes it claimable."""
    store, layout = site.store, site.layout
    store.put(layout.todo("download", "one"), DownloadTask(id="one", url="https://example.org/one").to_bytes())
    assert typed("requeue", "download", "one") == "one  claimable now\n"
    lease = queue(site).claim(wait=10)
    assert lease
    assert lease.task_id == "one"
