"""The base layer as it is trained: its books, its network, and the synthesis as torch can follow it backwards.

``BaseModel`` looks at whole stretches at once; :mod:`duplexforge.models.base_weights` and ``base_synthesis`` run the same
frame by frame without torch. Only levels learn: pitch and noise are given, so what goes back is the gradient of amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from duplexforge.models.base_analysis import BANDS, BREATHS, CENTRES, FLOOR_DB, GAINS, WIDTH
from duplexforge.models.base_pitch import RATE
from duplexforge.models.base_synthesis import STEP, Voice, breath_spread, noise, phases, spread
from duplexforge.models.base_weights import LEAST_SHARE, MIDDLE_PITCH, MOST_DB, SAYS, SEEN
from duplexforge.models.quantizers import Books

QUIET_DB = -100.0
"""What stands for silence here: low enough to be nothing, high enough for finite gradients."""


@dataclass(frozen=True)
class BaseShape:
    """What the weights file says about itself."""

    books: int = 5
    entries: int = 1024
    hidden: int = 192


class Stretch(NamedTuple):
    """What the synthesis is given beside levels: knots' pitches (batch × 2·frames) and the pitch of every sample."""

    pitches: Tensor
    line: Tensor


def stretch(pitches: np.ndarray[tuple[int, int, int], np.dtype[np.float64]]) -> Stretch:
    """Of pitches (batch × frames × 2, Hz), the lines between them as ``base_synthesis`` draws them."""
    lines = []
    for row in pitches:
        voice, parts = Voice(), []
        for pair in row:
            parts.append(voice.pitch_line(pair))
            voice.pitch = float(pair[-1])
        lines.append(np.concatenate(parts))
    flat = torch.from_numpy(pitches.reshape(len(pitches), -1)).float()
    return Stretch(flat, torch.from_numpy(np.stack(lines)))


