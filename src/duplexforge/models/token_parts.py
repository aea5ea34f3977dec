"""Parts of the mode token's network: what it sees of past and present, how it goes on by the period, the small networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duplexforge.models.periods import HISTORY, LEVELS, LONGEST, MATCH, PREFERENCE, QUIET, SHORTEST

FLOOR = 1e-3
"""Size of a coefficient that counts as silence: 60 dB below full scale."""
PAST = 8
"""Frames before that the networks see."""
_LEAST, _MOST = -7.5, 3.0


def smooth(power: Tensor) -> Tensor:
    """Mean over five neighbouring coefficients (… × hop); the edges repeat."""
    flat = power.reshape(-1, 1, power.shape[-1])
    return F.avg_pool1d(F.pad(flat, (2, 2), mode="replicate"), 5, 1).reshape(power.shape)


def seen(past: Tensor, coded: Tensor) -> Tensor:
    """What the networks see: logarithms of the past (… × PAST × hop) and of what is coded so far (… × hop), 5·hop wide."""
    logs = torch.log(past * past + FLOOR**2)
    recent = torch.log(smooth((past[..., -2:, :] ** 2).mean(dim=-2)) + FLOOR**2)
    power = coded * coded
    parts = [logs[..., -1, :], logs.mean(dim=-2), recent, torch.log(power + FLOOR**2)]
    return torch.cat([*parts, torch.log(smooth(power) + FLOOR**2)], dim=-1) / 4 + 1


def windows(frames: Tensor) -> Tensor:
    """The PAST frames before each one (batch × time × PAST × hop); before the first there is silence."""
    padded = F.pad(frames, (0, 0, PAST, 0))
    return padded.unfold(1, PAST, 1)[:, :-1].transpose(2, 3)


def continued(histories: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """``samples`` more of each of ``histories`` (n × HISTORY) and its row of trust; as ``periods.continued`` does it."""
    target = histories[:, -MATCH:]
    energy = target.square().sum(dim=1)
    products = F.conv1d(histories[None], target[:, None], groups=len(histories))[0]
    sums = F.pad(histories.square().double().cumsum(dim=1), (1, 0))
    powers = (sums[:, MATCH:] - sums[:, :-MATCH]).float() + QUIET
    lags = torch.arange(SHORTEST, LONGEST + 1, device=histories.device)
    products, powers = (one[:, HISTORY - MATCH - lags] for one in (products, powers))
    likeness = products.clamp_min(0).square() / powers * (1 - PREFERENCE * (lags - SHORTEST))
    best = likeness.argmax(dim=1, keepdim=True)
    gain = (products.gather(1, best) / powers.gather(1, best)).clamp(0, 1)
    lag = lags[best]
    made = histories.gather(1, HISTORY - lag + torch.arange(samples, device=lag.device) % lag) * gain
    sound = energy >= QUIET
    rows = (likeness.gather(1, best)[:, 0] / energy.clamp_min(QUIET) * LEVELS).long().clamp(0, LEVELS - 1)
    return made * sound[:, None], rows * sound


class Look(nn.Module):  # type: ignore[misc]
    """A small network from what is seen (5·hop) to one number for every coefficient (hop)."""

    def __init__(self, hop: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(5 * hop, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.outer = nn.Linear(hidden, hop)
        self.straight = nn.Linear(5 * hop, hop, bias=False)
        nn.init.zeros_(self.straight.weight)

    def forward(self, features: Tensor) -> Tensor:
        """The numbers (… × hop)."""
        out: Tensor = self.outer(self.inner(features)) + self.straight(features)
        return out


def size_of(raw: Tensor) -> Tensor:
    """Logarithm of a coefficient's size from what a network says, kept within what 16-bit audio can hold."""
    return (raw - 2.5).clamp(_LEAST, _MOST)
