"""Additive angular margin softmax (ArcFace, Deng et al. 2019): each learned speaker is a direction, voices come near to theirs.

A voice must be nearer to its own direction than to any other by an angle, the margin. Without it, voices are on the right side
of a border and no more; with it, those of one speaker draw together, which is what tells people apart who were never learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from duplexforge.models.speakers import SIZE

__all__ = ["Directions"]


class Directions(nn.Module):  # type: ignore[misc]
    """A direction for each of ``speakers``; ``scale`` is how sharply likeness counts, ``margin`` an angle in radians."""

    def __init__(self, speakers: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(speakers, SIZE))
        self.scale, self.margin = scale, margin

    def cosines(self, voices: Tensor) -> Tensor:
        """How near ``voices`` (n × 192, of length 1) are to every direction (n × speakers)."""
        with torch.autocast(voices.device.type, enabled=False):
            found: Tensor = nn.functional.linear(voices.float(), nn.functional.normalize(self.weight, dim=1))
        return found

    def loss(self, voices: Tensor, numbers: Tensor, part: float = 1.0) -> tuple[Tensor, Tensor]:
        """Of voices of speakers ``numbers`` (n), under ``part`` of the margin; and whether each is nearest to its own (n)."""
        cosines = self.cosines(voices)
        own = cosines.gather(1, numbers[:, None])
        margin = part * self.margin
        # The slope of a root is without end at 0.
        across = torch.sqrt((1 - own.square()).clamp_min(1e-6))
        further = own * math.cos(margin) - across * math.sin(margin)
        # Where the angle with its margin passes a half turn, its cosine would rise again: a line goes on downwards.
        further = torch.where(own > -math.cos(margin), further, own - margin * math.sin(margin))
        logits = self.scale * cosines.scatter(1, numbers[:, None], further)
        return nn.functional.cross_entropy(logits, numbers), cosines.argmax(dim=1) == numbers
