"""What encoder and decoder are built of: norm, attention, rotation by position, gated and plain feed-forward parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Feed", "Gated", "Norm", "attend", "rotated", "turns"]


class Norm(nn.Module):  # type: ignore[misc]
    """RMSNorm: scale alone, no mean and nothing of the batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (… × width) with a root mean square of 1, scaled."""
        # In 32 bits whatever the rest runs in: a mean of 256 squares loses too much in 16.
        wide = x.float()
        out: Tensor = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * self.weight).to(x.dtype)
        return out


class Feed(nn.Module):  # type: ignore[misc]
    """Norm, wider, SiLU, back."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = Norm(width), nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to ``x`` (… × width)."""
        out: Tensor = self.down(self.dropout(F.silu(self.up(self.norm(x)))))
        return out


class Gated(nn.Module):  # type: ignore[misc]
    """SwiGLU after a norm."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.up = Norm(width), nn.Linear(width, 2 * inner, bias=False)
        self.down, self.dropout = nn.Linear(inner, width, bias=False), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to ``x`` (… × width)."""
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)
        out: Tensor = self.down(self.dropout(F.silu(gate) * value))
        return out


class Attention(nn.Module):  # type: ignore[misc]
    """The projections of an attention; who sees whom is the caller's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width)
        self.query, self.pair = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def queries(self, x: Tensor) -> Tensor:
        """Of ``x`` (batch × time × width): batch × heads × time × size."""
        return self._split(self.query(x))

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of ``x``, likewise."""
        keys, values = self.pair(x).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def merged(self, heads: Tensor) -> Tensor:
        """The output (batch × time × width) of what the heads found."""
        out: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Weighted ``values``; ``bias`` (to batch × heads × queries × keys) is added to the scores or, where bool, allows them."""
    mask = bias if bias.dtype == torch.bool else bias.to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def turns(steps: int, size: int) -> Tensor:
    """Angles' cosines and sines (2 × steps × size/2) of the rotary positions. Source: Su et al., 2021."""
    speeds = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.arange(steps, dtype=torch.float32)[:, None] * speeds
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Tensor, turn: Tensor) -> Tensor:
    """``x`` (batch × heads × time × size) turned by ``turn`` (2 × [batch ×] time × size/2)."""
    cos, sin = (one.to(x.dtype) if one.dim() == 2 else one[:, None].to(x.dtype) for one in turn)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
