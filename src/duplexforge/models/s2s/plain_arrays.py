"""Names and shapes of a model's arrays, known without torch: to check a file before it is run, and to draw random models.

They are those of the network's ``state_dict``; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ModelError
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import START, Vocabulary
from duplexforge.models.s2s.weights import Weights

__all__ = ["Arrays", "checked", "drawn", "sizes"]

Arrays = Mapping[str, npt.NDArray[np.float32]]
Size = tuple[int, ...]


def sizes(shape: Shape) -> dict[str, Size]:
    """The shape of every array of a model of ``shape``."""
    width = shape.width
    found: dict[str, Size] = {"turn.weight": (1, width), "turn.bias": (1,)}
    found |= {"encoder.enter.weight": (width, WIDTH), "encoder.enter.bias": (width,), "encoder.norm.weight": (width,)}
    tables = {"text": shape.vocabulary, "audio": shape.books * (shape.entries + 1)}
    tables |= {"speakers": shape.speakers, "emotions": shape.emotions}
    found |= {f"decoder.{name}.weight": (rows, width) for name, rows in tables.items()}
    found |= {"decoder.norm.weight": (width,)}
    for name, rows in (("say", shape.vocabulary), ("sound", shape.books * shape.entries)):
        found |= {f"decoder.{name}.weight": (rows, width), f"decoder.{name}.bias": (rows,)}
    for layer in range(shape.encoder_layers):
        found |= {f"encoder.blocks.{layer}.{name}": size for name, size in _encoder(shape)}
    for layer in range(shape.decoder_layers):
        found |= {f"decoder.blocks.{layer}.{name}": size for name, size in _decoder(shape)}
    return found


def checked(weights: Weights) -> Arrays:
    """The arrays of ``weights``; a ModelError when one is missing or of another shape than the file says of itself."""
    for name, size in sizes(weights.shape).items():
        if name not in weights.arrays:
            raise ModelError(f"the weights are not of the shape that their file names: {name} is missing")
        if weights.arrays[name].shape != size:
            told = f"{name} is {weights.arrays[name].shape}, not {size}"
            raise ModelError(f"the weights are not of the shape that their file names: {told}")
    return weights.arrays


def drawn(shape: Shape, seed: int = 0) -> Weights:
    """A random model of ``shape``, for measurements and tests, as a file of 16 bits holds it; its words mean nothing."""
    random = np.random.default_rng(seed)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, size in sizes(shape).items():
        # Gains round 1, and matrices that keep the size of what they are given: else a deep model says the same always.
        spread = 0.1 if len(size) == 1 else size[-1] ** -0.5
        around = 1.0 if "norm.weight" in name or "inner.weight" in name else 0.0
        arrays[name] = (around + spread * random.standard_normal(size)).astype(np.float16).astype(np.float32)
    pieces = tuple(f"▁{number}" for number in range(shape.vocabulary - START - 1))
    return Weights(shape, Vocabulary(pieces, ()), arrays, {"about": "random weights"})


def _encoder(shape: Shape) -> Iterator[tuple[str, Size]]:
    width = shape.width
    yield "norm.weight", (width,)
    yield "bias", (shape.heads, shape.left + 2 * shape.chunk - 1)
    yield from _attention("attention", width)
    for name in ("first", "second"):
        yield f"{name}.norm.weight", (width,)
        yield from _linear(f"{name}.up", width, shape.encoder_inner)
        yield from _linear(f"{name}.down", shape.encoder_inner, width)
    for name in ("norm", "inner"):
        yield f"convolution.{name}.weight", (width,)
    yield from _linear("convolution.up", width, 2 * width)
    yield "convolution.depth.weight", (width, 1, shape.kernel)
    yield "convolution.depth.bias", (width,)
    yield from _linear("convolution.down", width, width)


def _decoder(shape: Shape) -> Iterator[tuple[str, Size]]:
    width = shape.width
    yield from _linear("style", width, 2 * width)
    yield from _attention("own", width)
    yield from _attention("cross", width)
    yield "feed.norm.weight", (width,)
    yield "feed.up.weight", (2 * shape.decoder_inner, width)
    yield "feed.down.weight", (width, shape.decoder_inner)


def _attention(name: str, width: int) -> Iterator[tuple[str, Size]]:
    yield f"{name}.norm.weight", (width,)
    yield f"{name}.query.weight", (width, width)
    yield f"{name}.pair.weight", (2 * width, width)
    yield f"{name}.out.weight", (width, width)


def _linear(name: str, taken: int, given: int) -> Iterator[tuple[str, Size]]:
    yield f"{name}.weight", (given, taken)
    yield f"{name}.bias", (given,)
