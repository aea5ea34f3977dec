"""The speech-to-speech model over whole turns in 64 bits, written down once more: what the steps without torch must equal.

Straight from the equations: no caches, no rings, no folded weights, every sum over everything with a mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.weights import Weights

Wide = npt.NDArray[np.float64]


class Whole:
    """The model; ``one(name)`` is an array of it in 64 bits."""

    def __init__(self, weights: Weights) -> None:
        self.shape, self._arrays = weights.shape, weights.arrays

    def one(self, name: str) -> Wide:
        return np.asarray(self._arrays[name], np.float64)

    def linear(self, x: Wide, name: str) -> Wide:
        found: Wide = x @ self.one(f"{name}.weight").T
        return found + self.one(f"{name}.bias") if f"{name}.bias" in self._arrays else found

    def norm(self, x: Wide, name: str) -> Wide:
        found: Wide = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self.one(f"{name}.weight")
        return found

    def attention(self, x: Wide, seen: Wide, name: str, mask: Any, *, bias: Any = 0.0, turned: bool = False) -> Wide:
        """What ``x`` (steps × width) finds in ``seen`` (frames × width), where ``mask`` (steps × frames) allows it."""
        width, heads = self.shape.width, self.shape.heads
        pair = self.one(f"{name}.pair.weight")
        queries = _heads(x @ self.one(f"{name}.query.weight").T, heads)
        keys, values = _heads(seen @ pair[:width].T, heads), _heads(seen @ pair[width:].T, heads)
        if turned:
            queries, keys = _turned(queries), _turned(keys)
        scores = queries @ keys.swapaxes(1, 2) / np.sqrt(width // heads) + bias
        odds = np.exp(np.where(mask, scores, -np.inf) - scores.max())
        found = odds / odds.sum(-1, keepdims=True) @ values
        merged: Wide = found.swapaxes(0, 1).reshape(len(x), width) @ self.one(f"{name}.out.weight").T
        return merged

    def hear(self, frames: Wide) -> tuple[Wide, Wide]:
        """The encoder's vectors (frames × width), and the probability of the turn's end behind each frame."""
        shape = self.shape
        times = np.arange(len(frames))
        start = times[:, None] // shape.chunk * shape.chunk
        mask = (times < start + shape.chunk) & (times >= start - shape.left)
        near = (times[:, None] - times + shape.chunk - 1).clip(0, shape.left + 2 * shape.chunk - 2)
        x = self.norm(self.linear(frames, "encoder.enter"), "encoder.norm")
        for layer in range(shape.encoder_layers):
            name = f"encoder.blocks.{layer}"
            x = x + 0.5 * self._feed(x, f"{name}.first")
            normed = self.norm(x, f"{name}.attention.norm")
            x = x + self.attention(normed, normed, f"{name}.attention", mask, bias=self.one(f"{name}.bias")[:, near])
            x = x + self._convolution(x, f"{name}.convolution")
            x = self.norm(x + 0.5 * self._feed(x, f"{name}.second"), f"{name}.norm")
        return x, 1 / (1 + np.exp(-self.linear(x, "turn")[:, 0]))

    def speak(self, text: Any, audio: Any, vector: Wide, heard: Wide, seen: Any) -> tuple[Wide, Wide]:
        """Logits of steps that were told ``text`` and ``audio``; ``seen`` (steps × frames) is what each sees of ``heard``."""
        shape, steps = self.shape, len(text)
        books = np.arange(shape.books) * (shape.entries + 1)
        x = self.one("decoder.text.weight")[text] + self.one("decoder.audio.weight")[audio + books].sum(1)
        own = np.tri(steps, dtype=np.bool_)
        for layer in range(shape.decoder_layers):
            name = f"decoder.blocks.{layer}"
            scale, shift = np.split(self.linear(vector, f"{name}.style"), 2)
            x = x * (1 + scale) + shift
            normed = self.norm(x, f"{name}.own.norm")
            x = x + self.attention(normed, normed, f"{name}.own", own, turned=True)
            x = x + self.attention(
                self.norm(x, f"{name}.cross.norm"), self.norm(heard, f"{name}.cross.norm"), f"{name}.cross", seen
            )
            gate, value = np.split(self.linear(self.norm(x, f"{name}.feed.norm"), f"{name}.feed.up"), 2, axis=1)
            x = x + self.linear(_silu(gate) * value, f"{name}.feed.down")
        x = self.norm(x, "decoder.norm")
        return self.linear(x, "decoder.say"), self.linear(x, "decoder.sound").reshape(steps, shape.books, -1)

    def _feed(self, x: Wide, name: str) -> Wide:
        return self.linear(_silu(self.linear(self.norm(x, f"{name}.norm"), f"{name}.up")), f"{name}.down")

    def _convolution(self, x: Wide, name: str) -> Wide:
        gate, value = np.split(self.linear(self.norm(x, f"{name}.norm"), f"{name}.up"), 2, axis=1)
        depth = self.one(f"{name}.depth.weight")[:, 0]
        sound = np.concatenate([np.zeros((depth.shape[1] - 1, depth.shape[0])), value / (1 + np.exp(-gate))])
        found = np.stack([(sound[at : at + depth.shape[1]] * depth.T).sum(0) for at in range(len(x))])
        return self.linear(_silu(self.norm(found + self.one(f"{name}.depth.bias"), f"{name}.inner")), f"{name}.down")


def _silu(x: Wide) -> Wide:
    return x / (1 + np.exp(-x))


def _heads(x: Wide, heads: int) -> Wide:
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def _turned(x: Wide) -> Wide:
    half = x.shape[2] // 2
    angles = np.arange(x.shape[1])[:, None] * 10_000.0 ** (-np.arange(half) / half)
    whole = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([whole.real, whole.imag], axis=2)
