"""Checkpoints in a store: whole or not there, whoever dies and whoever else sends. Files here are plain bytes: no torch."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from duplexforge import config
from duplexforge.config import Settings, StoreSettings
from duplexforge.errors import ConfigError, InputError, StoreError, UsageError
from duplexforge.layout import Layout
from duplexforge.records import FolderRecord, parse
from duplexforge.storage import Store, open_store
from duplexforge.training.remote import CHECKPOINTS, EXPORTS, Remote
from tests.contract.backends import STORES
from tests.servers.s3_client import S3Server

LAYOUT = Layout()
PREFIX = "models/r/checkpoints/"


def body(step: int) -> bytes:
    """What the checkpoint of a step holds."""
    return f"weights after {step} steps".encode() * 100


def name(step: int) -> str:
    """How the loop calls its file."""
    return f"step-{step:09d}.pt"


def checkpoint(folder: Path, step: int, content: bytes | None = None) -> Path:
    """A checkpoint on this disk."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name(step)
    path.write_bytes(body(step) if content is None else content)
    return path


def sent(remote: Remote, folder: Path, *steps: int, keep: int = 3) -> None:
    """Send one after the other."""
    for step in steps:
        remote.take(step, checkpoint(folder, step), keep=keep)
    remote.settle()


@pytest.fixture(params=["local", "memory", "s3", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    return open_store(STORES[request.param](request))


@pytest.fixture
def memory() -> Store:
    return open_store(StoreSettings(_env_file=None, store_url="memory://"))


def keys(store: Store) -> list[str]:
    return [meta.key.removeprefix(PREFIX) for meta in store.list(PREFIX)]


# -- the contract --------------------------------------------------------------------------------------------------------


def test_what_was_sent_comes_back(store: Store, tmp_path: Path) -> None:
    remote = Remote(store, LAYOUT, "r")
    assert remote.steps() == []
    sent(remote, tmp_path / "here", 5, 10)
    assert remote.steps() == [5, 10]
    remote.close()
    other = Remote(store, LAYOUT, "r")
    other.fetch(10, tmp_path / name(10))
    assert (tmp_path / name(10)).read_bytes() == body(10)
    assert not list(tmp_path.glob("**/*.part"))
    assert Remote(store, LAYOUT, "another").steps() == []


def test_the_last_few_are_kept_with_their_files_and_no_others(store: Store, tmp_path: Path) -> None:
    remote = Remote(store, LAYOUT, "r")
    sent(remote, tmp_path, 1, 2, 10, 30, keep=2)
    assert remote.steps() == [10, 30]
    # Two records, and one file each.
    assert sorted(key.partition(".")[0] for key in keys(store)) == ["step-000000010"] * 2 + ["step-000000030"] * 2


def test_a_record_says_what_it_must_be(store: Store, tmp_path: Path) -> None:
    remote = Remote(store, LAYOUT, "r")
    sent(remote, tmp_path, 7)
    record = parse(FolderRecord, store.get(f"{PREFIX}step-000000007.json"), "the record")
    assert record.step == 7
    assert record.folder.startswith(f"{PREFIX}step-000000007.")
    (entry,) = record.files
    assert (entry.name, entry.size) == (name(7), len(body(7)))
    assert store.get(record.folder + entry.name) == body(7)


def test_two_senders_of_a_step_leave_one(store: Store, tmp_path: Path) -> None:
    senders = [Remote(store, LAYOUT, "r") for _ in range(4)]
    barrier = threading.Barrier(len(senders))

    def send(number: int) -> None:
        path = checkpoint(tmp_path / str(number), 8, b"sender %d" % number)
        barrier.wait()
        senders[number].take(8, path, keep=2)
        senders[number].close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(senders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert senders[0].steps() == [8]
    remote = Remote(store, LAYOUT, "r")
    remote.fetch(8, tmp_path / name(8))
    # Whichever it is, it is one sender's: file and record belong together.
    assert (tmp_path / name(8)).read_bytes().startswith(b"sender ")
    sent(remote, tmp_path, 9)
    assert len([key for key in keys(store) if key.startswith("step-000000008.") and not key.endswith(".json")]) == 1


def test_a_fresh_run_finds_nothing(store: Store, tmp_path: Path) -> None:
    remote = Remote(store, LAYOUT, "r")
    sent(remote, tmp_path, 1, 2)
    remote.export(2, tmp_path, [tmp_path / name(2)], {})
    other = Remote(store, LAYOUT, "r2")
    sent(other, tmp_path, 1)
    remote.fresh()
    assert remote.steps() == remote.steps(EXPORTS) == []
    assert list(store.list("models/r/")) == []
    assert other.steps() == [1]


def test_results_are_committed_too(store: Store, tmp_path: Path) -> None:
    remote = Remote(store, LAYOUT, "r")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"w")
    (tmp_path / "token").write_bytes(b"t")
    remote.export(600, tmp_path, [tmp_path / "adapter", tmp_path / "token"], {"figures": {"snr": 1.5}})
    record = parse(FolderRecord, store.get("models/r/exports/step-000000600.json"), "the record")
    assert [entry.name for entry in record.files] == ["adapter/weights", "token"]
    assert record.facts == {"figures": {"snr": 1.5}}
    assert remote.steps() == []
    (tmp_path / "token").write_bytes(b"later")
    remote.export(700, tmp_path, [tmp_path / "token"], {})
    assert remote.results(tmp_path / "got").step == 700
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "got").iterdir()] == [("token", b"later")]
    with pytest.raises(UsageError, match="has no results of a run r9"):
        Remote(store, LAYOUT, "r9").results(tmp_path / "none")


