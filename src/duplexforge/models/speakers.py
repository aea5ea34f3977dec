"""Whose voice it is, as 192 numbers of length 1: a small network over a log mel spectrogram. Numpy alone.

It is ECAPA-TDNN (Desplanques et al. 2020) made small: blocks of convolutions with ever wider holes, each channel of which is
weighed by what it says over the whole recording, and attention over time that chooses what mean and spread are taken of. What
is left out is the split of a block into stairs, and batch norm inside of them; what was pooled has it, since without it all
voices would begin in one direction.
:mod:`duplexforge.models.speakers_network` trains it; a test holds the two together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ConfigError, InputError, ModelError
from duplexforge.models import weights_file
from duplexforge.models.s2s.features import BANDS, HOP, log_mel

__all__ = ["FILE", "SIZE", "Encoder", "Shape", "heard", "read", "write"]

FILE = "speakers.safetensors"
SIZE = 192
"""Numbers of a voice: what a duplex data set holds of each."""
TINY = 1e-5
"""What is added to a square before its root is taken or it is divided by."""
FIRST_KERNEL, KERNEL = 5, 3
# Bands that are 50 dB below the loudest say how quiet the room was, not who spoke in it; in digital silence they say -90 dB.
_DEEPEST = np.float32(50 * math.log(10) / 10)
_SPREAD = np.float32(3.0)
_POOLED = ("weight", "bias", "running_mean", "running_var")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """Sizes of one network. They travel with the weights."""

    channels: int = 128
    dilations: tuple[int, ...] = (2, 3, 4)
    """Of each block, in frames of 10 ms."""
    squeeze: int = 32
    """Numbers by which a block weighs its channels."""
    joined: int = 256
    """Channels of which mean and spread are taken."""
    attention: int = 64

    def __post_init__(self) -> None:
        sizes = (self.channels, self.squeeze, self.joined, self.attention, *self.dilations)
        if not self.dilations or any(not isinstance(one, int) or one < 1 for one in sizes):
            raise ConfigError("a speaker encoder wants at least one block, and whole sizes of at least 1")

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights, as the torch network calls them."""
        wide, pooled = self.channels, 2 * self.joined
        sizes = {"first": (wide, BANDS, FIRST_KERNEL)}
        vectors = {"first.gain": wide} | {f"pooled.{name}": pooled for name in _POOLED}
        for number in range(len(self.dilations)):
            for layer, kernel in (("inwards", 1), ("holes", KERNEL), ("outwards", 1)):
                sizes[f"blocks.{number}.{layer}"] = (wide, wide, kernel)
                vectors[f"blocks.{number}.{layer}.gain"] = wide
            sizes[f"blocks.{number}.squeeze"] = (self.squeeze, wide, 1)
            sizes[f"blocks.{number}.excite"] = (wide, self.squeeze, 1)
        sizes["join"] = (self.joined, wide * len(self.dilations), 1)
        sizes["attend"] = (self.attention, 3 * self.joined, 1)
        sizes["score"] = (self.joined, self.attention, 1)
        sizes["out"] = (SIZE, pooled, 1)
        found: dict[str, tuple[int, ...]] = {name: (length,) for name, length in vectors.items()}
        for name, size in sizes.items():
            found |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
        return found


def heard(logs: Floats) -> Floats:
    """Frames (n × 80) as the network takes them: without level and line, which is to say freed of their mean over time."""
    logs = np.maximum(logs, logs.max() - _DEEPEST)
    found: Floats = (logs - logs.mean(axis=0)) / _SPREAD
    return found


