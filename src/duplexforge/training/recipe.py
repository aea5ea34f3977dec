"""A recipe is a whole run in one TOML file: what is trained, on what, how long, and what is said about it.

Tables that every trainer shares are here; ``[model]`` and ``[losses]`` belong to the trainer, which reads them by classes of
its own. A key that nobody knows is an error that names it, since a misspelt one would silently leave a default in place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duplexforge.errors import ConfigError

__all__ = ["Data", "Loop", "Optimizer", "Recipe", "Table", "load", "section"]


class Table(BaseModel):
    """Base of every table: unknown keys are refused, nothing changes after it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Data(Table):
    """What is read: a folder that ``duplexforge data speech`` made, and how it is cut."""

    folder: Path
    """Folder with ``manifest.jsonl``."""
    seconds: float = Field(default=1.0, gt=0, le=60)
    """Length of a crop."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """A crop's level is changed by a random number of decibels within these."""


class Optimizer(Table):
    """AdamW, a linear warm-up and a cosine down to ``final`` of the rate."""

    learning_rate: float = Field(default=1e-4, gt=0)
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    warmup_steps: int = Field(default=100, ge=0)
    final: float = Field(default=0.1, ge=0, le=1)


class Loop(Table):
    """How long, how often, and in what precision."""

    epochs: int = Field(default=100, ge=1)
    steps_per_epoch: int = Field(default=0, ge=0)
    """0: as many as it takes to hear every second of the data once."""
    batch_size: int = Field(default=16, ge=1)
    """Crops a step, over all processes and all parts of an accumulated step."""
    accumulate: int = Field(default=1, ge=1)
    """Parts in which a process goes through its share of a step, for less memory."""
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    """Compute inner results again on the way back instead of keeping them."""
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between two evaluations."""
    save_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints; one is written at the end of each epoch and on SIGTERM too."""
    keep: int = Field(default=3, ge=1)
    """Checkpoints that are kept."""
    patience: int = Field(default=0, ge=0)
    """Evaluations without a better score after which the run ends; 0: never."""
    least_gain: float = Field(default=0.02, ge=0)
    """What counts as better."""
    overfit: bool = False
    """Train and evaluate on the first batch alone: what can be learned at all must be learned from this."""
    threads: int = Field(default=0, ge=0)
    """Processor threads; 0: the library's own choice."""


class Recipe(Table):
    """One run."""

    trainer: str
    """A name of ``trainers.TRAINERS``."""
    output: Path
    """Folder of the run: checkpoints, logs, exported weights."""
    seed: int = Field(default=0, ge=0)
    data: Data
    optimizer: Optimizer = Optimizer()
    loop: Loop = Loop()
    model: dict[str, Any] = Field(default_factory=dict)
    losses: dict[str, Any] = Field(default_factory=dict)


T = TypeVar("T", bound=Table)


def load(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe at ``path``; ``changes`` by dotted name (``loop.epochs``) win over the file, None meaning no change.

    ConfigError names every key that is wrong, missing or unknown.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    for name, value in (changes or {}).items():
        if value is not None:
            _put(found, name, value, path)
    return section(Recipe, found, str(path))


def section(kind: type[T], found: Mapping[str, Any], where: str) -> T:
    """``found`` read as ``kind``; ConfigError with ``where`` and every key that is wrong."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        wrong = [_complaint(item["loc"], item["type"], item["msg"]) for item in error.errors(include_url=False)]
        raise ConfigError(f"{where}: " + "; ".join(wrong)) from error


def _complaint(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in place) or "the whole file"
    return f"nothing is called {name}" if kind == "extra_forbidden" else f"{name}: {message}"


def _put(found: dict[str, Any], name: str, value: Any, path: Path) -> None:
    *tables, key = name.split(".")
    for table in tables:
        found = found.setdefault(table, {})
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: {table} must be a table")
    found[key] = value