# -- what goes wrong -----------------------------------------------------------------------------------------------------


def test_another_checksum_is_not_taken_and_can_be_sent_anew(memory: Store, tmp_path: Path) -> None:
    remote = Remote(memory, LAYOUT, "r")
    sent(remote, tmp_path / "here", 1, 2)
    record = parse(FolderRecord, memory.get(f"{PREFIX}step-000000002.json"), "the record")
    memory.put(record.folder + name(2), body(3))
    with pytest.raises(InputError, match="is not what was sent"):
        remote.fetch(2, tmp_path / name(2))
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert remote.steps() == [1]
    sent(remote, tmp_path / "here", 2)
    remote.fetch(2, tmp_path / name(2))
    assert (tmp_path / name(2)).read_bytes() == body(2)


@pytest.mark.parametrize("damage", ["gone", "no record", "empty record", "other name"])
def test_what_is_not_whole_is_not_taken(memory: Store, tmp_path: Path, damage: str) -> None:
    remote = Remote(memory, LAYOUT, "r")
    sent(remote, tmp_path / "here", 1)
    key = f"{PREFIX}step-000000001.json"
    record = parse(FolderRecord, memory.get(key), "the record")
    if damage == "gone":
        memory.delete(record.folder + name(1))
    elif damage == "no record":
        memory.put(key, b"{")
    elif damage == "empty record":
        memory.put(key, record.model_copy(update={"files": []}).to_bytes())
    else:
        entry = record.files[0].model_copy(update={"name": "../out"})
        memory.put(key, record.model_copy(update={"files": [entry]}).to_bytes())
    with pytest.raises(InputError):
        remote.fetch(1, tmp_path / "there" / name(1))
    assert remote.steps() == []
    assert not list(tmp_path.glob("**/*.part"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the sender runs after it."""


class Mortal(Store):
    """A store of which the sender dies before its request number ``at``, or just after it was carried out."""

    def __init__(self, other: Store, at: int, *, after: bool) -> None:
        super().__init__(other.url, other._backend)
        self.at, self.after, self.count = at, after, 0

    def _once(self, request: Any) -> Any:
        self.count += 1
        if self.count > self.at or (self.count == self.at and not self.after):
            raise Killed
        found = request()
        if self.count == self.at:
            raise Killed
        return found

    def upload(self, *given: Any, **more: Any) -> bool:
        return bool(self._once(lambda: Store.upload(self, *given, **more)))

    def put_if_absent(self, *given: Any) -> bool:
        return bool(self._once(lambda: Store.put_if_absent(self, *given)))

    def delete(self, *given: Any) -> None:
        self._once(lambda: Store.delete(self, *given))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 11))
def test_a_sender_may_die_at_every_request(memory: Store, tmp_path: Path, at: int, after: bool) -> None:
    sent(Remote(memory, LAYOUT, "r"), tmp_path / "here", 1, 2, keep=2)
    dying = Remote(Mortal(memory, at, after=after), LAYOUT, "r")
    try:
        sent(dying, tmp_path / "here", 3, 4, 5, keep=2)
        died = False
    except Killed:
        died = True
    assert died is (at <= 9 or (at == 10 and dying._store.count >= 10))  # type: ignore[attr-defined]
    remote = Remote(memory, LAYOUT, "r")
    known = remote.steps()
    # Something to go on from, always; and whatever is offered is whole.
    assert known[-1] in (2, 3, 4, 5)
    for step in known[-2:]:
        remote.fetch(step, tmp_path / "there" / name(step))
        assert (tmp_path / "there" / name(step)).read_bytes() == body(step)
    # The next attempt goes on, and leaves nothing of the one that died.
    sent(remote, tmp_path / "here", 6, 7, 8, keep=2)
    assert remote.steps() == [7, 8]
    assert sorted(key.partition(".")[0] for key in keys(memory)) == ["step-000000007"] * 2 + ["step-000000008"] * 2


_CHILD = """
import os, signal, sys
from pathlib import Path
from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.layout import Layout
from duplexforge.storage import Store, open_store
from duplexforge.training.remote import Remote

Store.put_if_absent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
remote = Remote(open_store(config.load("status")[StoreSettings]), Layout(), "r")
remote.take(2, path, keep=1)
remote.settle()
"""


def test_killed_between_files_and_record(s3_server: S3Server, tmp_path: Path) -> None:
    wanted = s3_server.settings(s3_server.fresh_bucket())
    store = open_store(wanted)
    remote = Remote(store, LAYOUT, "r")
    sent(remote, tmp_path, 1, keep=1)
    environment = config.child_environment(**config.environment_of(Settings({StoreSettings: wanted})))
    command = [sys.executable, "-c", _CHILD, str(checkpoint(tmp_path, 2))]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(key.startswith("step-000000002.") for key in keys(store)), "its files are there"
    assert remote.steps() == [1]
    sent(remote, tmp_path, 2, 3, keep=1)
    assert sorted(key.partition(".")[0] for key in keys(store)) == ["step-000000003"] * 2


def test_a_store_that_is_away_costs_a_warning_until_the_end(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    remote = Remote(open_store(s3_server.settings(bucket), attempts=1), LAYOUT, "r")
    s3_server.arm("error", match=f"/{bucket}/models", times=2)
    sent(remote, tmp_path, 1)
    sent(remote, tmp_path, 2)
    with pytest.raises(StoreError, match="the last checkpoint was not sent"):
        remote.close()
    again = Remote(open_store(s3_server.settings(bucket)), LAYOUT, "r")
    sent(again, tmp_path, 3)
    again.close()
    assert again.steps() == [3]


def test_a_key_that_is_refused_ends_the_run(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    remote = Remote(open_store(s3_server.settings(bucket)), LAYOUT, "r")
    s3_server.control(deny=[f"{bucket}/models"])
    try:
        with pytest.raises(ConfigError, match="check the access key"):
            sent(remote, tmp_path, 1)
    finally:
        s3_server.control(deny=[])


def test_a_lost_answer_is_no_second_sender(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    remote = Remote(open_store(s3_server.settings(bucket)), LAYOUT, "r")
    s3_server.arm("lost", method="PUT", match=f"/{bucket}/{PREFIX}step-000000001.json")
    sent(remote, tmp_path / "here", 1)
    remote.fetch(1, tmp_path / name(1))
    assert (tmp_path / name(1)).read_bytes() == body(1)


def test_a_later_checkpoint_makes_up_for_one_that_was_lost(memory: Store, tmp_path: Path) -> None:
    remote = Remote(memory, LAYOUT, "r")
    path = checkpoint(tmp_path, 1)
    failing = [True, False]

    def flaky(*given: Any, **more: Any) -> bool:
        if failing.pop(0):
            raise StoreError("away")
        return Store.upload(memory, *given, **more)

    memory.upload = flaky  # type: ignore[method-assign]
    remote.take(1, path, keep=1)
    sent(remote, tmp_path, 2)
    remote.close()
    assert remote.steps() == [2]


def test_what_is_sent_again_is_not_sent_twice(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.fresh_bucket()
    store = open_store(s3_server.settings(bucket))
    sent(Remote(store, LAYOUT, "r"), tmp_path, 1)
    before = s3_server.requests(bucket).get("put", 0)
    sent(Remote(store, LAYOUT, "r"), tmp_path, 1)
    assert s3_server.requests(bucket).get("put", 0) == before


def test_the_files_of_a_step_to_come_are_left_alone(memory: Store, tmp_path: Path) -> None:
    # Another attempt may just be sending them; those below are a straggler's.
    for step in (1, 9):
        memory.put(f"{PREFIX}step-{step:09d}.torn/{name(step)}", b"half")
    sent(Remote(memory, LAYOUT, "r"), tmp_path, 5)
    assert [key for key in keys(memory) if "torn" in key] == [f"step-000000009.torn/{name(9)}"]


def test_a_record_that_cannot_be_read_keeps_the_files(memory: Store, tmp_path: Path) -> None:
    remote = Remote(memory, LAYOUT, "r")
    sent(remote, tmp_path, 1)
    memory.put(f"{PREFIX}step-000000002.json", b"{")
    memory.put(f"{PREFIX}step-000000001.torn/x", b"half")
    remote.commit(CHECKPOINTS, 3, {name(3): checkpoint(tmp_path, 3)}, keep=3)
    assert "step-000000001.torn/x" in keys(memory)


@rules(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=6, unique=True), keep=st.integers(1, 4))
def test_the_newest_are_kept_in_whatever_order_they_come(tmp_path: Path, steps: list[int], keep: int) -> None:
    store = open_store(StoreSettings(_env_file=None, store_url="memory://"))
    remote = Remote(store, LAYOUT, "r")
    seen: list[int] = []
    for step in steps:
        sent(remote, tmp_path, step, keep=keep)
        seen = sorted([*seen, step])[-keep:]
        assert remote.steps() == seen
    for step in remote.steps():
        remote.fetch(step, tmp_path / "there" / name(step))
        assert (tmp_path / "there" / name(step)).read_bytes() == body(step)
