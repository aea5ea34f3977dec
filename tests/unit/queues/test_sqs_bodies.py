"""What others send to the queue: bodies by hand, nonsense, and what is for a newer program."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from duplexforge import config
from duplexforge.downloading.identity import url_id
from duplexforge.errors import InputError
from duplexforge.queues.sqs_message import (
    BODY_BYTES,
    REQUEST_BYTES,
    Bodies,
    Message,
    Outgoing,
    of_failure,
    of_id,
    of_task,
)
from duplexforge.records import DownloadTask, Ended, UploadTask, parse
from duplexforge.roles import Site
from tests.servers.sqs_client import SqsServer
from tests.unit.queues.sites import SqsSite, claimed, task

# What SQS carries.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), min_size=1
)


JSON = st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)).map(json.dumps)


def site_of(server: SqsServer, stage: str, monkeypatch: pytest.MonkeyPatch) -> tuple[SqsSite, Any]:
    """A queue as a role opens it, from variables."""
    site = SqsSite(server, server.fresh_queue(receives=1000), stage=stage)
    variable = "AWS_QUEUE_DOWNLOAD" if stage == "download" else "SQS_QUEUE_URL"
    for name in ("AWS_QUEUE_DOWNLOAD", "SQS_QUEUE_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    found = {
        variable: site.url, "SQS_ENDPOINT_URL": server.url, "SQS_REGION": "us-east-1",
        "SQS_ACCESS_KEY_ID": "test-access-key", "SQS_SECRET_ACCESS_KEY": "test-secret-key",
    }  # fmt: skip
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    role = "download" if stage == "download" else "upload"
    return site, Site(config.load(role), site.store, site.layout).queue(stage)


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"video_id": "abcdefghijk", "url": "https://www.youtube.com/watch?v=abcdefghijk"}, "yt-abcdefghijk"),
        ({"url": "https://youtu.be/abcdefghijk"}, "yt-abcdefghijk"),
        ({"url": "HTTPS://Example.org:443/a.mp3#x"}, url_id("https://example.org/a.mp3")),
        ({"id": "mine", "url": "https://example.org/a.mp3", "language": "de", "source": "s", "licence": "cc0"}, "mine"),
    ],
)
def test_a_download_by_hand(
    sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch, body: dict[str, str], name: str
) -> None:
    site, queue = site_of(sqs_server, "download", monkeypatch)
    site.by_hand(json.dumps(body))
    lease = claimed(queue)
    assert (lease.task_id, lease.task.episode_id) == (name, name)
    assert {key: getattr(lease.task, key) for key in body if key != "id"} == {
        k: v for k, v in body.items() if k != "id"
    }
    assert queue.stats().running == 1
    assert queue.put(lease.task) is False, "it is known now"
    # Somebody sends it twice, and again after its end.
    site.by_hand(json.dumps(body))
    assert queue.claim() is None
    lease.complete()
    queue.close()
    site.by_hand(json.dumps(body))
    assert queue.claim() is None
    site.advance(queue.settings.lease_seconds + 1)
    assert queue.claim() is None
    queue.close()
    assert (site.messages(), site.ids("todo"), site.ids("completed")) == ([], [], [name])


@pytest.mark.parametrize("form", ["bare", "json", "spaces"])
def test_an_upload_by_hand_may_be_the_bare_key(
    sqs_server: SqsServer, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    site, queue = site_of(sqs_server, "upload", monkeypatch)
    key = site.layout.batch("en-000001")
    site.by_hand({"bare": key, "json": json.dumps({"batch_key": key}), "spaces": f" {key}\n"}[form])
    lease = claimed(queue)
    assert (lease.task_id, lease.task.batch_key) == ("en-000001", key)
    assert queue.put(UploadTask(id="en-000001", batch_key=key)) is False
    lease.complete()


def test_sent_by_hand_while_it_waits(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("yt-abc", title="ours"))
    site.by_hand('{"video_id": "abc", "url": "https://example.org/abc"}')
    lease = claimed(queue)
    assert (lease.task_id, lease.task.title) == ("yt-abc", "ours"), "the store's body is the truth"
    assert queue.claim() is None
    lease.complete()
    assert queue.stats().completed == 1


# -- nonsense ----------------------------------------------------------------------------------------------------------


def failed(site: SqsSite) -> list[Ended]:
    return [parse(Ended, site.store.get(site.layout.failed(site.stage, name)), name) for name in site.ids("failed")]


@pytest.mark.parametrize(
    "body",
    [
        "{", "null", "[]", "text", "{}", '{"video_id": "abc"}', '{"url": 5}', '{"url": "x", "attempt_limit": 0}',
        '{"video_id": "../../etc", "url": "https://example.org"}', '{"id": "a/b", "url": "https://example.org"}',
        '{"url": ""}' + " " * 1000, "[" * 5000, '{"id": "\\u0000", "url": "https://example.org"}',
    ],
)  # fmt: skip
def test_a_body_that_names_no_task_fails_with_a_reason(site: SqsSite, body: str) -> None:
    queue = site.open()
    site.by_hand(body)
    assert queue.claim() is None
    queue.close()
    (record,) = failed(site)
    assert record.reason == "bad_record"
    assert record.message
    assert str(record.task["body"]) == body[:4000]
    (letter,) = site.dead_letters()
    assert (letter["body"], letter["attributes"]["reason"]) == (body, "bad_record")
    assert site.messages() == []
    # Moved back unchanged it fails again, as the same task.
    site.by_hand(body, **letter["attributes"])
    assert queue.claim() is None
    queue.close()
    assert len(failed(site)) == 1
    assert site.messages() == []


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(TEXT, JSON), max_size=4))
def test_whatever_is_sent_is_run_or_kept_with_a_reason(sqs_server: SqsServer, bodies: list[str]) -> None:
    site = SqsSite(sqs_server, sqs_server.fresh_queue(receives=1000))
    queue = site.open()
    for body in bodies:
        site.by_hand(body)
    while lease := queue.claim():
        lease.complete()
    queue.close()
    assert site.messages() == []
    kept = {str(one.task.get("body")) for one in failed(site)}
    assert {body[:4000] for body in bodies} == kept
    assert {one["body"] for one in site.dead_letters()} == set(bodies)


def test_a_message_of_ours_with_another_body(site: SqsSite) -> None:
    queue = site.open()
    site.by_hand('{"id": "other", "url": "https://example.org"}', task="one")
    site.by_hand("nonsense", task="two")
    assert queue.claim() is None
    assert [(one.id, one.reason) for one in failed(site)] == [("one", "bad_record"), ("two", "bad_record")]
    assert len(site.dead_letters()) == 2


def test_a_name_without_a_task(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one"))
    site.store.delete(site.layout.todo("download", "one"))
    site.by_hand(of_id("two").body, task="two")
    with capture_logs() as told:
        lease = claimed(queue)
        assert (lease.task_id, queue.claim()) == ("one", None)
    assert [one["task"] for one in told if "not in the store" in str(one["event"])] == ["two"]
    lease.complete()
    queue.close()
    assert (site.messages(), site.ids("in_progress"), site.ids("completed")) == ([], [], ["one"])


# -- for a newer program -----------------------------------------------------------------------------------------------


def test_a_newer_body_is_kept_for_newer_workers(site: SqsSite) -> None:
    queue = site.open()
    body = '{"version": 99, "odd": true}'
    site.by_hand(body)
    with capture_logs() as told:
        for _ in range(3):
            assert queue.claim() is None
            site.advance(400)
    assert sum("newer workers" in str(one["event"]) for one in told) == 1, "said once"
    (name,) = site.ids("todo")
    assert site.store.get(site.layout.todo("download", name)).decode() == body
    assert len(site.messages()) == 1
    assert (queue.stats().open, site.open().stats().open) == (0, 1)
    assert site.ids("failed") == []
    before = site.server.requests(site.url)["ReceiveMessage"]
    assert queue.claim() is None
    assert site.server.requests(site.url)["ReceiveMessage"] - before <= 3, "no spinning"


# -- the messages themselves -------------------------------------------------------------------------------------------


def test_a_long_body_stays_in_the_store(site: SqsSite) -> None:
    queue = site.open()
    queue.put_many([task(f"t{number}", title="ü" * BODY_BYTES) for number in range(12)])
    assert {one["body"] for one in site.messages()} == {of_id(f"t{number}").body for number in range(12)}
    lease = claimed(queue)
    assert len(lease.task.title) == BODY_BYTES
    assert lease.fail(InputError("x", reason="gone"), permanent=True)
    (letter,) = site.dead_letters()
    assert len(letter["body"].encode()) <= REQUEST_BYTES


@given(TEXT, st.text())
def test_what_we_send_is_what_sqs_takes(title: str, words: str) -> None:
    sent = of_task(task("one", title=title))
    letter = of_failure("one", words, words, words)
    for one in (sent, letter):
        assert 0 < one.size <= REQUEST_BYTES
        for text in (one.body, *one.attributes.values()):
            assert text
            assert not any(
                (ord(letter) < 32 and letter not in "\t\n\r") or "\ud800" <= letter <= "\udfff" for letter in text
            )
    assert Bodies("download", DownloadTask).task(Message(sent.body, "-", sent.attributes)).title == title


def test_size_counts_everything() -> None:
    assert Outgoing("ü", {"task": "one"}).size == 2 + 4 + 3 + 6


def test_an_id_that_nobody_can_give() -> None:
    with pytest.raises(InputError, match="which task"):
        Bodies("download", DownloadTask).id_of(Message('{"url": "https://example.org"}', "-"))

    def refuse(_: DownloadTask) -> str:
        raise ValueError("no host")

    with pytest.raises(InputError, match="no host"):
        Bodies("download", DownloadTask, refuse).id_of(Message('{"url": "//["}', "-"))
