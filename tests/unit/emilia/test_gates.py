"""Gates: one at a time, the older first, and nobody who gave up is waited for; usage counts overlapping blocks once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Emilia.gates import Gate, Usage

HANG = 30.0


def nothing() -> None:
    """A wait that nobody minds."""


def until(told: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG
    while not told():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def queued(gate: Gate) -> int:
    return len(gate._waiting)


def enter_all(gate: Gate, tickets: list[int], passed: list[int]) -> list[threading.Thread]:
    """A thread for each ticket, all of them waiting before the next is started."""

    def target(ticket: int) -> None:
        with gate.passing(ticket, nothing, every=0.01):
            passed.append(ticket)

    threads = []
    for count, ticket in enumerate(tickets, 1):
        threads.append(threading.Thread(target=target, args=(ticket,), daemon=True))
        threads[-1].start()
        until(lambda count=count: queued(gate) == count)
    return threads


@given(st.permutations(list(range(1, 6))))
def test_the_lowest_ticket_goes_first_in_whatever_order_they_came(tickets: list[int]) -> None:
    gate, passed = Gate(), []
    with gate.passing(0, nothing):
        threads = enter_all(gate, tickets, passed)
    for thread in threads:
        thread.join(HANG)
    assert passed == sorted(tickets)


def test_only_one_is_inside() -> None:
    gate, inside, most = Gate(), [], []

    def target(ticket: int) -> None:
        with gate.passing(ticket, nothing, every=0.01):
            inside.append(ticket)
            most.append(len(inside))
            time.sleep(0.002)
            inside.remove(ticket)

    threads = [threading.Thread(target=target, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert most == [1] * 12


def test_who_gives_up_waiting_is_forgotten() -> None:
    gate, passed = Gate(), []

    class Preempted(Exception):
        pass

    def stop() -> None:
        raise Preempted

    with gate.passing(0, nothing):
        threads = enter_all(gate, [2], passed)
        with pytest.raises(Preempted), gate.passing(1, stop, every=0.01):
            pytest.fail("the gate was taken")
        assert queued(gate) == 1
    threads[0].join(HANG)
    assert passed == [2]


def test_an_error_inside_opens_the_gate() -> None:
    gate = Gate()
    with pytest.raises(ValueError, match="inside"), gate.passing(0, nothing):
        raise ValueError("inside")
    with gate.passing(1, nothing):
        pass


def test_usage_counts_time_once_however_many_are_inside() -> None:
    now = [0.0]
    usage = Usage(clock=lambda: now[0])
    with usage.of("a"):
        now[0] = 2.0
        with usage.of("a"), usage.of("b"):
            now[0] = 5.0
        assert usage.seconds() == {"a": 5.0, "b": 3.0}
        now[0] = 6.0
    now[0] = 100.0
    with usage.of("b"):
        now[0] = 101.0
        assert usage.seconds() == {"a": 6.0, "b": 4.0}
