"""Group commit: lanes share commits, and whatever becomes of one lane, no other lane's shard is lost or doubled."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from duplexforge.errors import ConfigError, LeaseLost, Preempted, RetryLater
from duplexforge.uploading.committer import Committer
from duplexforge.uploading.shard import Beat
from tests.unit.uploading.test_local import Steady


@contextmanager
def free(beat: Beat) -> Iterator[Beat]:
    """A turn that nobody else wants."""
    yield beat


class Book:
    """Commits, and how often each shard was in one."""

    def __init__(self, *, fail: Callable[[Sequence[str]], Exception | None] = lambda group: None) -> None:
        self.groups: list[list[str]] = []
        self.fail = fail

    def commit(self, group: Sequence[str], beat: Beat) -> list[str | Exception]:
        """Write it down."""
        beat("commit", 0.5)
        self.groups.append(list(group))
        if error := self.fail(group):
            raise error
        return [f"done {one}" for one in group]


class Lanes:
    """Lanes in threads, one shard each, and what came of them."""

    def __init__(self, committer: Committer[str, str]) -> None:
        self.committer = committer
        self.results: dict[str, str | BaseException] = {}

    def run(self, shards: Sequence[str], progress: Callable[[str], Steady] = lambda name: Steady()) -> None:
        """All lanes at once, each arriving when it likes."""
        rng = random.Random(7)
        pauses = {name: rng.uniform(0, 0.05) for name in shards}
        ready = threading.Barrier(len(shards))

        def lane(name: str) -> None:
            with self.committer.lane():
                ready.wait()
                time.sleep(pauses[name])
                try:
                    self.results[name] = self.committer.publish(name, progress(name))
                except BaseException as error:
                    self.results[name] = error

        threads = [threading.Thread(target=lane, args=(name,)) for name in shards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads)


def test_lanes_share_one_commit() -> None:
    book = Book()
    lanes = Lanes(Committer(book.commit, free, lanes=7, most=50, wait_seconds=20.0))
    lanes.run("abcd")
    assert [sorted(group) for group in book.groups] == [["a", "b", "c", "d"]]
    assert lanes.results == {name: f"done {name}" for name in "abcd"}


def test_one_lane_does_not_wait() -> None:
    book = Book()
    alone = Committer(book.commit, free, lanes=1, most=50, wait_seconds=3600.0)
    with alone.lane():
        assert alone.publish("a", Steady()) == "done a"
    last = Committer(book.commit, free, lanes=4, most=50, wait_seconds=3600.0)
    with last.lane():
        assert last.publish("b", Steady()) == "done b"


def test_a_lane_that_still_builds_is_not_waited_for_without_end() -> None:
    book = Book()
    committer = Committer(book.commit, free, lanes=2, most=50, wait_seconds=0.05)
    with committer.lane(), committer.lane():
        assert committer.publish("a", Steady()) == "done a"
    assert book.groups == [["a"]]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_commit_is_larger_than_told(most: int) -> None:
    book = Book()
    lanes = Lanes(Committer(book.commit, free, lanes=7, most=most, wait_seconds=20.0))
    lanes.run("abcdefg")
    assert sorted(name for group in book.groups for name in group) == list("abcdefg")
    assert max(len(group) for group in book.groups) <= most
    assert lanes.results == {name: f"done {name}" for name in "abcdefg"}


def test_an_error_reaches_every_lane_of_the_group() -> None:
    book = Book(fail=lambda group: RetryLater("the Hub is away"))
    lanes = Lanes(Committer(book.commit, free, lanes=7, most=50, wait_seconds=20.0))
    lanes.run("abc")
    assert all(isinstance(result, RetryLater) for result in lanes.results.values())
    assert sorted(name for group in book.groups for name in group) == list("abc")


def test_one_shard_of_a_group_may_be_refused() -> None:
    def commit(group: Sequence[str], beat: Beat) -> list[str | Exception]:
        return [ConfigError("not this one") if name == "b" else name for name in group]

    lanes = Lanes(Committer(commit, free, lanes=7, most=50, wait_seconds=20.0))
    lanes.run("abc")
    assert isinstance(lanes.results.pop("b"), ConfigError)
    assert lanes.results == {"a": "a", "c": "c"}


@pytest.mark.parametrize("error", [LeaseLost("taken"), Preempted("stop")])
def test_a_committing_lane_that_must_stop_leaves_the_others_theirs(error: Exception) -> None:
    """The first lane that commits is stopped in the middle of it; another one takes over."""
    stopped: list[str] = []
    lock = threading.Lock()

    class Stopping(Steady):
        def __init__(self, name: str) -> None:
            self.name = name

        def beat(self, what: str = "", fraction: float = 0.0) -> None:
            with lock:
                if what == "commit" and not stopped:
                    stopped.append(self.name)
                    raise error

    book = Book()
    lanes = Lanes(Committer(book.commit, free, lanes=7, most=50, wait_seconds=20.0))
    lanes.run("abc", Stopping)
    assert lanes.results.pop(stopped[0]) is error
    assert lanes.results == {name: f"done {name}" for name in lanes.results}
    assert len(lanes.results) == 2


def test_a_waiting_lane_that_must_stop_takes_its_shard_along() -> None:
    entered, leave = threading.Event(), threading.Event()

    def commit(group: Sequence[str], beat: Beat) -> list[str | Exception]:
        entered.set()
        leave.wait(10)
        return list(group)

    class Stopped(Steady):
        def wait(self, what: str = "", fraction: float = 0.0) -> None:
            raise Preempted("stop")

    committer: Committer[str, str] = Committer(commit, free, lanes=2, most=1, wait_seconds=0.0)
    first = threading.Thread(target=committer.publish, args=("a", Steady()))
    first.start()
    assert entered.wait(10)
    with pytest.raises(Preempted):
        committer.publish("b", Stopped())
    leave.set()
    first.join(10)
    assert committer._waiting == []  # nothing is left behind for a later commit
