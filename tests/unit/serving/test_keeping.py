"""Memories between conversations."""

from __future__ import annotations

import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import UsageError
from duplexforge.models import weights_file
from duplexforge.serving import keeping
from duplexforge.serving.context import Memory, Turn
from duplexforge.serving.keeping import forget, keep, recall

VECTOR = np.arange(80, dtype=np.float32)


def _memory() -> Memory:
    turns = [Turn("నమస్తే", "hello", "b", "happy", 1.5, 2.25, True, vector=VECTOR), Turn("second")]
    return Memory(turns, {"speaker": "b"})


def _only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_what_is_kept_is_recalled(tmp_path: Path):
    keep(tmp_path / "sessions", "anna", "monday", _memory())
    found = recall(tmp_path / "sessions", "anna", "monday")
    assert found is not None
    assert found.turns == _memory().turns
    assert np.array_equal(found.turns[0].vector, VECTOR)
    assert found.turns[1].vector is None
    assert found.preferences == {"speaker": "b"}


def test_the_last_memory_counts_and_nothing_else_is_left(tmp_path: Path):
    keep(tmp_path, "anna", "monday", _memory())
    keep(tmp_path, "anna", "monday", Memory([Turn("newer")]))
    assert [turn.answer for turn in recall(tmp_path, "anna", "monday").turns] == ["newer"]
    assert _only(tmp_path).name.endswith("-monday.safetensors")


def test_nobody_recalls_or_forgets_what_is_anothers(tmp_path: Path):
    keep(tmp_path, "anna", "monday", _memory())
    assert recall(tmp_path, "bert", "monday") is None
    assert not forget(tmp_path, "bert", "monday")
    assert forget(tmp_path, "anna", "monday")
    assert not forget(tmp_path, "anna", "monday")
    assert recall(tmp_path, "anna", "monday") is None


def test_the_owner_stands_in_no_file_name(tmp_path: Path):
    keep(tmp_path, "secret-key-123", "monday", _memory())
    assert "secret" not in _only(tmp_path).name
    assert b"secret" not in _only(tmp_path).read_bytes()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "a\0b", ".hidden", "-x", "x" * 65, "ä", "a b", "a\n"]
)
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str):
    for act in (
        lambda: keep(tmp_path, "o", name, Memory()),
        lambda: recall(tmp_path, "o", name),
        lambda: forget(tmp_path, "o", name),
    ):
        with pytest.raises(UsageError, match="1 to 64 letters"):
            act()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=70), st.text(max_size=20))
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str, owner: str):
    folder = tmp_path_factory.mktemp("sessions")
    try:
        keep(folder / "in", owner, name, Memory())
    except UsageError:
        return
    assert [path.parent for path in folder.rglob("*.safetensors")] == [folder / "in"]


def test_a_name_with_a_surrogate_is_an_owner_too(tmp_path: Path):
    keep(tmp_path, "\ud800", "a", _memory())
    assert recall(tmp_path, "\ud800", "a") is not None


def test_other_versions_and_broken_files_are_as_if_there_were_none(tmp_path: Path):
    keep(tmp_path, "anna", "monday", _memory())
    path = _only(tmp_path)
    whole = path.read_bytes()
    arrays, facts = weights_file.read(path)
    told = json.loads(facts["session"])
    for wrong in (
        {**told, "version": 2},
        {**told, "turns": [{"answer": 5}]},
        {**told, "turns": [dict(told["turns"][0], answer=5)]},
        {**told, "turns": 7},
        {**told, "preferences": []},
        [],
    ):
        weights_file.write(path, arrays, {"session": json.dumps(wrong)})
        assert recall(tmp_path, "anna", "monday") is None
    for data in (b"", whole[:40], whole[:-8], b"\xff" * 100, pickle.dumps({"a": 1})):
        path.write_bytes(data)
        assert recall(tmp_path, "anna", "monday") is None
    path.write_bytes(whole)
    assert recall(tmp_path, "anna", "monday") is not None


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    keep(tmp_path, "anna", "monday", _memory())
    with _only(tmp_path).open("ab") as file:
        file.truncate(1 << 30)
    assert recall(tmp_path, "anna", "monday") is None


def test_a_vector_that_is_none_is_left_out(tmp_path: Path):
    for vector in (np.full(3, np.nan, np.float32), np.zeros((2, 2), np.float32), np.zeros(9_999, np.float32)):
        keep(tmp_path, "anna", "monday", Memory([Turn("x", vector=vector)]))
        assert recall(tmp_path, "anna", "monday").turns[0].vector is None


def test_texts_are_bounded(tmp_path: Path):
    keep(tmp_path, "anna", "monday", Memory([Turn("x" * 100_000, "y" * 100_000)] * 10))
    assert _only(tmp_path).stat().st_size < 60_000
    assert len(recall(tmp_path, "anna", "monday").turns) == 10


def test_a_full_folder_loses_what_was_not_used_for_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeping, "MOST_FILES", 3)
    for number in range(5):
        keep(tmp_path, "anna", f"day{number}", _memory())
        for path in tmp_path.iterdir():
            if path.name.endswith(f"-day{number}.safetensors"):
                os.utime(path, (1_000 + number, 1_000 + number))
    kept = [number for number in range(5) if recall(tmp_path, "anna", f"day{number}")]
    assert kept == [2, 3, 4]


def test_who_reads_while_another_writes_gets_one_or_the_other(tmp_path: Path):
    memories = [Memory([Turn(str(number), vector=np.full(1_000, number, np.float32))]) for number in range(2)]
    keep(tmp_path, "anna", "monday", memories[0])
    done = threading.Event()

    def write() -> None:
        for number in range(30):
            keep(tmp_path, "anna", "monday", memories[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        (turn,) = recall(tmp_path, "anna", "monday").turns
        assert set(turn.vector.tolist()) == {float(turn.answer)}
    writer.join()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_refuses_leaves_nothing_half(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError):
        keep(tmp_path / "file", "anna", "monday", _memory())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