@dataclass(frozen=True)
class Encoder:
    """A network as it lies in a file; ``facts`` are what else the file says of itself."""

    shape: Shape
    arrays: Mapping[str, Floats]
    facts: Mapping[str, str] = field(default_factory=dict)

    def embed(self, wave: Floats) -> Floats:
        """The voice (192, of length 1) in ``wave``: 16 kHz, −1 to 1, all of it speech. InputError below 10 ms."""
        if len(wave) < HOP:
            raise InputError(f"a voice cannot be told by {len(wave)} samples")
        return self.vector(heard(log_mel(wave)))

    def vector(self, frames: Floats) -> Floats:
        """The same from what :func:`heard` makes of the spectrogram (n × 80)."""
        flow = self._layer("first", frames.T)
        flows = []
        for number, holes in enumerate(self.shape.dilations):
            flow = flow + self._block(f"blocks.{number}", flow, holes)
            flows.append(flow)
        pooled = self._pool(np.maximum(self._convolve("join", np.concatenate(flows)), 0))
        weight, bias, mean, var = (self.arrays[f"pooled.{name}"] for name in _POOLED)
        pooled = (pooled - mean) / np.sqrt(var + np.float32(TINY)) * weight + bias
        found = self._convolve("out", pooled[:, None])[:, 0]
        unit: Floats = found / np.maximum(np.sqrt(np.square(found).sum()), np.float32(1e-12))
        return unit

    def _block(self, name: str, flow: Floats, holes: int) -> Floats:
        inner = self._layer(f"{name}.inwards", flow)
        inner = self._layer(f"{name}.holes", inner, holes)
        inner = self._layer(f"{name}.outwards", inner)
        said = np.maximum(self._convolve(f"{name}.squeeze", inner.mean(axis=1, keepdims=True)), 0)
        found: Floats = inner / (1 + np.exp(-self._convolve(f"{name}.excite", said)))
        return found

    def _pool(self, flow: Floats) -> Floats:
        """Mean and spread over time (2 · joined) of ``flow`` (joined × n), where attention puts its weight."""
        mean = flow.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.square(flow - mean).mean(axis=1, keepdims=True) + np.float32(TINY))
        around = np.concatenate([flow, *(np.broadcast_to(one, flow.shape) for one in (mean, spread))])
        scores = self._convolve("score", np.tanh(self._convolve("attend", around)))
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * flow).sum(axis=1, keepdims=True)
        spread = np.sqrt((weights * np.square(flow - mean)).sum(axis=1, keepdims=True) + np.float32(TINY))
        return np.concatenate([mean, spread])[:, 0]

    def _layer(self, name: str, flow: Floats, holes: int = 1) -> Floats:
        return _level(np.maximum(self._convolve(name, flow, holes), 0)) * self.arrays[f"{name}.gain"][:, None]

    def _convolve(self, name: str, flow: Floats, holes: int = 1) -> Floats:
        """``flow`` (channels × n) under the taps of ``name``, as long as it was, with zeros around it."""
        weight, length = self.arrays[f"{name}.weight"], flow.shape[1]
        taps = weight.shape[2]
        margin = (taps - 1) // 2 * holes
        wide = np.pad(flow, ((0, 0), (margin, margin))) if margin else flow
        parts = [weight[:, :, tap] @ wide[:, tap * holes : tap * holes + length] for tap in range(taps)]
        found: Floats = np.sum(parts, axis=0) + self.arrays[f"{name}.bias"][:, None]
        return found


def _level(flow: Floats) -> Floats:
    """``flow`` with a mean square of 1 over its channels (the first axis)."""
    found: Floats = flow / np.sqrt(np.square(flow).mean(axis=0, keepdims=True) + np.float32(TINY))
    return found


def read(path: Path) -> Encoder:
    """The encoder in the file at ``path``; a ModelError when it is missing or another model's."""
    arrays, facts = weights_file.read(path)
    try:
        told: dict[str, Any] = json.loads(facts.pop("shape"))
        shape = Shape(**{**told, "dilations": tuple(told["dilations"])})
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ModelError(f"{path} holds no speaker encoder: it does not tell its shape") from error
    wanted = shape.arrays()
    if {name: array.shape for name, array in arrays.items()} != wanted:
        raise ModelError(f"{path} holds no speaker encoder: its arrays are not those of its shape")
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    if not all(np.isfinite(array).all() for array in wide.values()):
        raise ModelError(f"{path} holds weights that are no numbers")
    return Encoder(shape, wide, facts)


def write(path: Path, encoder: Encoder) -> None:
    """Write ``encoder`` to ``path``. InputError when a weight is no number: better than a voice that is none."""
    for name, array in encoder.arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"the weights {name} hold what is no number: the run has diverged")
    facts = {"shape": json.dumps(asdict(encoder.shape)), **encoder.facts}
    weights_file.write(path, {name: np.asarray(array, np.float32) for name, array in encoder.arrays.items()}, facts)
