"""The speaker encoder as it is trained. :mod:`duplexforge.models.speakers` runs the same without torch, one voice at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duplexforge.models.s2s.features import BANDS
from duplexforge.models.speakers import FIRST_KERNEL, KERNEL, SIZE, TINY, Shape

__all__ = ["Network"]


def _level(flow: Tensor) -> Tensor:
    return flow * torch.rsqrt(flow.square().mean(dim=1, keepdim=True) + TINY)


class _Layer(nn.Conv1d):  # type: ignore[misc]
    """A convolution, what is positive of it, and a mean square of 1 over the channels."""

    def __init__(self, inside: int, outside: int, kernel: int, holes: int = 1) -> None:
        super().__init__(inside, outside, kernel, padding=(kernel - 1) // 2 * holes, dilation=holes)
        self.gain = nn.Parameter(torch.ones(outside))

    def forward(self, flow: Tensor) -> Tensor:
        return _level(torch.relu(super().forward(flow))) * self.gain[:, None]


class _Block(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: Shape, holes: int) -> None:
        super().__init__()
        self.inwards = _Layer(shape.channels, shape.channels, 1)
        self.holes = _Layer(shape.channels, shape.channels, KERNEL, holes)
        self.outwards = _Layer(shape.channels, shape.channels, 1)
        self.squeeze = nn.Conv1d(shape.channels, shape.squeeze, 1)
        self.excite = nn.Conv1d(shape.squeeze, shape.channels, 1)

    def forward(self, flow: Tensor) -> Tensor:
        inner = self.outwards(self.holes(self.inwards(flow)))
        said = torch.relu(self.squeeze(inner.mean(dim=2, keepdim=True)))
        return flow + inner * torch.sigmoid(self.excite(said))


class Network(nn.Module):  # type: ignore[misc]
    """From frames (batch × n × 80, see ``speakers.heard``) to voices (batch × 192, of length 1)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.first = _Layer(BANDS, shape.channels, FIRST_KERNEL)
        self.blocks = nn.ModuleList([_Block(shape, holes) for holes in shape.dilations])
        self.join = nn.Conv1d(shape.channels * len(shape.dilations), shape.joined, 1)
        self.attend = nn.Conv1d(3 * shape.joined, shape.attention, 1)
        self.score = nn.Conv1d(shape.attention, shape.joined, 1)
        self.pooled = nn.BatchNorm1d(2 * shape.joined, eps=TINY)
        self.out = nn.Conv1d(2 * shape.joined, SIZE, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """The voices."""
        flows = [self.first(frames.transpose(1, 2))]
        for block in self.blocks:
            flows.append(block(flows[-1]))
        # Sums over hundreds of frames, and squares of small differences: not in 16 bits.
        flow = torch.relu(self.join(torch.cat(flows[1:], dim=1))).float()
        with torch.autocast(flow.device.type, enabled=False):
            found = self.out(self.pooled(self._pool(flow)[:, :, 0])[:, :, None])[:, :, 0]
        return nn.functional.normalize(found, dim=1)

    def weights(self) -> dict[str, Tensor]:
        """What the file holds of it."""
        state: dict[str, Tensor] = self.state_dict()
        return {name: state[name] for name in self.shape.arrays()}

    def _pool(self, flow: Tensor) -> Tensor:
        mean = flow.mean(dim=2, keepdim=True)
        spread = torch.sqrt((flow - mean).square().mean(dim=2, keepdim=True) + TINY)
        around = torch.cat([flow, mean.expand_as(flow), spread.expand_as(flow)], dim=1)
        weights = torch.softmax(self.score(torch.tanh(self.attend(around))), dim=2)
        mean = (weights * flow).sum(dim=2, keepdim=True)
        spread = torch.sqrt((weights * (flow - mean).square()).sum(dim=2, keepdim=True) + TINY)
        return torch.cat([mean, spread], dim=1)
