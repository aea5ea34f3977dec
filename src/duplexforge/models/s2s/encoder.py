"""The user's side: a causal Conformer over frames of 40 ms, chunk by chunk or over a whole recording, with the same result.

A frame sees its own chunk and ``left`` frames before it, in each layer; the convolutions see what was before. Attention
knows distances only, by a learned bias, so that a stream has no clock that could run out. Source of the block: Gulati et
al., 2020; here with RMSNorm where that has batch and layer norm.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.parts import Attention, Feed, Norm, attend
from duplexforge.models.s2s.shape import Shape

__all__ = ["Encoder", "Past"]


class Past(NamedTuple):
    """What a stream of slots carries from chunk to chunk."""

    keys: Tensor
    """layers × slots × heads × left × size"""
    values: Tensor
    sounds: Tensor
    """layers × slots × width × (kernel − 1): what the convolutions saw last."""
    heard: Tensor
    """int64[slots]: frames taken in."""


class Convolution(nn.Module):  # type: ignore[misc]
    """Gate, causal depthwise convolution, norm, SiLU."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm, self.up = Norm(width), nn.Linear(width, 2 * width)
        self.depth = nn.Conv1d(width, width, kernel, groups=width)
        self.inner, self.down = Norm(width), nn.Linear(width, width)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to ``x`` (batch × time × width), and the last frames for the next call (batch × width × kernel − 1)."""
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)
        sound = torch.cat([before, (torch.sigmoid(gate) * value).transpose(1, 2).to(before.dtype)], dim=2)
        found = self.depth(sound).transpose(1, 2)
        return self.down(F.silu(self.inner(found))), sound[:, :, sound.shape[2] - before.shape[2] :]


class Block(nn.Module):  # type: ignore[misc]
    """Half a feed-forward part, attention, convolution, the other half."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.first = Feed(shape.width, shape.encoder_inner, dropout)
        self.attention = Attention(shape.width, shape.heads)
        self.convolution = Convolution(shape.width, shape.kernel)
        self.second = Feed(shape.width, shape.encoder_inner, dropout)
        self.norm = Norm(shape.width)
        self.dropout = nn.Dropout(dropout)
        # By distance, from the chunk's last frame seen by its first, to the oldest one.
        self.bias = nn.Parameter(torch.zeros(shape.heads, shape.left + 2 * shape.chunk - 1))

    def forward(self, x: Tensor, near: Tensor, allowed: Tensor, past: Past | None, layer: int) -> tuple[Tensor, ...]:
        """The next layer's input, keys and values with those of the past before them, and the convolution's last frames."""
        x = x + 0.5 * self.dropout(self.first(x))
        normed = self.attention.norm(x)
        keys, values = self.attention.pairs(normed)
        if past is not None:
            keys, values = (
                torch.cat([old[layer], new], 2)
                for old, new in zip((past.keys, past.values), (keys, values), strict=True)
            )
        bias = self.bias[:, near].masked_fill(~allowed, float("-inf"))
        found = attend(self.attention.queries(normed), keys, values, bias)
        x = x + self.dropout(self.attention.merged(found))
        reach = self.convolution.depth.kernel_size[0] - 1
        before = x.new_zeros(x.shape[0], x.shape[2], reach) if past is None else past.sounds[layer]
        added, sound = self.convolution(x, before)
        x = x + self.dropout(added)
        x = self.norm(x + 0.5 * self.dropout(self.second(x)))
        return x, keys, values, sound


class Encoder(nn.Module):  # type: ignore[misc]
    """Frames (batch × time × 320) to vectors (batch × time × width), time being whole chunks."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.again = False
        """Whether training computes a block's inside again on the way back instead of keeping it."""
        self.enter = nn.Linear(WIDTH, shape.width)
        self.norm = Norm(shape.width)
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.encoder_layers))

    def forward(self, frames: Tensor) -> Tensor:
        """A whole recording."""
        times = torch.arange(frames.shape[1], device=frames.device)
        chunk, left = self.shape.chunk, self.shape.left
        start = times[:, None] // chunk * chunk
        allowed = (times < start + chunk) & (times >= start - left)
        near = (times[:, None] - times + chunk - 1).clamp(0, left + 2 * chunk - 2)
        x = self.norm(self.enter(frames))
        for layer, block in enumerate(self.blocks):
            if self.again and torch.is_grad_enabled():
                x = checkpoint(block, x, near, allowed, None, layer, use_reentrant=False)[0]
            else:
                x = block(x, near, allowed, None, layer)[0]
        return x

    def fresh(self, slots: int, device: torch.device | str = "cpu") -> Past:
        """The state of streams that have heard nothing."""
        shape = self.shape
        sizes = (shape.encoder_layers, slots, shape.heads, shape.left, shape.width // shape.heads)
        sounds = torch.zeros(shape.encoder_layers, slots, shape.width, shape.kernel - 1, device=device)
        heard = torch.zeros(slots, dtype=torch.int64, device=device)
        return Past(torch.zeros(sizes, device=device), torch.zeros(sizes, device=device), sounds, heard)

    def step(self, frames: Tensor, past: Past) -> tuple[Tensor, Past]:
        """One chunk (slots × chunk × 320): its vectors (slots × chunk × width), and the state after it."""
        chunk, left = self.shape.chunk, self.shape.left
        keyed = torch.arange(left + chunk, device=frames.device)
        near = left + torch.arange(chunk, device=frames.device)[:, None] - keyed + chunk - 1
        allowed = (keyed >= left - past.heard[:, None])[:, None, None]
        x = self.norm(self.enter(frames))
        kept: list[tuple[Tensor, ...]] = []
        for layer, block in enumerate(self.blocks):
            x, keys, values, sound = block(x, near, allowed, past, layer)
            kept.append((keys[:, :, chunk:], values[:, :, chunk:], sound))
        keys, values, sounds = (torch.stack(parts) for parts in zip(*kept, strict=True))
        return x, Past(keys, values, sounds, past.heard + chunk)
