"""The tables of the trainer ``lora``, readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from duplexforge.errors import ConfigError
from duplexforge.training.recipe import Recipe, Table, section

__all__ = ["Losses", "Shape", "tables"]


class Shape(Table):
    """``[model]``."""

    base: str = ""
    """Folder or Hub name of Qwen3-Omni; empty: the model that the data set was built for, at its revision."""
    revision: str | None = None
    """Commit of it on the Hub."""
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Literal["q_proj", "k_proj", "v_proj", "o_proj"], ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Layers of the language model's attention that get an adapter."""
    silence_rows: bool = False
    """Learn the silence token's own rows of embedding and head too: no text has ever trained them."""
    weights: Literal["bf16", "fp32"] = "bf16"
    """Precision of the frozen weights."""
    four_bit: bool = False
    """Frozen linear layers in 4 bits (QLoRA): wants CUDA and bitsandbytes."""
    shard: bool = False
    """With several processes, each holds a share of the frozen weights and all of the adapters."""
    max_chunks: int | None = Field(default=None, ge=1)
    """Cut longer windows at their end."""
    evaluate: tuple[Literal["train", "validation", "test"], ...] = ("validation",)
    """Splits that are evaluated; the first one's loss is the score."""
    evaluate_windows: int = Field(default=64, ge=1)
    """Windows of each, evenly spread over it."""


class Losses(Table):
    """``[losses]``."""

    silence_weight: float = Field(default=1.0, ge=0)
    """Weight of a silence token in the loss; text has 1."""


def tables(recipe: Recipe) -> tuple[Shape, Losses]:
    """The trainer's own tables of ``recipe``; ConfigError with all that is wrong in one of them."""
    shape = section(Shape, recipe.model, "[model]")
    if odd := recipe.data.model_fields_set - {"folder"}:
        # Crops are the codec's way: windows were cut when the data set was built.
        raise ConfigError(f"[data]: the trainer lora has no {', '.join(sorted(odd))}; model.max_chunks cuts windows")
    if not shape.targets or not shape.evaluate:
        raise ConfigError("[model]: targets and evaluate must name at least one each")
    if shape.four_bit and shape.shard:
        raise ConfigError("[model]: four_bit and shard do not go together: weights in 4 bits cannot be spread")
    return shape, section(Losses, recipe.losses, "[losses]")
