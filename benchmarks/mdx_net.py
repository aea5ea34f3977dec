"""A network of the kind and size of UVR-MDX-NET-Inst_HQ_3, without its weights: what a window costs, and nothing else.

TFC-TDF U-Net: blocks of three 3 x 3 convolutions and a bottleneck over frequency, halved five times and doubled again.
With a growth of 48 on 3,072 bins it has 16.68 million parameters and takes 758.9 GFLOP a window, as published for it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

__all__ = ["MdxNet"]

_LEVELS = 5
_BOTTLENECK = 8


class MdxNet(nn.Module):
    """[batch, 4, bins, frames] to the same shape; ``bins`` a multiple of 256."""

    def __init__(self, growth: int, bins: int = 3072) -> None:
        super().__init__()
        self.first = _normed(nn.Conv2d(4, growth, 1, bias=False), growth)
        widths = [growth * level for level in range(1, _LEVELS + 2)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.coding, self.decoding = nn.ModuleList(), nn.ModuleList()
        for level, (width, wider) in enumerate(pairwise(widths)):
            self.coding.append(_Block(width, bins >> level))
            self.down.append(_normed(nn.Conv2d(width, wider, 2, 2, bias=False), wider))
            self.up.insert(0, _normed(nn.ConvTranspose2d(wider, width, 2, 2, bias=False), width))
            self.decoding.insert(0, _Block(width, bins >> level))
        self.middle = _Block(widths[-1], bins >> _LEVELS)
        self.last = nn.Conv2d(growth, 4, 1, bias=False)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """One pass."""
        found = self.first(spectrum).transpose(-1, -2)
        kept = []
        for block, down in zip(self.coding, self.down, strict=True):
            found = block(found)
            kept.append(found)
            found = down(found)
        found = self.middle(found)
        for up, block in zip(self.up, self.decoding, strict=True):
            found = block(up(found) * kept.pop())
        answer: torch.Tensor = self.last(found.transpose(-1, -2))
        return answer


class _Block(nn.Module):
    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.time = nn.Sequential(
            *(_normed(nn.Conv2d(width, width, 3, padding=1, bias=False), width) for _ in range(3))
        )
        inner = bins // _BOTTLENECK
        self.frequency = nn.Sequential(
            _normed(nn.Linear(bins, inner, bias=False), width), _normed(nn.Linear(inner, bins, bias=False), width)
        )

    def forward(self, found: torch.Tensor) -> torch.Tensor:
        found = self.time(found)
        answer: torch.Tensor = found + self.frequency(found)
        return answer


def _normed(layer: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())
