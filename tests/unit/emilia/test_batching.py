"""Batches across threads: to each its own result, whatever comes when, is cancelled, or fails."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia.batching import Batcher, gather
from Emilia.errors import DeviceLost

Item = tuple[str, int]
FOREVER = 3600.0


class Device:
    """Doubles numbers; keeps what was run in which thread, and can be held up."""

    def __init__(self, raising: Callable[[list[int]], None] = lambda _: None) -> None:
        self.calls: list[list[Item]] = []
        self.threads: set[int] = set()
        self.open, self.entered = threading.Event(), threading.Event()
        self.open.set()
        self._raising = raising

    def run(self, items: list[Item]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.calls.append(items)
        self.entered.set()
        assert self.open.wait(20)
        self._raising([number for _, number in items])
        return [2 * number for _, number in items]


@contextmanager
def batching(device: Device, size: int = 2, **settings: Any) -> Iterator[Batcher[Item, Item, int]]:
    batcher: Batcher[Item, Item, int] = Batcher(
        device.run, lambda item: item[0], size, **{"prepare": lambda item: item, "linger": 0.05, **settings}
    )
    try:
        yield batcher
    finally:
        device.open.set()
        batcher.close()


def hold(device: Device, batcher: Batcher[Item, Item, int]) -> None:
    """Let the device be in a call that does not end."""
    device.open.clear()
    batcher.submit([("held", 0)])
    assert device.entered.wait(20)


def flat(lists: list[list[Item]]) -> list[Item]:
    return list(itertools.chain.from_iterable(lists))


def hush(_share: float) -> None: ...


keys = st.sampled_from("abc")
numbers = st.integers(0, 1000)
episodes = st.lists(st.lists(st.tuples(keys, numbers), max_size=12), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(episodes, st.integers(1, 4), st.sampled_from([0.0, 0.002]), st.booleans())
def test_to_each_its_own_result(work: list[list[Item]], size: int, pause: float, announced: bool) -> None:
    device, found = Device(), dict[int, list[int]]()
    with batching(device, size) as batcher:

        def episode(index: int, items: list[Item]) -> None:
            expectation = batcher.expect() if announced else None
            time.sleep(pause * index)
            futures = batcher.submit(items)
            if expectation:
                expectation.settle()
            found[index] = gather(futures, hush) if futures else []

        threads = [threading.Thread(target=episode, args=pair) for pair in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        total = sum(map(len, work))
        assert found == {index: [2 * number for _, number in items] for index, items in enumerate(work)}
        assert all(len({key for key, _ in call}) == 1 and len(call) <= size for call in device.calls)
        assert sorted(flat(device.calls)) == sorted(flat(work))
        assert (batcher.work.items, batcher.work.calls) == (total, len(device.calls))
        assert len(device.threads) <= 1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(keys, st.booleans()), max_size=20), st.integers(1, 4))
def test_cancelled_items_are_never_run(work: list[tuple[str, bool]], size: int) -> None:
    device = Device()
    with batching(device, size) as batcher:
        hold(device, batcher)
        futures = batcher.submit([(key, number) for number, (key, _) in enumerate(work)])
        gone = [number for number, (_, cancel) in enumerate(work) if cancel]
        assert all(futures[number].cancel() for number in gone)
        device.open.set()
        for number, future in enumerate(futures):
            if number not in gone:
                assert future.result(20) == 2 * number
    ran = [number for call in device.calls[1:] for _, number in call]
    assert sorted(ran) == sorted(set(range(len(work))) - set(gone))


def test_full_buckets_first_then_the_fullest() -> None:
    device = Device()
    with batching(device, 3, linger=FOREVER) as batcher:
        hold(device, batcher)
        items = [("a", 1), ("b", 2), ("b", 3), *[("c", 4)] * 3, *[("d", 5)] * 4]
        futures = batcher.submit(items)
        device.open.set()
        assert gather(futures, hush) == [2 * number for _, number in items]
    assert ["".join(key for key, _ in call) for call in device.calls[1:]] == ["ccc", "ddd", "bb", "a", "d"]


def test_what_is_passed_over_for_long_goes_first() -> None:
    device = Device()
    with batching(device, patience=0.3) as batcher:
        hold(device, batcher)
        # The batch after the one that is held is chosen at once; only those behind it can be passed over.
        futures = batcher.submit([("b", 0), ("b", 0), ("rare", 1)])
        time.sleep(0.4)
        futures += batcher.submit([("b", number) for number in range(2, 12)])
        device.open.set()
        gather(futures, hush)
    assert [call[0][0] for call in device.calls[1:]] == ["b", "rare", *"bbbbb"]


def test_a_batch_that_is_not_full_waits_for_what_is_expected() -> None:
    device = Device()
    with batching(device, 3, linger=FOREVER) as batcher:
        first, second = batcher.expect(), batcher.expect()
        one = batcher.submit([("a", 1)])
        first.settle()
        time.sleep(0.1)
        assert not device.calls
        two = batcher.submit([("a", 2)])
        second.settle()
        assert gather([*one, *two], hush) == [2, 4]
    assert device.calls == [[("a", 1), ("a", 2)]]


def test_who_fails_before_submitting_holds_nobody_up() -> None:
    device = Device()
    with batching(device, 3, linger=FOREVER) as batcher:
        failing = batcher.expect()
        futures = batcher.submit([("a", 1)])
        failing.settle()
        failing.settle()
        assert gather(futures, hush) == [2]
        late = batcher.expect()
        again = batcher.submit([("a", 2)])
        time.sleep(0.05)
        assert not again[0].done(), "settling twice must not count for another one's promise"
        late.settle()
        assert gather(again, hush) == [4]


def test_nobody_waits_longer_than_lingering() -> None:
    device = Device()
    with batching(device, 3, linger=0.05) as batcher:
        expectation = batcher.expect()
        assert gather(batcher.submit([("a", 1)]), hush) == [2]
        expectation.settle()


def test_an_error_goes_to_the_items_of_its_call_only() -> None:
    def odd(numbers: list[int]) -> None:
        if 1 in numbers:
            raise ValueError("odd")

    device = Device(odd)
    with batching(device) as batcher:
        hold(device, batcher)
        futures = batcher.submit([("a", 1), ("a", 2), ("b", 3), ("b", 4)])
        device.open.set()
        for future in futures[:2]:
            with pytest.raises(ValueError, match="odd"):
                future.result(20)
        assert [future.result(20) for future in futures[2:]] == [6, 8]
        with pytest.raises(ValueError, match="odd"):
            gather(futures, hush)


def test_what_cannot_be_prepared_fails_alone() -> None:
    def prepare(item: Item) -> Item:
        if item[1] == 1:
            raise FileNotFoundError
        return item

    device = Device()
    with batching(device, prepare=prepare) as batcher:
        futures = batcher.submit([("a", 1), ("a", 2), ("a", 3)])
        with pytest.raises(FileNotFoundError):
            futures[0].result(20)
        assert [future.result(20) for future in futures[1:]] == [4, 6]
    assert ("a", 1) not in flat(device.calls)


def test_too_few_results_are_an_error() -> None:
    batcher: Batcher[int, int, int] = Batcher(lambda items: items[1:], lambda _: None, 2, prepare=lambda item: item)
    with pytest.raises(RuntimeError, match="1 results for 2 items"):
        gather(batcher.submit([1, 2]), hush)
    batcher.close()


def test_a_lost_device_reaches_everyone() -> None:
    def lose(numbers: list[int]) -> None:
        raise DeviceLost("gone")

    device = Device(lose)
    with batching(device) as batcher:
        hold(device, batcher)
        futures = batcher.submit([("a", 1), ("a", 2), ("b", 3), ("c", 4)])
        device.open.set()
        for future in futures:
            with pytest.raises(DeviceLost, match="gone"):
                future.result(20)
        with pytest.raises(DeviceLost):
            batcher.submit([("a", 5)])
    assert len(device.calls) <= 1 + 1


def test_progress_is_told_while_waiting_and_may_stop_it() -> None:
    device, told = Device(), list[float]()
    with batching(device, 1) as batcher:
        hold(device, batcher)

        def progress(share: float) -> None:
            told.append(share)
            if len(told) == 3:
                raise InterruptedError

        futures = batcher.submit([("a", 1), ("a", 2)])
        with pytest.raises(InterruptedError):
            gather(futures, progress, every=0.01)
        assert told == [0.0] * 3
        assert all(future.cancelled() for future in futures)
        device.open.set()
        done: list[float] = []
        assert gather(batcher.submit([("a", 3)]), done.append) == [6]
        assert done == [1.0]
    assert device.calls == [[("held", 0)], [("a", 3)]]


def test_preparing_goes_on_while_the_device_is_busy_and_one_call_ahead() -> None:
    prepared: list[Item] = []
    device = Device()
    with batching(device, 1, prepare=lambda item: prepared.append(item) or item) as batcher:
        hold(device, batcher)
        futures = batcher.submit([("a", number) for number in range(5)])
        time.sleep(0.1)
        assert prepared == [("held", 0), ("a", 0)]
        device.open.set()
        gather(futures, hush)
    assert len(prepared) == 6


def test_idle_is_time_with_items_but_no_call() -> None:
    device = Device()
    with batching(device, 3, linger=0.2) as batcher:
        time.sleep(0.1)
        expectation = batcher.expect()
        gather(batcher.submit([("a", 1)]), hush)
        expectation.settle()
        lingered = batcher.work.idle
        assert 0.15 < lingered < 5
        time.sleep(0.3)
        gather(batcher.submit([("a", 1)]), hush)
        assert batcher.work.idle - lingered < 0.25, "waiting for work is not idling"


def test_nothing_is_left_after_close() -> None:
    device = Device()
    before = set(threading.enumerate())
    with batching(device) as batcher:
        assert set(threading.enumerate()) > before
        hold(device, batcher)
        futures = batcher.submit([("a", number) for number in range(6)])
        threading.Timer(0.05, device.open.set).start()
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)  # the timer's own thread
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit([("a", 1)])
