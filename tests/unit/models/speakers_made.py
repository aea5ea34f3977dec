"""A speaker encoder that nobody trained, small and without torch: what it says of a voice follows from the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duplexforge.models import speakers

SMALL = speakers.Shape(channels=8, dilations=(1, 2), squeeze=3, joined=12, attention=4)


def encoder(seed: int = 0, shape: speakers.Shape = SMALL) -> speakers.Encoder:
    """Weights as large as those of a fresh network: numbers stay near 1 from layer to layer."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, size in sorted(shape.arrays().items()):
        values = random.standard_normal(size) / np.sqrt(np.prod(size[1:]))
        near_one = name.endswith(("gain", "running_var"))
        arrays[name] = np.asarray(1 + 0.1 * np.tanh(values) if near_one else values, np.float32)
    return speakers.Encoder(shape, arrays, {"data": "none"})


def written(path: Path, seed: int = 0) -> Path:
    """The file of such an encoder."""
    speakers.write(path, encoder(seed))
    return path
