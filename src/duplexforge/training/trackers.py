"""Where a run's figures go: a JSON line each in the run's folder, TensorBoard, and Weights & Biases when its key is set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from duplexforge.errors import ConfigError

__all__ = ["Lines", "TensorBoard", "Tracker", "Trackers", "open_trackers"]


class Tracker(Protocol):
    """Takes figures."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Note ``figures`` of ``step``."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...


class Lines:
    """``metrics.jsonl``: readable by anything, and complete even when the process is killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8", buffering=1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One line."""
        self._file.write(json.dumps({"step": step} | {name: round(value, 6) for name, value in figures.items()}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files under ``tensorboard/``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One scalar a figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases."""

    def __init__(self, folder: Path, project: str, key: str, facts: Mapping[str, Any]) -> None:
        try:
            wandb: Any = import_module("wandb")
        except ImportError as error:
            raise ConfigError("--wandb-project wants the package wandb: pip install wandb") from error
        wandb.login(key=key)
        self._run = wandb.init(project=project, dir=str(folder), config=dict(facts), resume="allow", id=folder.name)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Trackers:
    """Several of them as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell all of them."""
        for tracker in self._trackers:
            tracker.write(step, figures)

    def close(self) -> None:
        """Close all of them."""
        for tracker in self._trackers:
            tracker.close()


def open_trackers(
    folder: Path,
    *,
    wandb_project: str | None = None,
    wandb_key: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Trackers:
    """The trackers of a run. A project without a key is a ConfigError: figures would go nowhere, without a word."""
    if wandb_project and not wandb_key:
        raise ConfigError("--wandb-project wants a key: set WANDB_API_KEY")
    # The one that can fail comes first: nothing is open yet.
    far = [WandB(folder, wandb_project, wandb_key, facts or {})] if wandb_project and wandb_key else []
    return Trackers([Lines(folder), TensorBoard(folder), *far])
