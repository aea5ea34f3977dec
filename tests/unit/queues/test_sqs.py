"""SQS delivers, the store remembers: whatever SQS does with its messages, every task ends once (faults 34 to 37)."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from duplexforge.config import QueueSettings
from duplexforge.errors import InputError, LeaseLost, RetryLater
from duplexforge.layout import Layout
from duplexforge.queues.sqs import SqsQueue
from duplexforge.queues.sqs_client import Channel
from duplexforge.records import DownloadTask, Ended, parse
from duplexforge.storage import open_store
from duplexforge.worker import Progress, Worker
from tests.servers.s3_client import S3Server
from tests.servers.sqs_client import SqsServer
from tests.unit.queues.sites import LEASE, SqsSite, claimed, task


def names(count: int) -> list[str]:
    return [f"t{number:03d}" for number in range(count)]


def failures(site: SqsSite) -> dict[str, Ended]:
    bodies = {name: site.store.get(site.layout.failed(site.stage, name)) for name in site.ids("failed")}
    return {name: parse(Ended, body, name) for name, body in bodies.items()}


# -- delivered twice, again, in any order ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_and_disorder(site: SqsSite, seed: int) -> None:
    queues = [site.open() for _ in range(3)]
    assert queues[0].put_many(task(name) for name in names(30)) == 30
    site.server.control(site.url, twice=0.5, disorder=True, seed=seed)
    runs: Counter[str] = Counter()
    held: list[Any] = []
    while queues[0].stats().open:
        for queue in queues:
            if lease := queue.claim():
                runs[lease.task_id] += 1
                held.append(lease)
        while len(held) > 2:
            held.pop(0).complete()
        if sum(runs.values()) >= 30:
            while held:
                held.pop().complete()
    assert runs == Counter(names(30)), "each once"
    assert len(site.ids("completed")) == 30
    settle(site, queues[0])


def settle(site: SqsSite, queue: Any) -> None:
    """Nothing is left in SQS once what came twice has been seen again."""
    site.server.control(site.url, twice=0.0, again=0.0)
    for _ in range(5):
        site.advance(LEASE + 1)
        assert queue.claim() is None
    queue.close()
    assert site.messages() == []


def test_redelivery_after_delete(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one"))
    site.server.control(site.url, again=1.0)
    claimed(queue).complete({"n": 1})
    queue.flush()
    assert len(site.messages()) == 1, "SQS took the deletion and forgot it"
    site.advance(LEASE + 1)
    assert site.open().claim() is None
    site.advance(LEASE + 1)
    settle(site, queue)
    assert [one.result for one in queue.ended("completed")] == [{"n": 1}]


@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in range(1, 11))])
def test_a_storm_of_faults_loses_nothing_and_repeats_nothing(site: SqsSite, seed: int) -> None:
    """Workers that vanish, come late, fail and release, while SQS does all that it may do."""
    rng = random.Random(seed)
    queues = [site.open() for _ in range(3)]
    queues[0].put_many(task(name, attempt_limit=100) for name in names(15))
    site.server.control(site.url, twice=0.3, again=0.3, disorder=True, seed=seed)
    completed: Counter[str] = Counter()
    held: list[Any] = []
    for _ in range(250):
        if rng.random() < 0.03:
            action = rng.choice(["500", "throttle", "lost", "drop", "503"])
            site.server.arm(site.url, action)
        lease = rng.choice(queues).claim()
        held += [lease] if lease else []
        if held and rng.random() < 0.7:
            one = held.pop(rng.randrange(len(held)))
            match rng.choice(["complete", "complete", "release", "fail", "vanish", "renew"]):
                case "complete":
                    one.complete()
                    completed[one.task_id] += 1
                case "release":
                    one.release(after=rng.choice([0, 5]))
                case "fail":
                    one.fail(RetryLater("x"), permanent=False)
                case "renew":
                    try:
                        one.renew()
                        held.append(one)
                    except LeaseLost:
                        pass
        if rng.random() < 0.2:
            site.advance(rng.choice([1, 5, LEASE + 1]))
    site.server.control(site.url, disarm=site.url.rsplit("/", 1)[-1], twice=0.0, again=0.0)
    for _ in range(6):
        site.advance(LEASE + 1)
        while lease := queues[0].claim():
            lease.complete()
    queues[0].sweep()
    assert site.ids("completed") == names(15)
    assert (site.ids("failed"), site.ids("todo")) == ([], [])
    settle(site, queues[0])


# -- hidden too long, or not long enough -------------------------------------------------------------------------------


def test_visibility_that_ends_in_the_middle_of_the_work(site: SqsSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    # Only SQS's clock: the store's lease holds.
    site.server.control(site.url, advance=LEASE + 1)
    other = site.open()
    assert other.claim() is None, "the message came again, the task is taken"
    assert other.claim() is None
    lease.renew()
    lease.complete()
    site.advance(LEASE + 1)
    assert other.claim() is None
    other.close()
    assert site.messages() == []
    assert [one.attempt for one in other.ended("completed")] == [1]


def test_a_renewal_hides_the_message_for_longer(site: SqsSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    lease.message.hidden_at -= LEASE
    for _ in range(4):
        site.advance(LEASE - 5)
        lease.message.hidden_at -= LEASE
        lease.renew()
        assert site.open().claim() is None
    assert site.messages()[0]["receives"] == 1, "nobody else ever saw it"


def test_stale_receipts_are_tolerated(site: SqsSite) -> None:
    site.open().put(task("one"))
    zombie = claimed(site.open())
    site.advance(LEASE + 1)
    successor = claimed(site.open())
    assert successor.attempt == 2
    zombie.message.hidden_at -= LEASE
    with pytest.raises(LeaseLost):
        zombie.renew()
    zombie.release()
    assert site.open().claim() is None, "its message was not given away"
    successor.complete()
    successor.renew()
    site.advance(LEASE + 1)
    settle(site, site.open())


def test_a_message_that_was_deleted_by_somebody_else(site: SqsSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    site.server.control(site.url, purge=True)
    lease.message.hidden_at -= LEASE
    lease.renew()
    lease.release()
    again = claimed(site.open())
    assert again.attempt == 2
    again.complete()
    assert site.ids("completed") == ["one"]


def test_an_attempt_ends_before_sqs_would_show_the_message(site: SqsSite) -> None:
    site.open().put(task("one", attempt_limit=2))
    lease = claimed(site.open(hold=3600.0))
    lease.renew()
    lease.message.received -= 3601
    with pytest.raises(LeaseLost, match=r"took 1\.0 hours"):
        lease.renew()
    lease.renew()
    again = claimed(site.open(hold=3600.0))
    assert (again.attempt, again.failures) == (2, 1)
    again.message.received -= 7300
    with pytest.raises(LeaseLost, match=r"12 at most"):
        again.renew()
    (record,) = site.open().dead()
    assert (record.reason, record.failures) == ("sqs_limit", 2)
    assert [one["attributes"]["reason"] for one in site.dead_letters()] == ["sqs_limit"]


def test_nothing_is_hidden_beyond_twelve_hours(site: SqsSite) -> None:
    site.open().put(task("one"))
    lease = claimed(site.open())
    lease.release(after=100_000)
    queue = site.open()
    for hours in (11, 11):
        site.advance(hours * 3600)
        assert queue.claim() is None
    assert len(site.messages()) == 1
    site.advance(6 * 3600)
    assert claimed(queue).attempt == 2


# -- what the dead-letter queue gets -----------------------------------------------------------------------------------


def test_a_failed_task_goes_to_the_dead_letter_queue_with_its_reason(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one", title="été \u2028"))
    claimed(queue).fail(InputError("the video is gone\x00", reason="gone"), permanent=True)
    queue.close()
    (letter,) = site.dead_letters()
    assert letter["attributes"] == {"task": "one", "reason": "gone", "message": "the video is gone\ufffd"}
    assert "https://example.org/one.mp3" in letter["body"]
    assert site.messages() == []
    assert failures(site)["one"].message == "the video is gone\x00"


def test_what_is_moved_back_from_the_dead_letter_queue_is_revived(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one", title="kept"))
    claimed(queue).fail(InputError("x", reason="gone"), permanent=True)
    (letter,) = site.dead_letters()
    site.by_hand(letter["body"], **letter["attributes"])
    lease = claimed(queue)
    assert (lease.task_id, lease.attempt, lease.failures, lease.task.title) == ("one", 1, 0, "kept")
    assert site.ids("failed") == []
    lease.complete()
    site.by_hand(letter["body"], **letter["attributes"])
    assert queue.claim() is None, "completed is the end"
    settle(site, queue)


def test_without_a_dead_letter_queue_the_store_keeps_it(sqs_server: SqsServer) -> None:
    site = SqsSite(sqs_server, sqs_server.fresh_queue())
    queue = site.open()
    queue.put_many(task(name) for name in names(3))
    with capture_logs() as told:
        for _ in range(3):
            claimed(queue).fail(InputError("x", reason="gone"), permanent=True)
    assert sorted(failures(site)) == names(3)
    assert ["no dead-letter queue" in str(one["event"]) for one in told] == [True]


def test_a_dead_letter_queue_out_of_reach_changes_nothing(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one"))
    lease = claimed(queue)
    site.server.arm(site.url, "denied", operation="GetQueueAttributes")
    assert lease.fail(InputError("x", reason="gone"), permanent=True) is True
    queue.close()
    assert list(failures(site)) == ["one"]
    assert (site.messages(), site.dead_letters()) == ([], [])


def test_sqs_is_down_while_leases_are_settled(site: SqsSite) -> None:
    queue = site.open(channel=Channel(site.url, site.server.settings(), attempts=1))
    queue.put_many([task("a"), task("b"), task("c")])
    leases = [claimed(queue) for _ in range(3)]
    site.server.arm(site.url, "500", times=1000)
    leases[0].complete()
    leases[1].release()
    leases[2].fail(InputError("x"), permanent=True)
    queue.flush()
    with pytest.raises(RetryLater, match="ReceiveMessage"):
        queue.claim()
    site.server.control(site.url, disarm=site.url.rsplit("/", 1)[-1])
    assert (site.ids("completed"), site.ids("failed")) == (["a"], ["c"])
    site.advance(LEASE + 1)
    lease = claimed(queue)
    assert (lease.task_id, lease.attempt) == ("b", 2)
    lease.complete()
    settle(site, queue)


# -- the worker --------------------------------------------------------------------------------------------------------


class Listening:
    """A step that commits nothing but remembers, and throws what its task says."""

    def __init__(self) -> None:
        self.worked: Counter[str] = Counter()

    def done(self, one: DownloadTask) -> bool:
        """Nothing is committed before."""
        return False

    def fetch(self, one: DownloadTask, folder: Path) -> None:
        """Nothing to fetch."""

    def work(self, one: DownloadTask, fetched: None, attempt: str, progress: Progress) -> dict[str, Any]:
        """Run it."""
        self.worked[one.id] += 1
        if one.title == "broken":
            raise InputError("broken", reason="broken")
        if one.title == "once" and self.worked[one.id] == 1:
            raise RetryLater("once more")
        progress.check_lease()
        return {}


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_worker_drains_the_queue(site: SqsSite, lanes: int) -> None:
    titles = {name: {3: "broken", 5: "once"}.get(number, "fine") for number, name in enumerate(names(20))}
    site.open().put_many(task(name, title=title) for name, title in titles.items())
    assert site.store.put_if_absent(site.layout.todo("download", "lost"), task("lost").to_bytes())
    site.server.control(site.url, twice=0.2, disorder=True, seed=1)
    step, settings = Listening(), QueueSettings(_env_file=None, lease_seconds=LEASE, retry_seconds=0.0)
    tally = Worker(site.open(), step, settings, drain=True, lanes=lanes).run()
    assert (tally.completed, tally.failed, tally.retried) == (20, 1, 1)
    assert step.worked == Counter([*titles, "lost", "t005"])
    assert len(site.ids("completed")) == 20
    assert [letter["attributes"]["reason"] for letter in site.dead_letters()] == ["broken"]


# -- cost --------------------------------------------------------------------------------------------------------------


def test_requests_a_task(sqs_server: SqsServer, s3_server: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    count, bucket, url = 200, s3_server.fresh_bucket(), sqs_server.fresh_queue()
    wanted = QueueSettings(_env_file=None, lease_seconds=600)
    channel, store = Channel(url, sqs_server.settings()), open_store(s3_server.settings(bucket))
    queue = SqsQueue(store, Layout(), "download", DownloadTask, wanted, channel=channel, shortest_poll=0.0)
    queue.put_many(task(name) for name in names(count))
    seeded = sum(s3_server.requests(bucket).values()), sum(sqs_server.requests(url).values())
    while lease := queue.claim():
        lease.complete()
    queue.close()
    assert queue.stats().completed == count
    total = sum(s3_server.requests(bucket).values()), sum(sqs_server.requests(url).values())
    with capsys.disabled():
        told = [
            f"{name} {all_ / count:.2f} ({first / count:.2f} to seed)"
            for name, all_, first in zip(("S3", "SQS"), total, seeded, strict=True)
        ]
        print(f" requests a task: {', '.join(told)}", end=" ")
    assert total[0] <= count * 4.5
    assert total[1] <= count * 1.3
