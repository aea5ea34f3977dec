"""From the settings to the queue: which stages are on SQS, the commands that look at it, and what doctor says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duplexforge import config, log
from duplexforge.cli import app
from duplexforge.config import Settings
from duplexforge.doctor import queues as check
from duplexforge.doctor.finding import Finding
from duplexforge.errors import ConfigError, InputError, UsageError
from duplexforge.queues.prefix import PrefixQueue
from duplexforge.queues.sqs import SqsQueue
from duplexforge.roles import Site, open_site
from tests.servers.sqs_client import SECRET, SqsServer
from tests.unit.queues.sites import task


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, sqs_server: SqsServer, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a pod whose download queue is on SQS."""
    monkeypatch.chdir(tmp_path)
    found = {
        "STORE_URL": f"file://{tmp_path}/store", "SQS_ENDPOINT_URL": sqs_server.url, "SQS_REGION": "us-east-1",
        "SQS_ACCESS_KEY_ID": "test-access-key", "SQS_SECRET_ACCESS_KEY": SECRET, "SQS_RECONCILE_SECONDS": "0",
        "AWS_QUEUE_DOWNLOAD": sqs_server.fresh_queue(receives=100), "SQS_QUEUE_URL": "", "AWS_SESSION_TOKEN": "",
    }  # fmt: skip
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    yield monkeypatch
    log.setup(level="WARNING")  # the commands set it up for their own output


def site() -> Site:
    return open_site(config.load("seed"))


def test_the_settings_choose_the_backend(variables: pytest.MonkeyPatch, sqs_server: SqsServer) -> None:
    kinds = {stage: type(queue) for stage, queue in site().queues().items()}
    assert kinds == {"download": SqsQueue, "processing": PrefixQueue, "upload": PrefixQueue}
    variables.setenv("SQS_QUEUE_URL", sqs_server.fresh_queue())
    assert type(site().queue("upload")) is SqsQueue
    variables.setenv("AWS_QUEUE_DOWNLOAD", "")
    assert type(site().queue("download")) is PrefixQueue
    variables.setenv("AWS_QUEUE_DOWNLOAD", "my-queue")
    with pytest.raises(ConfigError, match="not the URL of an SQS queue"):
        site().queue("download")


def test_stats_need_no_word_from_sqs(variables: pytest.MonkeyPatch) -> None:
    site().queue("download").put(task("one"))
    variables.setenv("SQS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["queue", "stats", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["download"] == {"waiting": 1, "running": 0, "completed": 0, "failed": 0}


def test_dead_revive_and_resend(variables: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["queue", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        log.setup(level="WARNING")
        return result.stdout.strip()

    queue = site().queue("download")
    queue.put(task("one"))
    lease = queue.claim()
    assert lease
    lease.fail(InputError("gone", reason="gone"), permanent=True)
    queue.close()
    assert run("dead", "download").startswith("one  gone")
    assert run("revive", "download", "one") == "revived 1 of 1"
    site().store.put(site().layout.todo("download", "two"), task("two").to_bytes())
    assert run("resend", "download", "--dry-run") == "would send 1"
    assert run("resend", "download") == "sent 1"
    assert run("resend", "download") == "sent 0"
    again = site().queue("download")
    # The message may have gone to the older task, which had one: the other's turn comes when that one has ended.
    while found := again.claim():
        found.complete()
    assert again.stats().completed == 2
    with pytest.raises(UsageError, match="not on SQS"):
        CliRunner().invoke(app, ["queue", "resend", "processing"], catch_exceptions=False)


# -- doctor ------------------------------------------------------------------------------------------------------------


def findings(settings: Settings | None = None) -> list[Finding]:
    return list(check.of_settings(settings or config.load("run")))


def test_doctor_is_content(variables: pytest.MonkeyPatch, sqs_server: SqsServer) -> None:
    (one,) = findings()
    assert (one.check, one.ok) == ("SQS: AWS_QUEUE_DOWNLOAD", True)
    assert "dead letters go to" in one.seen
    variables.setenv("AWS_QUEUE_DOWNLOAD", sqs_server.fresh_queue())
    (one,) = findings()
    assert one.ok
    assert "no dead-letter queue" in one.seen
    variables.setenv("AWS_QUEUE_DOWNLOAD", "")
    assert findings() == []


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"MessageRetentionPeriod": "3600"}, "set MessageRetentionPeriod"),
        ({"DelaySeconds": "60"}, "set DelaySeconds to 0"),
        ({"receives": 3}, "set maxReceiveCount to 100"),
    ],
)
def test_doctor_names_a_setting_that_hurts(
    variables: pytest.MonkeyPatch, sqs_server: SqsServer, attributes: dict[str, object], words: str
) -> None:
    variables.setenv("AWS_QUEUE_DOWNLOAD", sqs_server.fresh_queue(**attributes))  # type: ignore[arg-type]
    (one,) = findings()
    assert not one.ok
    assert words in one.cure


def test_doctor_names_what_the_key_may_not_do(variables: pytest.MonkeyPatch, sqs_server: SqsServer) -> None:
    url = config.load("run")[config.SqsSettings].aws_queue_download or ""
    sqs_server.arm(url, "denied", operation="ChangeMessageVisibility")
    (one,) = findings()
    assert not one.ok
    assert "may not do ChangeMessageVisibility" in one.seen


def test_doctor_names_a_wrong_url_or_key(variables: pytest.MonkeyPatch, sqs_server: SqsServer) -> None:
    url = config.load("run")[config.SqsSettings].aws_queue_download or ""
    variables.setenv("SQS_QUEUE_URL", url)
    assert [one.ok for one in findings()] == [True, True, False]
    assert "the same queue" in findings()[-1].seen
    variables.setenv("SQS_QUEUE_URL", "")
    variables.setenv("AWS_QUEUE_DOWNLOAD", f"{url}-misspelt")
    (one,) = findings()
    assert not one.ok
    assert "no such queue" in one.seen
    variables.setenv("AWS_QUEUE_DOWNLOAD", url)
    variables.setenv("SQS_ACCESS_KEY_ID", "somebody-else")
    (one,) = findings()
    assert "access key is not known" in one.seen
    assert SECRET not in one.seen + one.cure
