"""Inspecting and requeueing where the store holds what nobody should have written, or changes in between."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.config import StoreSettings
from duplexforge.layout import Layout
from duplexforge.queues.inspecting import Inspection, inspect, requeue, state_of
from duplexforge.records import Lease, ProcessTask
from duplexforge.storage import Store, open_store

KEYS, STAGE = Layout(), "processing"


@pytest.fixture
def store() -> Store:
    return open_store(StoreSettings(_env_file=None, store_url="memory://"))


def look(store: Store, name: str = "one") -> Inspection:
    return inspect(store, KEYS, STAGE, name, length=60.0)


def put_todo(store: Store, body: bytes | None = None) -> None:
    task = ProcessTask(id="one", episode_id="e", audio_key="k")
    store.put(KEYS.todo(STAGE, "one"), task.to_bytes() if body is None else body)


def put_lease(store: Store, number: int = 1, **fields: object) -> None:
    record = {"owner": "pod:1", "nonce": "n", "granted": store.now(), "length": 60.0, **fields}
    store.put(KEYS.lease(STAGE, "one", number), Lease.model_validate(record).to_bytes())


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"{", "{"), (b"\xff", "�"), (b'{"video_id": "x"}', {"video_id": "x"}), (b"[" * 5000, "[" * 4000), (b"7", 7)],
)  # fmt: skip
def test_a_body_that_is_no_task_is_shown_as_it_is(store: Store, body: bytes, shown: object) -> None:
    put_todo(store, body)
    assert look(store).todo == shown
    assert look(store).state == "waiting"
    json.dumps(look(store).to_json())


def test_a_lease_that_cannot_be_read_holds_until_it_expires(store: Store) -> None:
    put_todo(store)
    store.put(KEYS.lease(STAGE, "one", 1), b"{")
    (attempt,) = look(store).attempts
    assert (attempt.owner, attempt.state) == ("of an unreadable lease", "live")
    assert requeue(store, KEYS, STAGE, "one", length=60.0) == "held"
    assert store.get(KEYS.lease(STAGE, "one", 1)) == b"{"


def test_an_end_that_cannot_be_read_is_an_end(store: Store) -> None:
    store.put(KEYS.failed(STAGE, "one"), b"{")
    found = look(store)
    assert found.state == "failed"
    assert found.failed
    assert "not a valid Ended" in found.failed["unreadable"]
    assert found.prospect == "ended"


def test_other_objects_and_other_tasks_are_not_its_attempts(store: Store) -> None:
    put_todo(store)
    put_lease(store, 2, outcome="released")
    for name in ("one.x.lease", "one.2.1.lease", "one-more.1.lease", "one.lease", "o.1.lease", "one.²  .lease"):
        store.put(KEYS.queue_prefix(STAGE, "in_progress") + name, b"{}")
    assert [attempt.attempt for attempt in look(store).attempts] == [2]


def test_requeueing_changes_the_time_and_nothing_else(store: Store) -> None:
    put_todo(store)
    put_lease(store, outcome="failed", failures=2, reason="busy", error="x", not_before=store.now() + 900, more=1)
    before = json.loads(store.get(KEYS.lease(STAGE, "one", 1)))
    assert requeue(store, KEYS, STAGE, "one", length=60.0) == "claimable"
    after = json.loads(store.get(KEYS.lease(STAGE, "one", 1)))
    assert before.pop("not_before") > store.now()
    assert after == before


def moving(store: Store, monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]) -> None:
    """Let ``step`` happen once, right before the next object is written."""
    real = store.put

    def put(key: str, body: bytes) -> None:
        monkeypatch.setattr(store, "put", real)
        step()
        real(key, body)

    monkeypatch.setattr(store, "put", put)


def test_a_task_that_ends_while_it_is_requeued_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_todo(store)
    put_lease(store, outcome="released", not_before=store.now() + 900)
    moving(store, monkeypatch, lambda: store.delete([KEYS.todo(STAGE, "one"), KEYS.lease(STAGE, "one", 1)]))
    assert requeue(store, KEYS, STAGE, "one", length=60.0) == "ended"
    assert list(store.list(KEYS.queue_prefix(STAGE, "in_progress"))) == []


def test_a_task_that_is_claimed_while_it_is_requeued_keeps_its_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_todo(store)
    put_lease(store, outcome="released", not_before=store.now() + 900)
    moving(store, monkeypatch, lambda: put_lease(store, 2, nonce="mine"))
    requeue(store, KEYS, STAGE, "one", length=60.0)
    found = look(store)
    assert found.state == "running"
    assert json.loads(store.get(KEYS.lease(STAGE, "one", 2)))["nonce"] == "mine"


@given(outcome=st.sampled_from([None, "released", "failed"]), length=st.floats(0.5, 1e5), silence=st.floats(0, 2e5))
def test_states_of_a_lease(outcome: str | None, length: float, silence: float) -> None:
    record = Lease.model_validate({"owner": "o", "nonce": "n", "granted": 0.0, "length": length, "outcome": outcome})
    state = state_of(record, 1000.0, 1000.0 + silence)
    assert state == (outcome or ("expired" if 1000.0 + silence - 1000.0 > length else "live"))
