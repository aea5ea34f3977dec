"""The order of windows: every one once an epoch, shared evenly, the same however a run is cut."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError, InputError
from tests.duplex.folder import write_folder

pytestmark = pytest.mark.heavy


def windows(count: int, size: int, *, seed: int = 0, rank: int = 0, world: int = 1, parts: int = 1) -> Any:
    """Windows over ``count`` that are never read."""
    from duplexforge.training.lora_data import Windows
    from duplexforge.training.trainers import Place

    data: Any = type("Counted", (), {"__len__": lambda self: count, "__getitem__": lambda self, at: at})()
    collator: Any = None
    return Windows(data, collator, Place(rank, world), seed, size, parts)


@given(count=st.integers(1, 60), size=st.integers(1, 12), seed=st.integers(0, 99))
@settings(deadline=None)
def test_each_window_comes_once_an_epoch(count: int, size: int, seed: int) -> None:
    made = windows(count, size, seed=seed)
    steps = [made.of(step) for step in range(2 * count)]
    order = [number for step in steps for number in step]
    for first in range(0, len(order) - count, count):
        assert sorted(order[first : first + count]) == list(range(count))
    # A function of (seed, step): a resumed run sees what the unbroken one would.
    assert windows(count, size, seed=seed).of(2 * count - 1) == steps[-1]
    assert made.per_epoch() == max(1, count // size)


def test_epochs_and_seeds_differ() -> None:
    made = windows(50, 50)
    assert made.of(0) != made.of(1)
    assert made.of(0) != windows(50, 50, seed=1).of(0)


def test_processes_share_a_step_and_parts_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    from duplexforge.training import lora_data

    monkeypatch.setattr(lora_data, "collated", lambda _, items: {"items": items})
    shares = [windows(50, 8, rank=rank, world=2, parts=2).read(3) for rank in (0, 1)]
    assert [[len(part["items"]) for part in share] for share in shares] == [[2, 2], [2, 2]]
    assert sorted(number for share in shares for part in share for number in part["items"]) == sorted(
        windows(50, 8).of(3)
    )
    for wrong in ({"size": 7, "world": 2}, {"size": 8, "world": 2, "parts": 3}):
        with pytest.raises(ConfigError, match="cannot be shared evenly"):
            windows(50, **wrong)


def test_the_next_step_is_read_ahead_by_one_thread() -> None:
    from duplexforge.training.lora_data import Ahead

    asked: list[tuple[int, str]] = []
    done = threading.Event()

    def read(step: int) -> list[dict[str, Any]]:
        asked.append((step, threading.current_thread().name))
        if step == 5:
            done.set()
        return [{"step": step}]

    ahead = Ahead(read)
    assert ahead(4) == [{"step": 4}]
    assert done.wait(10)
    assert ahead(4) == [{"step": 4}]
    assert ahead(5) == [{"step": 5}]
    assert ahead(9) == [{"step": 9}]
    assert [step for step, _ in asked].count(4) == 1
    assert len({name for _, name in asked}) == 1


def test_what_reading_raises_comes_out_where_it_is_asked_for() -> None:
    from duplexforge.training.lora_data import Ahead

    def read(step: int) -> list[dict[str, Any]]:
        if step == 2:
            raise InputError("a side is damaged")
        return []

    ahead = Ahead(read)
    assert ahead(1) == []
    with pytest.raises(InputError, match="a side is damaged"):
        ahead(2)


def test_a_speaker_of_both_splits_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from duplexforge import log
    from duplexforge.loading.schema import DuplexManifest, Totals
    from duplexforge.training.lora_data import open_split, strangers

    log.setup(level="WARNING")
    made = write_folder(tmp_path / "set", chunks=3)
    data = open_split(made.folder, "train")
    for speakers, apart in ((["ann"], False), (["bob"], True)):
        totals = {"train": Totals(speakers=["ann"]), "validation": Totals(speakers=speakers)}
        data.manifest = DuplexManifest.model_construct(totals=totals)
        data.split = "validation"
        assert strangers(data) is apart
    assert capsys.readouterr().err.count("speakers of the training split") == 1
    with pytest.raises(ConfigError, match="has no split 'validation'"):
        open_split(made.folder, "validation")
    with pytest.raises(ConfigError, match="hf://x names no repository"):
        open_split(Path("hf://x"), "train")
