"""What tells made waves from true ones while a codec is trained; nothing of it is shipped.

Two families, after HiFi-GAN (Kong et al., 2020) and EnCodec (Défossez et al., 2022): the wave folded at several prime
periods, and its complex spectrum at several resolutions. Each returns scores and the features on the way to them. They
hear every wave at the same level: how loud it is tells nothing, and at a whisper's size they would learn next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

_SILENCE = 1e-3
"""Root mean square below which a wave is not made louder any more."""

Judged = tuple[list[Tensor], list[list[Tensor]]]
"""Scores of all judges, and the features of each."""


class PeriodJudge(nn.Module):  # type: ignore[misc]
    """Sees the wave as rows of ``period`` samples."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in pairwise(widths))
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waves: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score and features of waves (batch × samples)."""
        folded = F.pad(waves, (0, -waves.shape[1] % self.period))
        hidden = folded.reshape(len(waves), 1, -1, self.period)
        return _through(hidden, self.layers, self.last)


class SpectrumJudge(nn.Module):  # type: ignore[misc]
    """Sees real and imaginary part of a short-time spectrum with windows of ``size``."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        steps = [(1, 1), (1, 2), (1, 2)]
        widths = [2, width, width, width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (3, 7), step, (1, 3)))
            for (a, b), step in zip(pairwise(widths), steps, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waves: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score and features of waves (batch × samples)."""
        spectrum = torch.stft(
            waves.float(), self.size, self.size // 4, window=self.window, return_complex=True, pad_mode="constant"
        )
        hidden = torch.view_as_real(spectrum).permute(0, 3, 2, 1) / self.size**0.5
        return _through(hidden, self.layers, self.last)


class Discriminators(nn.Module):  # type: ignore[misc]
    """All judges."""

    def __init__(
        self, periods: Sequence[int] = (2, 3, 5, 7, 11), sizes: Sequence[int] = (1024, 512, 256), width: int = 16
    ) -> None:
        super().__init__()
        judges = [*(PeriodJudge(period, width) for period in periods), *(SpectrumJudge(size, width) for size in sizes)]
        self.judges = nn.ModuleList(judges)

    def forward(self, waves: Tensor) -> Judged:
        """What every judge says of waves (batch × samples)."""
        levels = waves.detach().square().mean(dim=1, keepdim=True).sqrt() + _SILENCE
        said = [judge(waves / levels) for judge in self.judges]
        return [score for score, _ in said], [features for _, features in said]


def _through(hidden: Tensor, layers: nn.ModuleList, last: nn.Module) -> tuple[Tensor, list[Tensor]]:
    features = []
    for layer in layers:
        hidden = F.leaky_relu(layer(hidden), 0.2)
        features.append(hidden)
    return last(hidden), features
