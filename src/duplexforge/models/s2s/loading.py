"""A weights file as a network in torch."""

from __future__ import annotations

from pathlib import Path

import torch

from duplexforge.errors import ModelError
from duplexforge.models.s2s.network import Network
from duplexforge.models.s2s.weights import Weights, read

__all__ = ["load", "network_of"]


def network_of(weights: Weights) -> Network:
    """The network with ``weights`` in it, ready to be run; a ModelError when they are another shape's."""
    network = Network(weights.shape)
    state = {name: torch.from_numpy(array) for name, array in weights.arrays.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"the weights are not of the shape that their file names: {error}") from error
    network.eval()
    return network


def load(path: Path, device: str = "cpu") -> tuple[Network, Weights]:
    """The network at ``path`` on ``device``, and what lies beside its weights."""
    weights = read(path)
    return network_of(weights).to(device), weights