class BaseModel(nn.Module):  # type: ignore[misc]
    """Books and network."""

    def __init__(self, shape: BaseShape) -> None:
        super().__init__()
        self.shape = shape
        self.books = Books(shape.books, shape.entries, WIDTH)
        layers = [nn.Linear(SEEN, shape.hidden), nn.SiLU(), nn.Linear(shape.hidden, shape.hidden), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(shape.hidden, SAYS))
        nn.init.zeros_(self.net[4].weight)
        nn.init.zeros_(self.net[4].bias)
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("scale", torch.ones(WIDTH))
        fixed = {
            "spread": spread(),
            "breaths": breath_spread(),
            "phases": phases(),
            "white": noise(),
            "centres": CENTRES,
        }
        for name, matrix in fixed.items():
            self.register_buffer(name, torch.from_numpy(matrix).float(), persistent=False)

    def start(self, vectors: Tensor, weights: Tensor, rounds: int, random: torch.Generator) -> None:
        """Mean, scale and books from ``vectors`` and their ``weights`` (both n × WIDTH)."""
        total = weights.sum(dim=0).clamp_min(1e-9)
        self.mean.copy_((weights * vectors).sum(dim=0) / total)
        self.scale.copy_(((weights * (vectors - self.mean).square()).sum(dim=0) / total).sqrt().clamp_min(1e-3))
        self.books.start(vectors - self.mean, weights, rounds, random)

    def code(self, vectors: Tensor, weights: Tensor, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """Indices (… × depth) and what they decode to (… × WIDTH), by the plain search book after book."""
        flat = (vectors - self.mean).reshape(-1, WIDTH)
        index, coded = self.books.search(flat, weights.reshape(-1, WIDTH), depth)
        return index.reshape(*vectors.shape[:-1], -1), coded.reshape(vectors.shape) + self.mean

    def levels(self, vectors: Tensor, pitches: Tensor) -> tuple[Tensor, Tensor]:
        """Densities (batch × steps × BANDS, dB) of harmonics and noise, 10 ms each, of coded ``vectors`` (batch × frames ×
        WIDTH) and knots' ``pitches``.
        """
        batch, frames, _ = vectors.shape
        said = self._say(vectors, pitches)
        gains, breath, shape = vectors.split([GAINS, 2 * BREATHS, 2 * BANDS], dim=-1)
        shape = shape.reshape(batch, 2 * frames, BANDS)
        power = torch.exp((shape @ self.spread) * (np.log(10) / 10)).mean(dim=-1, keepdim=True)
        shape = shape - 10 * torch.log10(power)
        voiced = (pitches > 0)[..., None]
        share = breath.reshape(batch, 2 * frames, BREATHS).clamp(0, 1) @ self.breaths * voiced
        moved = said[..., : 4 * BANDS].reshape(batch, frames, 2, 2, BANDS).transpose(1, 2).reshape(batch, 2, -1, BANDS)
        harmonics = shape + moved[:, 0] + 10 * torch.log10(share.clamp_min(LEAST_SHARE))
        breathy = shape + moved[:, 1] + 10 * torch.log10((1 - share).clamp_min(LEAST_SHARE))
        harmonics = torch.where(voiced, harmonics, torch.full_like(harmonics, QUIET_DB))
        loud = (gains + said[..., 4 * BANDS :]).clamp(FLOOR_DB, 0).reshape(batch, -1, 1)
        return _steps(harmonics) + loud, _steps(breathy) + loud

    def _say(self, vectors: Tensor, pitches: Tensor) -> Tensor:
        batch, frames, _ = vectors.shape
        silent = self.mean.clone()
        silent[:GAINS] = FLOOR_DB
        before = torch.cat([silent.expand(batch, 1, -1), vectors[:, :-1]], dim=1)
        both = ((torch.stack([before, vectors], dim=2) - self.mean) / self.scale).clamp(-4, 4)
        track = torch.cat([pitches.new_zeros(batch, 1), pitches], dim=1)
        track = torch.stack([track[:, 0:-1:2], track[:, 1::2], track[:, 2::2]], dim=2)
        heights = torch.where(track > 0, torch.log2(track.clamp_min(1) / MIDDLE_PITCH), 0.0)
        seen = torch.cat([both.reshape(batch, frames, -1), (track > 0).float(), heights], dim=-1)
        said: Tensor = MOST_DB * torch.tanh(self.net(seen))
        return said

    def waves(self, vectors: Tensor, given: Stretch, at: int = 0) -> Tensor:
        """Waves (batch × frames·HOP) of coded vectors; ``at`` is where in the noise they begin, in steps."""
        harmonics, breathy = self.levels(vectors, given.pitches)
        return self._sing(harmonics, given) + self._hiss(breathy, at)

    def _sing(self, levels: Tensor, given: Stretch) -> Tensor:
        batch, steps, _ = levels.shape
        line = given.line.reshape(batch * steps, STEP)
        turned = torch.remainder(2 * np.pi * given.line.cumsum(dim=1) / RATE, 2 * np.pi).float()
        chosen = line.amax(dim=1) > 0
        if not chosen.any():
            return levels.new_zeros(batch, steps * STEP)
        lowest = float(line[line > 0].min())
        numbers = torch.arange(1, int(RATE / 2 / lowest) + 1, device=line.device)
        angles = turned.reshape(-1, STEP)[chosen][..., None] * numbers
        # As the decoder does: at a step's beginning, the pitch of the sample before it in the frame.
        places = torch.arange(steps) * STEP - (torch.arange(steps) % GAINS > 0).long()
        starts = given.line[:, places].reshape(-1)[chosen]
        first = torch.cat([torch.full_like(levels[:, :1], QUIET_DB), levels[:, :-1]], dim=1).reshape(-1, BANDS)[chosen]
        ends = (first, starts), (levels.reshape(-1, BANDS)[chosen], line[chosen, -1])
        fade = (torch.arange(STEP, device=line.device) + 1) / STEP
        sine, cosine = torch.sin(angles), torch.cos(angles)
        out = levels.new_zeros(len(angles), STEP)
        for (level, pitch), share in zip(ends, (1 - fade, fade), strict=True):
            size, angle = self._sizes(level, pitch.float(), numbers)
            sound = sine @ (size * torch.cos(angle))[..., None] + cosine @ (size * torch.sin(angle))[..., None]
            out = out + sound[..., 0] * share
        whole = levels.new_zeros(batch * steps, STEP).index_put((chosen.nonzero()[:, 0],), out)
        return whole.reshape(batch, -1)

    def _sizes(self, level: Tensor, pitch: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        frequency = pitch[:, None] * numbers
        size = _between(level, frequency, self.centres)
        grid = torch.linspace(0, RATE / 2, STEP + 1, device=level.device)
        angle = _between(level @ self.phases, frequency, grid).detach()
        height = torch.sqrt(2 * pitch / (RATE / 2))[:, None] * torch.exp(size * (np.log(10) / 20))
        return height * ((RATE / 2 - frequency) / 200).clamp(0, 1), angle

    def _hiss(self, levels: Tensor, at: int) -> Tensor:
        batch, steps, _ = levels.shape
        samples = torch.arange(2 * STEP, device=levels.device)
        rise = torch.sin(np.pi * (samples + 0.5) / (2 * STEP))
        starts = (at + torch.arange(steps, device=levels.device)) * STEP
        pieces = self.white[(starts[:, None] + samples) % len(self.white)] * rise
        gains = torch.exp((levels @ self.spread) * (np.log(10) / 20))
        made = torch.fft.irfft(torch.fft.rfft(pieces) * gains, dim=-1) * rise
        tails = torch.cat([made.new_zeros(batch, 1, STEP), made[:, :-1, STEP:]], dim=1)
        return (made[..., :STEP] + tails).reshape(batch, -1)


def _between(values: Tensor, places: Tensor, known: Tensor) -> Tensor:
    """``values`` (n × len(known)) at ``places`` (n × m), by lines between ``known``; held beyond its ends."""
    right = torch.searchsorted(known, places.contiguous()).clamp(1, len(known) - 1)
    share = ((places - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    return values.gather(1, right - 1) * (1 - share) + values.gather(1, right) * share


def _steps(knots: Tensor) -> Tensor:
    """From levels at knots (batch × knots × BANDS) to those of each 10 ms; before the first knot is silence."""
    before = torch.cat([torch.full_like(knots[:, :1], QUIET_DB), knots[:, :-1]], dim=1)
    unit = np.log(10) / 20
    half = (torch.logaddexp(before * unit, knots * unit) - np.log(2)) / unit
    return torch.stack([half, knots], dim=2).reshape(len(knots), -1, knots.shape[-1])
