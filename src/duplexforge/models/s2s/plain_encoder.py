"""The user's side without torch: the causal Conformer of ``encoder``, chunk by chunk, over slots that need not keep step.

Keys and values of the frames that attention sees lie in a ring of ``left`` and one chunk: a new chunk takes the place of the
oldest, and nothing moves. Where in the ring a chunk lies tells the distances, so the learned biases are laid out by it.
Gains of norms, halves of residuals and of SiLU, and the scale of attention are multiplied into the matrices beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.plain_arrays import Arrays
from duplexforge.models.s2s.plain_parts import Floats, Product, gated, normed, softmax
from duplexforge.models.s2s.shape import Shape

__all__ = ["PlainEncoder"]

Ints = npt.NDArray[np.int64]
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class _Feed:
    """Half a feed-forward part."""

    up: Product
    down: Product

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> _Feed:
        up, down = arrays[f"{name}.up.weight"] * arrays[f"{name}.norm.weight"], arrays[f"{name}.down.weight"]
        return cls(
            Product(up * _HALF, arrays[f"{name}.up.bias"] * _HALF),
            Product(down * _HALF, arrays[f"{name}.down.bias"] * _HALF),
        )

    def __call__(self, x: Floats) -> Floats:
        return self.down(gated(self.up(normed(x))))


@dataclass(frozen=True)
class _Convolution:
    """Gate, causal convolution, norm, SiLU."""

    up: Product
    depth: Floats
    """kernel × width"""
    added: Floats
    gain: Floats
    down: Product

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> _Convolution:
        # Both halves of the gate are halved: value · sigmoid(gate) is value/2 · (1 + tanh(gate/2)).
        up = arrays[f"{name}.up.weight"] * arrays[f"{name}.norm.weight"] * _HALF
        return cls(
            Product(up, arrays[f"{name}.up.bias"] * _HALF),
            np.ascontiguousarray(arrays[f"{name}.depth.weight"][:, 0].T),
            arrays[f"{name}.depth.bias"],
            arrays[f"{name}.inner.weight"] * _HALF,
            Product(arrays[f"{name}.down.weight"], arrays[f"{name}.down.bias"]),
        )

    def __call__(self, x: Floats, before: Floats) -> tuple[Floats, Floats]:
        """What is added to ``x`` (rows × width), and what the next chunk of each slot wants (slots × kernel − 1 × width)."""
        slots, kernel = len(before), len(self.depth)
        gate, value = np.split(self.up(normed(x)), 2, axis=1)
        sound = np.tanh(gate)
        sound += 1
        sound *= value
        window = np.concatenate([before, sound.reshape(slots, -1, sound.shape[1])], axis=1)
        frames = range(window.shape[1] - kernel + 1)
        found = np.stack([np.einsum("skw,kw->sw", window[:, at : at + kernel], self.depth) for at in frames], axis=1)
        inner = normed((found + self.added).reshape(x.shape)) * self.gain
        return self.down(gated(inner)), window[:, len(frames) :]


@dataclass(frozen=True)
class _Block:
    """One layer; ``bias`` is phases × heads × chunk × places of the ring."""

    first: _Feed
    all: Product
    """Queries, keys and values at once."""
    bias: Floats
    out: Product
    convolution: _Convolution
    second: _Feed
    gain: Floats

    @classmethod
    def of(cls, arrays: Arrays, name: str, shape: Shape, near: Ints) -> _Block:
        query, pair = arrays[f"{name}.attention.query.weight"], arrays[f"{name}.attention.pair.weight"]
        scale = np.float32((shape.width // shape.heads) ** -0.5)
        whole = np.concatenate([query * scale, pair]) * arrays[f"{name}.attention.norm.weight"]
        return cls(
            _Feed.of(arrays, f"{name}.first"),
            Product(whole),
            np.ascontiguousarray(arrays[f"{name}.bias"][:, near].swapaxes(0, 1)),
            Product(arrays[f"{name}.attention.out.weight"]),
            _Convolution.of(arrays, f"{name}.convolution"),
            _Feed.of(arrays, f"{name}.second"),
            arrays[f"{name}.norm.weight"],
        )


class PlainEncoder:
    """The encoder over the state of ``slots``."""

    def __init__(self, arrays: Arrays, shape: Shape, slots: int) -> None:
        self._shape, self._room = shape, shape.left + shape.chunk
        self._enter = Product(arrays["encoder.enter.weight"], arrays["encoder.enter.bias"])
        self._gain = arrays["encoder.norm.weight"]
        names = (f"encoder.blocks.{layer}" for layer in range(shape.encoder_layers))
        near = _near(shape)
        self._blocks = [_Block.of(arrays, name, shape, near) for name in names]
        size = shape.width // shape.heads
        ring = (shape.encoder_layers, slots, shape.heads, self._room, size)
        self._keys, self._values = np.zeros(ring, np.float32), np.zeros(ring, np.float32)
        self._sounds = np.zeros((shape.encoder_layers, slots, shape.kernel - 1, shape.width), np.float32)

    def step(self, frames: Floats, slots: Ints, heard: Ints) -> Floats:
        """The vectors (n × chunk × width) of one chunk (n × chunk × 320) of each of ``slots``, which had ``heard`` so many."""
        x = self._enter(frames.reshape(-1, frames.shape[2]))
        x = normed(x) * self._gain
        for layer, block in enumerate(self._blocks):
            x += block.first(x)
            x += block.out(self._attended(layer, block, normed(x), slots, heard))
            added, self._sounds[layer, slots] = block.convolution(x, self._sounds[layer, slots])
            x += added
            x += block.second(x)
            x = normed(x) * block.gain
        return x.reshape(len(slots), -1, x.shape[1])

    def reset(self, slots: Ints) -> None:
        """Nothing was heard by ``slots``; their places in the ring count from 0 again and need no clearing."""
        self._sounds[:, slots] = 0

    def _attended(self, layer: int, block: _Block, x: Floats, slots: Ints, heard: Ints) -> Floats:
        chunk, heads = self._shape.chunk, self._shape.heads
        # slots × queries, keys, values × heads × chunk × size
        parts = block.all(x).reshape(len(slots), chunk, 3, heads, -1).transpose(0, 2, 3, 1, 4)
        found = np.empty((len(slots), chunk, heads, parts.shape[4]), np.float32)
        for row, slot in enumerate(slots):
            place, known = heard[row] % self._room, min(heard[row] + chunk, self._room)
            keys, values = self._keys[layer, slot], self._values[layer, slot]
            keys[:, place : place + chunk], values[:, place : place + chunk] = parts[row, 1:]
            scores = np.matmul(parts[row, 0], keys[:, :known].swapaxes(1, 2))
            scores += block.bias[place // chunk, :, :, :known]
            found[row] = np.matmul(softmax(scores), values[:, :known]).swapaxes(0, 1)
        return found.reshape(len(x), -1)


def _near(shape: Shape) -> Ints:
    """Columns of the learned biases (phases × chunk × places), where a phase is the place of the newest chunk."""
    room, chunk = shape.left + shape.chunk, shape.chunk
    places = np.arange(room)
    starts = np.arange(0, room, chunk)[:, None]
    after = (places - starts) % room
    # What does not lie in the newest chunk lies before it.
    ahead = np.where(after < chunk, after, after - room)
    near: Ints = np.arange(chunk)[:, None] - ahead[:, None, :] + chunk - 1
    return near
