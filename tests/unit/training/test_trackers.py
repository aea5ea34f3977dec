"""Where figures go."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from duplexforge.errors import ConfigError
from duplexforge.training.trackers import Lines, open_trackers


def test_lines_survive_a_kill_and_a_second_start(tmp_path: Path) -> None:
    first = Lines(tmp_path)
    first.write(1, {"snr": 1.23456789})
    # Nothing was closed, as when a process is killed.
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "snr": 1.234568}
    first.close()
    second = Lines(tmp_path)
    second.write(2, {"snr": 2.0})
    second.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_project_without_a_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set WANDB_API_KEY"):
        open_trackers(tmp_path, wandb_project="p")


@pytest.mark.heavy
def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers = open_trackers(tmp_path)
    trackers.write(3, {"snr": 12.5})
    trackers.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("snr")] == [(3, 12.5)]


@pytest.mark.heavy
def test_wandb_gets_them_when_there_is_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Run:
        def log(self, figures: dict[str, float], step: int) -> None:
            told.append((step, figures))

        def finish(self) -> None:
            told.append("finished")

    wandb = ModuleType("wandb")
    monkeypatch.setattr(wandb, "login", lambda key: told.append(key), raising=False)
    monkeypatch.setattr(wandb, "init", lambda **facts: told.append(facts["project"]) or Run(), raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trackers = open_trackers(tmp_path, wandb_project="p", wandb_key="k")
    trackers.write(1, {"snr": 2.0})
    trackers.close()
    assert told == ["k", "p", (1, {"snr": 2.0}), "finished"]


@pytest.mark.heavy
def test_a_missing_package_says_what_cures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        open_trackers(tmp_path, wandb_project="p", wandb_key="k")
