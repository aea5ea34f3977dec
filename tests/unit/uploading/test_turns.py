"""Turns at a data set: one committer at a time, whoever dies, and none that is waited for without end."""

from __future__ import annotations

import threading
import time

import pytest

from duplexforge.errors import Preempted
from duplexforge.uploading.target import silent
from duplexforge.uploading.turns import Turns
from tests.unit.uploading.conftest import Site


def turns(site: Site, target: str = "hub:someone/speech", **options: float) -> Turns:
    """The turns as a fresh process sees them."""
    return Turns(site.store, site.layout, target, **options)


def test_one_at_a_time(site: Site) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def commit() -> None:
        with turns(site).taken(silent):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=commit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert site.store.find(turns(site).key) is None


def test_data_sets_do_not_wait_for_each_other(memory: Site) -> None:
    with turns(memory, "hub:a/b").taken(silent), turns(memory, "hub:a/c").taken(silent):
        assert len(list(memory.store.list(f"{memory.layout.tasks}upload_committer/"))) == 2


def test_a_committer_that_died_is_taken_over(memory: Site) -> None:
    memory.store.put(turns(memory).key, b"somebody who was killed")
    with turns(memory, length=0.3).taken(silent):
        assert memory.store.get(turns(memory).key) != b"somebody who was killed"
    assert memory.store.find(turns(memory).key) is None


def test_a_turn_is_renewed_while_it_is_used(memory: Site) -> None:
    with turns(memory, length=0.2).taken(silent) as beat:
        first = memory.store.head(turns(memory).key)
        time.sleep(0.1)
        beat("commit", 0.5)
        second = memory.store.head(turns(memory).key)
    assert first is not None
    assert second is not None
    assert second.modified > first.modified


def test_a_turn_that_was_taken_over_is_left_alone(memory: Site) -> None:
    with turns(memory, length=0.2).taken(silent) as beat:
        memory.store.put(turns(memory).key, b"the next one's")
        time.sleep(0.1)
        beat("commit", 0.5)
    assert memory.store.get(turns(memory).key) == b"the next one's"


def test_a_stop_ends_the_wait(memory: Site) -> None:
    def stop(_: str, __: float) -> None:
        raise Preempted("stop")

    with turns(memory).taken(silent), pytest.raises(Preempted), turns(memory).taken(stop):
        pytest.fail("it is not our turn")


def test_a_turn_that_never_ends_is_not_waited_for(memory: Site) -> None:
    key = turns(memory).key
    ended = threading.Event()

    def hold() -> None:
        while not ended.wait(0.02):
            memory.store.put(key, b"for ever")

    holder = threading.Thread(target=hold)
    memory.store.put(key, b"for ever")
    holder.start()
    try:
        with turns(memory, length=0.3).taken(silent) as beat:
            beat("commit", 0.5)
            assert memory.store.get(key) == b"for ever"
    finally:
        ended.set()
        holder.join()
