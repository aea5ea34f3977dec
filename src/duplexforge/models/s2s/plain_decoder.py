"""The model's own side without torch: the steps of ``decoder`` over slots, with the caches written in place.

A slot looks at the places of its caches that it has filled and at no other, so that a young answer costs less than an old
one. Cross-attention's keys and values of all layers are made when a chunk is heard, by one product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.plain_arrays import Arrays
from duplexforge.models.s2s.plain_parts import BLOCK, Floats, Product, attended, gated, normed
from duplexforge.models.s2s.shape import Shape

__all__ = ["PlainDecoder"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Block:
    """One layer."""

    style: Product
    all: Product
    """Queries, keys and values of the self-attention at once."""
    own: Product
    query: Product
    cross: Product
    up: Product
    down: Product

    @classmethod
    def of(cls, arrays: Arrays, name: str, size: int) -> _Block:
        own, cross, feed = (arrays[f"{name}.{part}.norm.weight"] for part in ("own", "cross", "feed"))
        scale = np.float32(size**-0.5)
        whole = np.concatenate([arrays[f"{name}.own.query.weight"] * scale, arrays[f"{name}.own.pair.weight"]])
        up = arrays[f"{name}.feed.up.weight"] * feed
        # The gate alone is halved; see ``gated``.
        up[: len(up) // 2] *= np.float32(0.5)
        return cls(
            Product(arrays[f"{name}.style.weight"], arrays[f"{name}.style.bias"]),
            Product(whole * own),
            Product(arrays[f"{name}.own.out.weight"]),
            Product(arrays[f"{name}.cross.query.weight"] * cross * scale),
            Product(arrays[f"{name}.cross.out.weight"]),
            Product(up),
            Product(arrays[f"{name}.feed.down.weight"]),
        )


class PlainDecoder:
    """The decoder over the state of ``slots``."""

    def __init__(self, arrays: Arrays, shape: Shape, slots: int) -> None:
        self._shape, self._size = shape, shape.width // shape.heads
        self._text, self._audio = arrays["decoder.text.weight"], arrays["decoder.audio.weight"]
        self._offsets = np.arange(shape.books) * (shape.entries + 1)
        names = [f"decoder.blocks.{layer}" for layer in range(shape.decoder_layers)]
        self._blocks = [_Block.of(arrays, name, self._size) for name in names]
        pairs = [arrays[f"{name}.cross.pair.weight"] * arrays[f"{name}.cross.norm.weight"] for name in names]
        self._pairs = Product(np.concatenate(pairs))
        heads = [arrays[f"decoder.{name}.weight"] for name in ("say", "sound")]
        told = [arrays[f"decoder.{name}.bias"] for name in ("say", "sound")]
        self._out = Product(np.concatenate(heads) * arrays["decoder.norm.weight"], np.concatenate(told))
        self._cos, self._sin = _turns(shape.steps, self._size)
        self._said = _cache(shape, slots, shape.steps)
        self._memory = _cache(shape, slots, shape.memory)
        self._styles = np.zeros((shape.decoder_layers, slots, 2, shape.width), np.float32)
        self._styles[:, :, 0] = 1

    def begin(self, slots: Ints, vectors: Floats) -> None:
        """Style ``slots`` by the sums of their speakers' and emotions' vectors (n × width)."""
        for styles, block in zip(self._styles, self._blocks, strict=True):
            found = block.style(vectors).reshape(len(slots), 2, self._shape.width)
            found[:, 0] += 1
            styles[slots] = found

    def remember(self, heard: Floats, slots: Ints, known: Ints) -> None:
        """Take in the encoder's vectors (n × chunk × width) of ``slots``, which knew ``known`` frames before."""
        chunk, shape = heard.shape[1], self._shape
        whole = (len(slots), chunk, shape.decoder_layers, 2, shape.heads, self._size)
        pairs = self._pairs(normed(heard.reshape(-1, shape.width))).reshape(whole)
        # 2 × slots × layers × heads × chunk × size
        pairs = pairs.transpose(3, 0, 2, 4, 1, 5)
        for row, slot in enumerate(slots):
            # A ring: cross-attention knows no order but what the vectors tell.
            first = known[row] % shape.memory
            for cache, found in zip(self._memory, pairs, strict=True):
                flat = cache[:, slot].reshape(shape.decoder_layers, shape.heads, -1, self._size)
                flat[:, :, first : first + chunk] = found[row]

    def step(self, text: Ints, audio: Ints, slots: Ints, at: Ints, known: Ints) -> tuple[Floats, Floats]:
        """Logits (n × vocabulary; n × books × entries) of the steps ``at`` of ``slots``, which know ``known`` frames."""
        shape = self._shape
        x = self._text[text] + self._audio[audio + self._offsets].sum(axis=1)
        for layer, block in enumerate(self._blocks):
            style = self._styles[layer, slots]
            x = x * style[:, 0] + style[:, 1]
            x += block.own(self._own(layer, block.all(normed(x)), slots, at))
            x += block.cross(self._cross(layer, block.query(normed(x)), slots, known))
            gate, value = np.split(block.up(normed(x)), 2, axis=1)
            x += block.down(gated(gate) * value)
        found = self._out(normed(x))
        return found[:, : shape.vocabulary], found[:, shape.vocabulary :].reshape(len(x), shape.books, shape.entries)

    def _own(self, layer: int, parts: Floats, slots: Ints, at: Ints) -> Floats:
        shape = self._shape
        both, values = parts[:, : 2 * shape.width], parts[:, 2 * shape.width :]
        # Halves of each head, the second first, against the signed sine: the rotation in three calls.
        halves = both.reshape(len(parts), 2 * shape.heads, 2, -1)
        turned = halves * self._cos[at][:, None] + halves[:, :, ::-1] * self._sin[at][:, None]
        turned = turned.reshape(len(parts), 2, shape.heads, self._size)
        keys, told = (cache[layer].reshape(-1, shape.heads, cache.shape[3] * BLOCK, self._size) for cache in self._said)
        keys[slots, :, at] = turned[:, 1]
        told[slots, :, at] = values.reshape(len(parts), shape.heads, -1)
        return self._found(self._said, layer, turned[:, 0], slots, at + 1)

    def _cross(self, layer: int, queries: Floats, slots: Ints, known: Ints) -> Floats:
        queries = queries.reshape(len(queries), self._shape.heads, -1)
        return self._found(self._memory, layer, queries, slots, np.minimum(known, self._shape.memory))

    def _found(self, caches: tuple[Floats, Floats], layer: int, queries: Floats, slots: Ints, known: Ints) -> Floats:
        keys, values = caches[0][layer], caches[1][layer]
        rows = zip(queries, slots.tolist(), known.tolist(), strict=True)
        return np.stack([attended(query, keys[slot], values[slot], many) for query, slot, many in rows])


def _cache(shape: Shape, slots: int, places: int) -> tuple[Floats, Floats]:
    """Keys and values: layers × slots × heads × blocks × places of a block × size."""
    size = shape.width // shape.heads
    whole = (shape.decoder_layers, slots, shape.heads, -(-places // BLOCK), BLOCK, size)
    return np.zeros(whole, np.float32), np.zeros(whole, np.float32)


def _turns(steps: int, size: int) -> tuple[Floats, Floats]:
    """Cosines and signed sines (steps × 2 × size/2) of the rotary positions, as ``parts.turns`` has them."""
    speeds = np.float32(10_000.0) ** (-np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
    angles = np.arange(steps, dtype=np.float32)[:, None] * speeds
    sines = np.sin(angles)
    return np.stack([np.cos(angles)] * 2, axis=1), np.stack([-sines, sines], axis=1)
