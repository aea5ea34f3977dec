"""A download that is too large, too slow or not wanted any more ends."""

from __future__ import annotations

import pytest

from duplexforge.downloading.watch import SLOWEST, WINDOW, Watch
from duplexforge.errors import InputError, Preempted, RetryLater


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.time


def test_the_limit_is_inclusive() -> None:
    watch = Watch(10)
    watch.seen(10)
    with pytest.raises(InputError) as caught:
        watch.seen(11)
    assert caught.value.reason == "too_large"


def test_a_stop_is_seen_at_the_next_block() -> None:
    wishes = iter([False, True])
    watch = Watch(10, lambda: next(wishes))
    watch.seen(1)
    with pytest.raises(Preempted):
        watch.seen(2)


def test_a_dripping_server_is_given_up_after_a_window() -> None:
    clock = Clock()
    watch = Watch(10**9, clock=clock)
    clock.time += WINDOW - 1
    watch.seen(5)
    clock.time += 1
    with pytest.raises(RetryLater) as caught:
        watch.seen(6)
    assert caught.value.reason == "network"


def test_a_slow_but_steady_server_may_take_its_time() -> None:
    clock = Clock()
    watch = Watch(10**9, clock=clock)
    size = 0
    for _ in range(100):
        clock.time += WINDOW
        size += int(SLOWEST * WINDOW)
        watch.seen(size)
    # The next part of an item in parts starts at zero again.
    clock.time += WINDOW
    watch.seen(3)
    clock.time += WINDOW
    with pytest.raises(RetryLater):
        watch.seen(4)


@pytest.mark.parametrize(
    ("seconds", "reason"), [(9.9, "too_short"), (10.0, None), (100.0, None), (100.1, "too_long"), (None, None)]
)
def test_lengths(seconds: float | None, reason: str | None) -> None:
    watch = Watch(10, shortest=10, longest=100)
    if reason is None:
        watch.lasts(seconds)
        return
    with pytest.raises(InputError) as caught:
        watch.lasts(seconds)
    assert caught.value.reason == reason
    Watch(10).lasts(seconds)


def test_the_rate_is_kept_by_waiting() -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.time += seconds

    watch = Watch(10**9, rate=1000, clock=clock, sleep=sleep)
    began = clock.time
    for number in range(1, 11):
        watch.ease(number * 500, began)
    assert clock.time - began == pytest.approx(5.0)
    Watch(10**9, clock=clock).ease(10**9, began)
    assert clock.time - began == pytest.approx(5.0)


def test_a_stop_ends_the_waiting() -> None:
    with pytest.raises(Preempted):
        Watch(10**9, lambda: True, rate=1, clock=Clock()).ease(1000, 100.0)
