"""The losses of the codec trainers. Waves are batch × samples at 16 kHz, losses are scalars, less is better."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = (512, 1024, 256)
RATE = 16_000
_SILENCE = 1e-4
"""Power, beside the signal's own, below which an error is not worth learning from."""


def noise_ratio(made: Tensor, true: Tensor) -> Tensor:
    """Minus the SNR of each wave in decibels, averaged: 10·log10(Σ(x−y)² / Σx²), plain and without scale fitting."""
    error = (made - true).square().sum(dim=-1)
    power = true.square().sum(dim=-1)
    floor = _SILENCE * true.shape[-1] * 1e-2
    return (10 * torch.log10((error + floor * 1e-2) / (power + floor))).mean()


def snr(made: Tensor, true: Tensor) -> Tensor:
    """SNR of each wave in decibels (batch)."""
    error = (made - true).square().sum(dim=-1).clamp_min(1e-12)
    return 10 * torch.log10(true.square().sum(dim=-1).clamp_min(1e-12) / error)


def spectral(made: Tensor, true: Tensor, sizes: Sequence[int] = SIZES) -> Tensor:
    """Multi-resolution STFT loss (Yamamoto et al., 2020): convergence plus the distance of log magnitudes."""
    total = made.new_zeros(())
    for size in sizes:
        first, second = magnitudes(made, size), magnitudes(true, size)
        converged = torch.linalg.vector_norm(second - first) / torch.linalg.vector_norm(second).clamp_min(1e-3)
        total = total + converged + F.l1_loss(first.clamp_min(1e-3).log(), second.clamp_min(1e-3).log())
    return total / len(sizes)


def mel(made: Tensor, true: Tensor, sizes: Sequence[int] = (512, 2048), bands: int = 64) -> Tensor:
    """Distance of log mel spectra at several resolutions."""
    total = made.new_zeros(())
    for size in sizes:
        filters = mel_filters(size, bands).to(made)
        first, second = (magnitudes(wave, size).transpose(1, 2) @ filters for wave in (made, true))
        total = total + F.l1_loss(first.clamp_min(1e-4).log10(), second.clamp_min(1e-4).log10())
    return total / len(sizes)


def magnitudes(waves: Tensor, size: int) -> Tensor:
    """Magnitudes (batch × bins × frames) with a Hann window and a quarter's hop."""
    window = torch.hann_window(size, device=waves.device)
    spectrum = torch.stft(waves.float(), size, size // 4, window=window, return_complex=True, pad_mode="constant")
    # The root's slope at nothing is endless; a floor under it keeps gradients finite in silence.
    return (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()


@cache
def mel_filters(size: int, bands: int) -> Tensor:
    """Triangles (bins × bands) on the HTK mel scale from 0 to half the rate."""
    top = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bands + 2) / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, size // 2 + 1)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp_min(0)


def hinge_discriminator(true: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """What the discriminators learn from: at least 1 for true waves, at most −1 for made ones."""
    parts = [F.relu(1 - one).mean() + F.relu(1 + other).mean() for one, other in zip(true, made, strict=True)]
    return torch.stack(parts).mean()


def hinge_generator(made: Sequence[Tensor]) -> Tensor:
    """What the generator learns from them (Lim and Ye, 2017)."""
    return torch.stack([-one.mean() for one in made]).mean()


def feature_matching(true: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """Distance of the discriminators' inner features, each relative to its own size (Kumar et al., 2019)."""
    parts = [
        F.l1_loss(other, one.detach()) / one.detach().abs().mean().clamp_min(1e-3)
        for layers, others in zip(true, made, strict=True)
        for one, other in zip(layers, others, strict=True)
    ]
    return torch.stack(parts).mean()
