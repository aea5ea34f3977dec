"""Tasks without a message are found and sent one: after a crash, when messages grew too old, when SQS gave them up."""

from __future__ import annotations

import json

import pytest

from tests.servers.sqs_client import SqsServer
from tests.unit.queues.sites import LEASE, SqsSite, claimed, task

RETENTION = 3600


def crashed(site: SqsSite, *names: str) -> None:
    """Whoever put these died before the message was sent."""
    for name in names:
        assert site.store.put_if_absent(site.layout.todo(site.stage, name), task(name).to_bytes())


def test_a_crash_between_todo_and_message(site: SqsSite) -> None:
    crashed(site, "one")
    assert site.open().put(task("one")) is False, "it is known"
    lease = claimed(site.open())
    assert (lease.task_id, lease.task) == ("one", task("one"))
    lease.complete()
    assert site.open().claim() is None
    assert site.ids("completed") == ["one"]


def test_messages_that_grew_too_old(sqs_server: SqsServer) -> None:
    site = SqsSite(sqs_server, sqs_server.fresh_queue(MessageRetentionPeriod=str(RETENTION)))
    queue = site.open()
    queue.put_many(task(f"t{number:02d}") for number in range(25))
    claimed(queue).complete()
    queue.close()
    site.advance(RETENTION + 1)
    assert site.server.control(site.url, advance=0)["messages"] != [], "forgotten when somebody next looks"
    while lease := queue.claim():
        lease.complete()
    assert len(site.ids("completed")) == 25


def test_what_sqs_itself_gave_up(sqs_server: SqsServer) -> None:
    site = SqsSite(sqs_server, sqs_server.fresh_queue(receives=2))
    site.open().put(task("one", attempt_limit=9))
    for attempt in (1, 2, 3, 4):
        # Workers that vanish: SQS moves the message away after the second.
        assert claimed(site.open()).attempt == attempt
        site.advance(LEASE + 1)
    assert len(site.dead_letters()) >= 1
    lease = claimed(site.open())
    lease.complete()
    assert site.ids("completed") == ["one"]


def test_the_oldest_free_tasks_are_sent_and_no_more_than_are_missing(site: SqsSite) -> None:
    queue = site.open()
    queue.put_many([task("held"), task("waits")])
    held = claimed(queue)
    claimed(queue).release(after=600)
    names = [f"t{number}" for number in range(5)]
    for name in names:
        site.advance(1)
        crashed(site, name)
    assert queue.reconciler.missing() >= 5
    site.advance(1)
    queue.put(task("fresh"))
    assert queue.reconciler.missing() >= 5
    assert queue.sweep() == 5
    assert queue.reconciler.missing() == 0
    assert queue.sweep() == 0
    sent = [json.loads(one["body"])["id"] for one in site.messages()]
    assert sorted(sent) == sorted([*names, "fresh", "held", "waits"])
    held.complete()


def test_one_worker_looks_for_all_and_what_is_young_is_left(site: SqsSite) -> None:
    crashed(site, "one")
    queues = [site.open(reconcile=60.0) for _ in range(3)]
    assert [queue.claim() for queue in queues] == [None, None, None], "it may be on its way"
    turns = [meta.key for meta in site.store.list(site.layout.turns(site.stage))]
    assert len(turns) == 1
    site.advance(61)
    for queue in queues:
        queue.reconciler._next = 0.0
    assert [queue.reconciler.run() for queue in queues] == [1, 0, 0]
    assert [meta.key for meta in site.store.list(site.layout.turns(site.stage))] > turns, "old turns are removed"
    assert len(site.messages()) == 1


def test_nothing_is_asked_of_sqs_while_nothing_is_open(site: SqsSite) -> None:
    queue = site.open()
    assert queue.sweep() == 0
    assert "GetQueueAttributes" not in site.server.requests(site.url)
    queue.put(task("one"))
    claimed(queue).complete()
    queue.close()
    assert queue.sweep() == 0
    assert "GetQueueAttributes" not in site.server.requests(site.url)


@pytest.mark.parametrize("twice", [0.0, 1.0])
def test_duplicates_hide_a_missing_message_only_for_a_while(site: SqsSite, twice: float) -> None:
    queue = site.open()
    queue.put(task("one"))
    site.by_hand('{"id": "one"}', task="one")
    crashed(site, "two")
    assert queue.reconciler.missing() == 0
    site.server.control(site.url, twice=twice)
    done: list[str] = []
    for _ in range(4):
        while lease := queue.claim():
            done.append(lease.task_id)
            lease.complete()
            site.server.control(site.url, twice=0.0)
        site.advance(LEASE + 1)
    assert sorted(done) == ["one", "two"]


def test_a_revived_task_gets_a_message(site: SqsSite) -> None:
    queue = site.open(reconcile=3600.0)
    queue.put(task("one"))
    claimed(queue).fail(ValueError("x"), permanent=True)
    queue.close()
    assert site.messages() == []
    assert queue.revive("one") is True
    assert queue.revive("one") is False
    assert claimed(queue).attempt == 1


def test_a_half_done_end_is_finished_by_its_message(site: SqsSite) -> None:
    queue = site.open()
    queue.put(task("one"))
    lease = claimed(queue)
    body = site.store.get(site.layout.todo(site.stage, "one"))
    lease.complete()
    queue.close()
    site.store.put_if_absent(site.layout.todo(site.stage, "one"), body)
    assert queue.sweep() >= 1
    while queue.claim():
        raise AssertionError("it has ended")
    assert (site.ids("todo"), site.ids("completed")) == ([], ["one"])
