"""Weights of the mode token made on the spot: random, small, and good enough to stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from duplexforge.models import token_weights, weights_file
from duplexforge.models.periods import LEVELS
from duplexforge.models.token_weights import TokenWeights

HOP, ENTRIES, GROUPS, HIDDEN = 80, 1024, (1, 2, 4), 8
BANDS = 16


def weights(folder: Path, seed: int = 0) -> TokenWeights:
    """A whole set of random weights, through a file."""
    random = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for number, count in enumerate(GROUPS):
        arrays[f"books.{number}.vectors"] = random.integers(-127, 128, (count, ENTRIES, HOP)).astype(np.int8)
        scale = (0.02 if number == 0 else 0.01) * np.exp(random.standard_normal((count, ENTRIES)))
        arrays[f"books.{number}.scales"] = scale.astype(np.float32) / 10
    arrays["gains.vectors"] = random.integers(-127, 128, (4, ENTRIES, BANDS)).astype(np.int8)
    arrays["gains.scales"] = np.full((4, ENTRIES), 0.2 / 127, np.float32)
    for name in [*(f"looks.{number}" for number in range(len(GROUPS))), "filter"]:
        for layer, shape in (
            ("inner.0", (HIDDEN, 5 * HOP)),
            ("inner.2", (HIDDEN, HIDDEN)),
            ("outer", (HOP, HIDDEN)),
        ):
            arrays[f"{name}.{layer}.weight"] = (0.02 * random.standard_normal(shape)).astype(np.float32)
            arrays[f"{name}.{layer}.bias"] = np.zeros(shape[0], np.float32)
        arrays[f"{name}.straight.weight"] = np.zeros((HOP, 5 * HOP), np.float32)
    arrays["trust"] = np.linspace(0, 0.9, LEVELS, dtype=np.float32)[:, None].repeat(HOP, axis=1)
    path = folder / "token.safetensors"
    shape = {
        "hop": HOP,
        "entries": ENTRIES,
        "groups": list(GROUPS),
        "hidden": HIDDEN,
        "bands": BANDS,
        "tilt": 0.2,
        "quiet": 0.3,
    }
    weights_file.write(path, arrays, {"shape": json.dumps(shape)})
    return token_weights.read(path)
