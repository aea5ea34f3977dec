"""The client: what is sent in parts, what is tried again, and what each of SQS's errors means to a person."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge import config
from duplexforge.config import SqsSettings
from duplexforge.errors import ConfigError, RetryLater
from duplexforge.queues.sqs_client import MOST_HIDDEN, Channel, origin_of, region_of, whole
from duplexforge.queues.sqs_message import BATCH, REQUEST_BYTES, Outgoing, batches
from tests.servers.sqs_client import SECRET, SqsServer, name_of
from tests.unit.queues.sites import SqsSite


def outgoing(count: int) -> list[Outgoing]:
    return [Outgoing(f"body-{number}", {"task": f"t{number}"}) for number in range(count)]


def bodies(site: SqsSite) -> list[str]:
    return sorted(one["body"] for one in site.messages())


# -- batches -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, REQUEST_BYTES), max_size=40))
def test_batches_hold_ten_and_fit_into_a_request(sizes: list[int]) -> None:
    messages = [Outgoing("x" * size) for size in sizes]
    parts = list(batches(messages))
    assert [one for part in parts for one in part] == messages
    assert all(1 <= len(part) <= BATCH and sum(one.size for one in part) <= REQUEST_BYTES for part in parts)
    assert all(len(a) == BATCH or sum(x.size for x in [*a, b[0]]) > REQUEST_BYTES for a, b in itertools.pairwise(parts))


def test_many_messages_go_ten_a_request(site: SqsSite) -> None:
    site.channel.send(outgoing(25))
    assert len(bodies(site)) == 25
    assert site.server.requests(site.url)["SendMessageBatch"] == 3
    site.channel.send([])
    assert site.server.requests(site.url)["SendMessageBatch"] == 3


def test_what_a_batch_left_out_is_sent_again(site: SqsSite) -> None:
    site.server.arm(site.url, "partial", operation="SendMessageBatch", times=3)
    site.channel.send(outgoing(10))
    assert bodies(site) == [f"body-{number}" for number in range(10)], "each once"
    assert site.server.requests(site.url)["SendMessageBatch"] == 4


def test_what_sqs_will_never_take_is_told(site: SqsSite) -> None:
    site.server.arm(site.url, "partial_sender", operation="SendMessageBatch")
    with pytest.raises(ConfigError, match=r"refused SendMessageBatch on .*InvalidMessageContents"):
        site.channel.send(outgoing(2))


def test_a_batch_that_never_gets_through_is_for_later(site: SqsSite) -> None:
    site.server.arm(site.url, "none", operation="SendMessageBatch", times=100)
    with pytest.raises(RetryLater, match="time and again: InternalError") as failure:
        site.channel.send(outgoing(10))
    assert failure.value.reason == "queue"


@pytest.mark.parametrize("action", ["500", "503", "throttle", "throttle_query", "drop"])
def test_a_request_is_tried_again(site: SqsSite, action: str) -> None:
    site.server.arm(site.url, action, times=2)
    site.channel.send(outgoing(3))
    assert len(bodies(site)) == 3


def test_a_lost_answer_sends_twice_and_that_is_known(site: SqsSite) -> None:
    site.server.arm(site.url, "lost", operation="SendMessageBatch")
    site.channel.send(outgoing(3))
    assert len(bodies(site)) == 6


# -- receiving, hiding, deleting ---------------------------------------------------------------------------------------


def test_receive_hide_delete(site: SqsSite) -> None:
    assert site.channel.receive(0, 10) is None
    site.channel.send([Outgoing("b", {"task": "one", "empty": ""})])
    first = site.channel.receive(1, 10)
    assert first
    assert (first.body, first.attributes, first.receives) == ("b", {"task": "one"}, 1)
    assert site.channel.receive(0, 10) is None
    assert site.channel.hide(first, 0) is True
    second = site.channel.receive(0, 10)
    assert second
    assert second.receives == 2
    assert site.channel.hide(first, 5) is False, "the first receipt is stale"
    site.channel.delete([first.handle])
    assert len(site.messages()) == 1
    site.channel.delete([second.handle, "nonsense"])
    assert site.messages() == []
    assert site.channel.hide(second, 5) is False


def test_counts(site: SqsSite) -> None:
    site.channel.send(outgoing(5))
    for _ in range(2):
        site.channel.receive(0, 10)
    counts = site.channel.counts()
    assert (counts.visible, counts.hidden, counts.delayed, counts.total) == (3, 2, 0, 5)


@pytest.mark.parametrize(("seconds", "told"), [(0, 0), (-3, 0), (0.1, 1), (2, 2), (2.5, 3), (1e9, MOST_HIDDEN)])
def test_whole_seconds(seconds: float, told: int) -> None:
    assert whole(seconds) == told


def test_the_dead_letter_queue_is_found_by_the_policy(site: SqsSite, sqs_server: SqsServer) -> None:
    assert site.channel.dead_letters() == f"{site.url}-dead"
    alone = Channel(sqs_server.fresh_queue(), sqs_server.settings())
    assert alone.dead_letters() is None


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "cure"),
    [
        ("denied", "policy"),
        ("expired", "access key is not known"),
        ("skewed", "clock is wrong"),
        ("signature", "access key is not known"),
        ("old", "clock is wrong"),
        ("odd", "InvalidSomething"),
    ],
)
def test_a_refusal_says_what_to_do(site: SqsSite, action: str, cure: str) -> None:
    site.server.arm(site.url, action, times=10)
    with pytest.raises(ConfigError, match=f"SQS refused ReceiveMessage on .*{cure}"):
        site.channel.receive(0, 10)
    site.server.control(site.url, disarm=name_of(site.url))


def test_an_unknown_queue_and_an_unknown_key(site: SqsSite) -> None:
    with pytest.raises(ConfigError, match="no such queue: check AWS_QUEUE_DOWNLOAD and SQS_QUEUE_URL"):
        Channel(f"{site.url}-not", site.server.settings()).receive(0, 10)
    stranger = Channel(site.url, site.server.settings(sqs_access_key_id="somebody-else"))
    with pytest.raises(ConfigError, match="access key is not known: check SQS_ACCESS_KEY_ID") as refused:
        stranger.counts()
    assert SECRET not in str(refused.value)


def test_what_never_answers_is_for_later(site: SqsSite) -> None:
    site.server.arm(site.url, "throttle", times=3)
    with pytest.raises(RetryLater, match="ThrottlingException"):
        site.channel.counts()
    nobody = Channel(site.url, site.server.settings(sqs_endpoint="http://127.0.0.1:9"), attempts=1)
    with pytest.raises(RetryLater, match="did not answer GetQueueAttributes") as failure:
        nobody.counts()
    assert SECRET not in str(failure.value)


def test_the_key_may_do_all_or_what_is_missing_is_named(site: SqsSite) -> None:
    site.channel.send(outgoing(1))
    assert site.channel.forbidden() == []
    for operation in ("SendMessage", "DeleteMessage"):
        site.server.arm(site.url, "denied", operation=operation)
    assert site.channel.forbidden() == ["SendMessage", "DeleteMessage"]
    assert [one["receives"] for one in site.messages()] == [0], "nothing was changed"


# -- where the queue is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/name", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/n", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/n", "cn-north-1"),
        ("https://eu-central-1.queue.amazonaws.com/1/n", "eu-central-1"),
        ("https://vpce-1-2.sqs.us-east-1.vpce.amazonaws.com/1/n", "us-east-1"),
        ("http://127.0.0.1:4566/000000000000/n", None),
        ("https://queue.example.org/1/n", None),
    ],
)
def test_region_by_url(url: str, region: str | None) -> None:
    assert region_of(url) == region
    assert origin_of(url) == url.rsplit("/", 2)[0]


@pytest.mark.parametrize(
    "url", ["name", "https://sqs.eu-west-1.amazonaws.com/", "ftp://x/1/n", "https:///1/n", "arn:aws:sqs:a:n"]
)
def test_what_is_no_url_of_a_queue(url: str) -> None:
    with pytest.raises(ConfigError, match="not the URL of an SQS queue"):
        Channel(url, SqsSettings(_env_file=None))


def test_a_fifo_queue_is_refused() -> None:
    with pytest.raises(ConfigError, match="use a standard queue"):
        Channel("https://sqs.eu-west-1.amazonaws.com/1/n.fifo", SqsSettings(_env_file=None))


def test_no_region_is_told(site: SqsSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SQS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="set SQS_REGION"):
        Channel("https://queue.example.org/1/n", SqsSettings(_env_file=None), region="auto").counts()


def test_the_stores_endpoint_is_not_the_queues(site: SqsSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL names the object store here; boto3 would send everything there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_QUEUE_DOWNLOAD", site.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("SQS_ENDPOINT_URL", raising=False)
    wanted = config.load("download")[SqsSettings]
    assert wanted.aws_queue_download == site.url
    assert Channel(site.url, wanted, region="us-east-1").counts().total == 0
