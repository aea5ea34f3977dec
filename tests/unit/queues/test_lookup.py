"""One task's leases by a few requests: the last attempt, and what it means for the next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.layout import Layout
from duplexforge.queues.lookup import last_attempt, look
from duplexforge.queues.view import Seen
from duplexforge.records import Lease
from tests.contract.test_queue_machine import ClockedStore

LAYOUT = Layout()


@given(st.integers(0, 500))
def test_the_last_of_numbers_without_gaps(last: int) -> None:
    asked: list[int] = []

    def exists(number: int) -> bool:
        asked.append(number)
        return 1 <= number <= last

    assert last_attempt(exists) == last
    assert len(asked) <= 2 + 2 * last.bit_length()


def test_gaps_end_somewhere() -> None:
    assert last_attempt(lambda number: number in (1, 2, 5)) == 2


def store_with(**fields: Any) -> ClockedStore:
    """A store whose clock says 1000, with the third lease of ``one``."""
    store = ClockedStore()
    for attempt in (1, 2, 3):
        lease = Lease(
            owner="w", nonce="n", granted=1000.0, length=10.0, **(fields if attempt == 3 else {"outcome": "failed"})
        )
        store.put(LAYOUT.lease("download", "one", attempt), lease.to_bytes())
    return store


def seen(store: ClockedStore) -> Seen | float:
    return look(store, LAYOUT, "download", "one", length=10.0)


def test_nobody_has_tried() -> None:
    assert seen(ClockedStore()) == Seen()


def test_held_then_expired() -> None:
    store = store_with(failures=1)
    store.clock += 4
    assert seen(store) == 6.0
    store.clock += 6.5
    assert seen(store) == Seen(3, 2, "expired", "the worker w stopped renewing its lease")


def test_renewed_by_its_time_in_the_store() -> None:
    store = store_with()
    store.clock += 8
    store.put(LAYOUT.lease("download", "one", 3), store.get(LAYOUT.lease("download", "one", 3)))
    store.clock += 8
    assert seen(store) == 2.0


@pytest.mark.parametrize(("outcome", "failures"), [("failed", 2), ("released", 1)])
def test_ended_attempts_and_their_time(outcome: str, failures: int) -> None:
    store = store_with(outcome=outcome, failures=1, not_before=1005.0, reason="r", error="e")
    assert seen(store) == 5.0
    store.clock += 5
    assert seen(store) == Seen(3, failures, "r", "e")


def test_an_unreadable_lease_holds_for_a_usual_length() -> None:
    store = store_with()
    store.put(LAYOUT.lease("download", "one", 3), b"{broken")
    assert seen(store) == 10.0
    store.clock += 11
    found = seen(store)
    assert isinstance(found, Seen)
    assert (found.attempt, found.reason) == (3, "expired")
