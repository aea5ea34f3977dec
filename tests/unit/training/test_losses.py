"""Losses: nothing for nothing, more for worse, finite in silence."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.made import voice

pytestmark = pytest.mark.heavy


def test_snr_is_the_definition() -> None:
    import torch

    from duplexforge.training.losses import noise_ratio, snr

    true = torch.from_numpy(voice(0.5, 120))[None]
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    expected = 10 * np.log10(float((true**2).sum() / (noise**2).sum()))
    assert abs(float(snr(true + noise, true)[0]) - expected) < 1e-2
    assert abs(float(noise_ratio(true + noise, true)) + expected) < 0.2


@pytest.mark.parametrize("name", ["spectral", "mel", "noise_ratio"])
def test_worse_costs_more(name: str) -> None:
    import torch

    from duplexforge.training import losses

    loss = getattr(losses, name)
    true = torch.from_numpy(voice(0.5, 120))[None]
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    costs = [float(loss(true + size * noise, true)) for size in (0.0, 0.003, 0.03)]
    assert costs == sorted(costs)
    if name != "noise_ratio":
        assert costs[0] == 0


@pytest.mark.parametrize("name", ["spectral", "mel", "noise_ratio"])
def test_silence_has_finite_gradients(name: str) -> None:
    import torch

    from duplexforge.training import losses

    made = torch.zeros(1, 4000, requires_grad=True)
    loss = getattr(losses, name)(made, torch.zeros(1, 4000))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(made.grad).all()


def test_mel_filters_cover_the_band() -> None:
    from duplexforge.training.losses import mel_filters

    filters = mel_filters(2048, 64)
    assert filters.shape == (1025, 64)
    assert (filters.max(dim=0).values > 0.3).all()


def test_judges_learn_to_tell() -> None:
    import torch

    from duplexforge.models.discriminators import Discriminators
    from duplexforge.training.losses import feature_matching, hinge_discriminator, hinge_generator

    torch.manual_seed(0)
    judges = Discriminators(width=4)
    true = torch.from_numpy(np.stack([voice(0.3, pitch) for pitch in (110, 180)]))
    made = torch.randn(true.shape) * true.std()
    optimizer = torch.optim.Adam(judges.parameters(), 3e-2)
    losses = []
    for _ in range(40):
        loss = hinge_discriminator(judges(true)[0], judges(made)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]
    scores, features = judges(made)
    assert hinge_generator(scores) > hinge_generator(judges(true)[0])
    assert feature_matching(features, features) == 0
    assert feature_matching(judges(true)[1], features) > 0


def test_judges_do_not_go_by_loudness() -> None:
    import torch

    from duplexforge.models.discriminators import Discriminators

    torch.manual_seed(0)
    judges = Discriminators(width=4)
    waves = torch.from_numpy(np.stack([voice(0.3, 110), np.zeros(4800, np.float32)]))
    loud, quiet = judges(waves)[0], judges(0.25 * waves)[0]
    for one, other in zip(loud, quiet, strict=True):
        assert torch.isfinite(one).all()
        assert float((one - other).detach().abs().mean()) < 0.1 * float(one.detach().std())
    # A voice must still move them more than silence does.
    assert float((loud[0][0] - loud[0][1]).detach().abs().max()) > 1e-4
