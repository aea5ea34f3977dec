"""The settings of training that are not a recipe's: where figures go."""

from __future__ import annotations

from duplexforge.config.group import Group, OptionalSecret, OptionalStr


class TrainSettings(Group):
    """What a training run may be told by its environment; everything else is in its recipe."""

    wandb_api_key: OptionalSecret = None
    """Key of Weights & Biases; without it nothing is sent there."""
    wandb_project: OptionalStr = None
    """Project at Weights & Biases that figures are sent to; unset: none."""
