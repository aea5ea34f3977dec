"""The network of the mode token, as it is trained: seven books round a fixed lapped transform, and one of loudness.

A frame is 80 coefficients of 5 ms. What the voice's last period leads to expect is taken off first
(:mod:`duplexforge.models.periods`). From the frames decoded before, a small causal network tells how large each coefficient
of what is left will be, and the first book codes it in units of that, so that one book serves loud and quiet, low and
high. After one book and after three another network looks again, now at what was coded too (what QINCo does to whole
codebooks — Huijben et al., 2024 — is done here to their scale alone, which costs next to nothing). At the end a filter,
which sees the same, corrects the size of every coefficient: what is decoded under a squared error is too small wherever
little is known.

``TokenModel`` looks at whole stretches at once, for training; :mod:`duplexforge.models.rvq` runs the same weights frame by
frame without torch. The frames "decoded before" come from a first pass that sees the true ones: one round of Jacobi's
iteration, after which the two hardly differ, as what a frame makes of its past is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duplexforge.models import envelope
from duplexforge.models.lapped import basis
from duplexforge.models.periods import HISTORY, LEVELS
from duplexforge.models.quantizers import Books
from duplexforge.models.token_parts import FLOOR, Look, continued, seen, size_of, smooth, windows

MOST_TRUST = 0.95


@dataclass(frozen=True)
class TokenShape:
    """What the weights file says about itself. ``groups`` are the books between two looks of the network."""

    hop: int = 80
    entries: int = 1024
    groups: tuple[int, ...] = (1, 2, 4)
    hidden: int = 192
    bands: int = 24
    """Bands whose loudness the last codes say; where they would be narrower than a coefficient, there are fewer."""
    tilt: float = 0.3
    """How far the search follows the ear: the error weighs as (spectrum)^−tilt; 0 is the plain squared error."""
    quiet: float = 0.3
    """How much more quiet frames count: the error weighs as (level)^−quiet; 0 leaves silence almost no entries."""


class Coded(NamedTuple):
    """Frames (batch × time × hop) as the books give them, the same as they are heard, and indices (batch × time × books)."""

    plain: Tensor
    filtered: Tensor
    indices: Tensor
    scale_loss: Tensor


def weights_of(frames: Tensor, shape: TokenShape) -> Tensor:
    """How much the error of each coefficient counts in the search (same shape), from the true spectrum."""
    level = (frames * frames).mean(dim=-1, keepdim=True) + FLOOR**2
    spectrum = smooth(frames * frames) + FLOOR**2
    return (spectrum / level).pow(-shape.tilt) * level.pow(-shape.quiet)


class TokenModel(nn.Module):  # type: ignore[misc]
    """The books, the networks between them, the books of loudness and the filter."""

    def __init__(self, shape: TokenShape) -> None:
        super().__init__()
        self.shape = shape
        self.books = nn.ModuleList([Books(count, shape.entries, shape.hop) for count in shape.groups])
        self.looks = nn.ModuleList([Look(shape.hop, shape.hidden) for _ in shape.groups])
        members = torch.from_numpy(envelope.members(shape.hop, shape.bands))
        self.packet = envelope.PACKET // shape.hop
        self.gains = Books(self.packet, shape.entries, len(members))
        self.filter = Look(shape.hop, shape.hidden)
        nn.init.zeros_(self.filter.outer.weight)
        nn.init.zeros_(self.filter.outer.bias)
        self.register_buffer("trust", torch.zeros(LEVELS, shape.hop))
        self.register_buffer("basis", torch.from_numpy(basis(shape.hop)), persistent=False)
        self.register_buffer("members", members, persistent=False)

    def frames(self, waves: Tensor) -> Tensor:
        """Frames (batch × time × hop) of waves (batch × samples, a whole number of hops)."""
        hop = self.shape.hop
        return F.pad(waves, (hop, hop)).unfold(1, 2 * hop, hop) @ self.basis.T

    def waves(self, frames: Tensor) -> Tensor:
        """Waves (batch × samples) of all frames of ``frames``."""
        hop = self.shape.hop
        both = frames @ self.basis
        return (both[:, :-1, hop:] + both[:, 1:, :hop]).flatten(1)

    def forward(self, frames: Tensor, depth: int | None = None) -> Coded:
        """Code ``frames`` with the first ``depth`` books (None: all), each frame seeing the decoded ones before it."""
        with torch.no_grad():
            first = self._pass(frames, frames, depth)
        return self._pass(frames, first.plain, depth)

    def _pass(self, frames: Tensor, decoded: Tensor, depth: int | None) -> Coded:
        past = windows(decoded)
        weights = weights_of(frames, self.shape)
        coded = self._expected(decoded)
        indices: list[Tensor] = []
        loss = frames.new_zeros(())
        for number, books in enumerate(self.books):
            left = (self.count_of_books if depth is None else depth) - sum(
                len(one.vectors) for one in self.books[:number]
            )
            if left <= 0:
                break
            size = self._size(number, past, coded)
            loss = loss + _likelihood(frames - coded.detach(), size)
            rest = (frames - coded).detach() * torch.exp(-size.detach())
            found, entry = books.search(_flat(rest), _flat(weights * torch.exp(2 * size.detach())), left)
            coded = coded + entry.reshape(frames.shape) * torch.exp(size)
            indices.append(found.reshape(*frames.shape[:2], -1))
        raised = coded * self._raised(frames, coded.detach())
        gain = torch.exp(torch.tanh(self.filter(seen(past, raised.detach()))))
        return Coded(coded, raised * gain, torch.cat(indices, dim=-1), loss)

    def _raised(self, frames: Tensor, coded: Tensor) -> Tensor:
        """The factor of each coefficient (batch × time × hop) that the books of loudness give."""
        with torch.no_grad():
            wanted, weights = self._wanted(frames, coded)
            _, gains = self.gains.search(_flat(wanted), _flat(weights))
            factors = (torch.exp(gains) @ self.members).reshape(len(frames), -1, self.shape.hop)
            return factors.repeat_interleave(self.packet, dim=1)[:, : frames.shape[1]]

    def _wanted(self, frames: Tensor, coded: Tensor) -> tuple[Tensor, Tensor]:
        """The gains that each packet would have, and their weights (batch × packets × bands); see ``envelope.wanted``."""
        fill = (0, 0, 0, -frames.shape[1] % self.packet)
        powers = (F.pad(one, fill).square().unfold(1, self.packet, self.packet).mean(dim=-1) for one in (frames, coded))
        energy, had = (power @ self.members.T + float(envelope.FLOOR) for power in powers)
        most = float(envelope.MOST)
        return (0.5 * torch.log(energy / had)).clamp(-most, most), energy.pow(float(envelope.LOUD))

    def _expected(self, decoded: Tensor) -> Tensor:
        """What each frame will be like (batch × time × hop), from the wave that the ``decoded`` ones before it make."""
        made, rows = self._continued(decoded)
        return made * self.trust[rows]

    def _continued(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """The frames that continue the wave by its last period, and the rows of trust (batch × time)."""
        batch, time, hop = decoded.shape
        # Nothing here is learned from: a lag has no slope.
        wave = F.pad(self.waves(decoded.detach()), (HISTORY + hop, 0))
        histories = wave.unfold(1, HISTORY, hop)[:, :time].reshape(-1, HISTORY)
        made, rows = continued(histories, 2 * hop)
        return (made @ self.basis.T).reshape(batch, time, hop), rows.reshape(batch, time)

    @property
    def count_of_books(self) -> int:
        """Books in all."""
        return sum(self.shape.groups)

    def _size(self, number: int, past: Tensor, coded: Tensor) -> Tensor:
        return size_of(self.looks[number](seen(past, coded.detach())))

    def start(
        self,
        frames: Tensor,
        generator: torch.Generator,
        *,
        rounds: int = 5,
        steps: int = 500,
        tilt: float | None = None,
    ) -> None:
        """Fit the books by k-means and the networks by likelihood, group by group, on ``frames`` (batch × time × hop).

        ``tilt`` takes the place of the shape's in the weights that k-means goes by.
        """
        noise = torch.randn(frames.shape, generator=generator) * (0.15 * smooth(frames * frames).sqrt() + FLOOR)
        past = _flat(windows(frames + noise), 2)
        shape = self.shape if tilt is None else replace(self.shape, tilt=tilt)
        values, weights = _flat(frames), _flat(weights_of(frames, shape))
        coded = self._start_trust(frames + noise, values, weights)
        for number, books in enumerate(self.books):
            look = self.looks[number]
            _fit_look(look, past, coded, values - coded, generator=generator, steps=steps)
            size = torch.cat([_sized(look, p, c) for p, c in zip(past.split(4096), coded.split(4096), strict=True)])
            left = books.start((values - coded) * torch.exp(-size), weights * torch.exp(2 * size), rounds, generator)
            coded = values - left * torch.exp(size)
        wanted, counts = self._wanted(frames, coded.reshape(frames.shape))
        self.gains.start(_flat(wanted), _flat(counts), rounds, generator)

    def _start_trust(self, decoded: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """Fit the table of trust by least squares; returns what is expected of each frame (n × hop)."""
        made, rows = self._continued(decoded)
        made, rows = _flat(made), rows.flatten()
        products = torch.zeros_like(self.trust).index_add_(0, rows, weights * made * values)
        powers = torch.zeros_like(self.trust).index_add_(0, rows, weights * made * made)
        # Never quite 1, so that what a loss has made wrong dies away.
        self.trust.copy_((products / (powers + 1e-9)).clamp(0, MOST_TRUST))
        return made * self.trust[rows]

    def mend(self, frames: Tensor, generator: torch.Generator, least: float) -> int:
        """Restart the entries of all books that nobody takes, on ``frames``; returns how many."""
        moved = 0
        with torch.no_grad():
            past, weights = windows(frames), weights_of(frames, self.shape)
            coded = self._expected(frames)
            for number, books in enumerate(self.books):
                size = self._size(number, past, coded)
                rest, scaled = _flat((frames - coded) * torch.exp(-size)), _flat(weights * torch.exp(2 * size))
                moved += books.restart(rest, scaled, least, generator)
                _, entry = books.search(rest, scaled)
                coded = coded + entry.reshape(frames.shape) * torch.exp(size)
        return moved

    def count(self, indices: Tensor) -> None:
        """Note which entries were taken (batch × time × books)."""
        at = 0
        for books in self.books:
            mine = indices[..., at : at + len(books.vectors)]
            if mine.shape[-1]:
                books.count(_flat(mine))
            at += len(books.vectors)


def _flat(values: Tensor, keep: int = 1) -> Tensor:
    return values.reshape(-1, *values.shape[-keep:])


def _likelihood(rest: Tensor, size: Tensor) -> Tensor:
    # Of a Gaussian of that size; the floor keeps digital silence from asking for a size of nothing.
    return (0.5 * (rest * rest + 0.1 * FLOOR**2) * torch.exp(-2 * size) + size).mean()


def _sized(look: nn.Module, past: Tensor, coded: Tensor) -> Tensor:
    with torch.no_grad():
        return size_of(look(seen(past, coded)))


def _fit_look(
    look: nn.Module, past: Tensor, coded: Tensor, rest: Tensor, *, generator: torch.Generator, steps: int
) -> None:
    optimizer = torch.optim.AdamW(look.parameters(), 2e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        chosen = torch.randint(len(rest), (512,), generator=generator)
        loss = _likelihood(rest[chosen], size_of(look(seen(past[chosen], coded[chosen]))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
