"""The settings of training that are not a recipe's: where figures and checkpoints go, and which machine of several this is."""

from __future__ import annotations

import re

from pydantic import AliasChoices, Field, field_validator

from duplexforge.config.group import Group, OptionalSecret, OptionalStr


class TrainSettings(Group):
    """What a training run may be told by its environment; everything else is in its recipe."""

    wandb_api_key: OptionalSecret = None
    """Key of Weights & Biases; without it nothing is sent there."""
    wandb_project: OptionalStr = None
    """Project at Weights & Biases that figures are sent to; unset: none."""
    train_run: OptionalStr = None
    """Name of the run in the store: checkpoints and results are kept under `models/<name>/` too; unset: in its folder alone."""
    node_rank: int = Field(
        default=0, ge=0, validation_alias=AliasChoices("node_rank", "NODE_RANK", "JOB_COMPLETION_INDEX")
    )
    """Number of this machine of a run on several; number 0 keeps the meeting place. An Indexed Job sets the second name."""

    @field_validator("train_run")
    @classmethod
    def _is_part_of_a_key(cls, value: str | None) -> str | None:
        if value is not None and (not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) or ".." in value):
            raise ValueError("must be a name of letters, digits, '.', '_' and '-'")
        return value
