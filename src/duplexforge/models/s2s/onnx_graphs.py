"""The model as three graphs for an exporter: hear a chunk, begin an answer, say a step. Torch.

What is kept between calls goes in and out as tensors of fixed shape. Of the decoder's caches only what is *new* comes out, and
whoever runs the graph writes it to its place: a graph that gave back caches of some megabytes would copy them for each
step. Layers' caches are inputs by themselves, and keys lie as the product wants them, for the same reason.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duplexforge.models.s2s.decoder import Block
from duplexforge.models.s2s.encoder import Past
from duplexforge.models.s2s.network import Network
from duplexforge.models.s2s.onnx_names import cache_names
from duplexforge.models.s2s.parts import rotated
from duplexforge.models.s2s.shape import Shape

__all__ = ["Begin", "Hear", "Speak", "begin_inputs", "hear_inputs", "speak_inputs"]


class Hear(nn.Module):  # type: ignore[misc]
    """One chunk of every slot: the turn's end as a logit, the encoder's state, and the chunk as cross-attention sees it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frames: Tensor, keys: Tensor, values: Tensor, sounds: Tensor, heard: Tensor
    ) -> tuple[Tensor, ...]:
        """The outputs of ``onnx_names.HEARD``."""
        vectors, past = self.network.encoder.step(frames, Past(keys, values, sounds, heard))
        seen, told = self.network.decoder.remembered(vectors)
        logits = self.network.turn(vectors[:, -1])[:, 0]
        return logits, past.keys, past.values, past.sounds, seen.transpose(-1, -2), told


class Begin(nn.Module):  # type: ignore[misc]
    """The styles (layers × slots × 2·width) of the speaker's and the emotion's vector (slots × width)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, speaker: Tensor, emotion: Tensor) -> Tensor:
        """As ``Decoder.styles``."""
        styles: Tensor = self.network.decoder.styles(speaker, emotion)
        return styles


class Speak(nn.Module):  # type: ignore[misc]
    """One step of every slot."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.shape, self.decoder = network.shape, network.decoder
        self.scale = (self.shape.width // self.shape.heads) ** -0.5

    def forward(
        self, entered: Tensor, at: Tensor, known: Tensor, styles: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        """The outputs of ``onnx_names.SPOKEN``.

        ``entered`` (slots × width) is the sum of the tables' rows of what was said before; ``caches`` are those of
        ``onnx_names.cache_names``.
        """
        shape, decoder = self.shape, self.decoder
        own = _barred(torch.arange(shape.steps) < at[:, None])
        # A slot that has heard nothing sees one empty frame: a softmax over nothing is no number.
        cross = _barred(torch.arange(shape.memory) < known.clamp_min(1)[:, None])
        turn = decoder.turn[:, at][:, :, None]
        x = entered[:, None]
        new = []
        for layer, block in enumerate(decoder.blocks):
            keys, values, seen, told = caches[4 * layer : 4 * layer + 4]
            x = block.styled(x, styles[layer])
            added, key, value = self._own(block, x, turn, keys=keys, values=values, barred=own)
            x = x + added
            queries = block.cross.queries(block.cross.norm(x)) * self.scale
            x = x + block.cross.merged(torch.softmax(queries @ seen + cross, -1) @ told)
            x = x + block.feed(x)
            new.append((key[:, :, 0], value[:, :, 0]))
        x = decoder.norm(x)[:, 0]
        sound = decoder.sound(x).reshape(-1, shape.books, shape.entries)
        return decoder.say(x), sound, torch.stack([key for key, _ in new]), torch.stack([value for _, value in new])

    def _own(
        self, block: Block, x: Tensor, turn: Tensor, *, keys: Tensor, values: Tensor, barred: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        normed = block.own.norm(x)
        key, value = block.own.pairs(normed)
        key, queries = rotated(key, turn), rotated(block.own.queries(normed), turn) * self.scale
        # This step and the cache are two summands, so that the cache need not be copied to take the step in.
        scores = torch.cat([queries @ keys + barred, (queries * key).sum(-1, keepdim=True)], -1)
        odds = torch.softmax(scores, -1)
        found = odds[..., :-1] @ values + odds[..., -1:] * value
        return block.own.merged(found), key, value


def _barred(allowed: Tensor) -> Tensor:
    """What is added to scores (slots × 1 × 1 × places) so that only what is ``allowed`` (slots × places) counts."""
    return torch.where(allowed, 0.0, -1e9)[:, None, None]


def hear_inputs(shape: Shape, network: Network, slots: int) -> dict[str, Tensor]:
    """Inputs of :class:`Hear` of the right shapes, by name."""
    past = network.encoder.fresh(slots)
    frames = torch.zeros(slots, shape.chunk, network.encoder.enter.in_features)
    return {"frames": frames, "keys": past.keys, "values": past.values, "sounds": past.sounds, "heard": past.heard}


def begin_inputs(shape: Shape, slots: int) -> dict[str, Tensor]:
    """Likewise of :class:`Begin`."""
    return {"speaker": torch.zeros(slots, shape.width), "emotion": torch.zeros(slots, shape.width)}


def speak_inputs(shape: Shape, slots: int) -> dict[str, Tensor]:
    """Likewise of :class:`Speak`."""
    size = shape.width // shape.heads
    caches: list[tuple[int, ...]] = [
        (slots, shape.heads, size, shape.steps),
        (slots, shape.heads, shape.steps, size),
        (slots, shape.heads, size, shape.memory),
        (slots, shape.heads, shape.memory, size),
    ]
    none = torch.zeros(slots, dtype=torch.int64)
    found = {"entered": torch.zeros(slots, shape.width), "at": none, "known": none.clone()}
    found["styles"] = torch.zeros(shape.decoder_layers, slots, 2 * shape.width)
    sizes = caches * shape.decoder_layers
    return found | {name: torch.zeros(one) for name, one in zip(cache_names(shape), sizes, strict=True)}
