"""The lapped transform in floats."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.models import mdct
from duplexforge.models.lapped import basis, frames_of


@pytest.mark.parametrize("hop", [80, 160])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 1600])
def test_what_goes_in_comes_out(hop: int, samples: int) -> None:
    wave = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    frames = frames_of(wave, hop)
    assert frames.shape == (-(-samples // hop) + 1, hop)
    both = frames @ basis(hop)
    back = (both[:-1, hop:] + both[1:, :hop]).reshape(-1)
    assert np.abs(back[:samples] - wave).max() < 1e-5


def test_it_keeps_the_energy_and_agrees_with_the_exact_one() -> None:
    wave = np.random.default_rng(0).standard_normal(3200).astype(np.float32)
    wave[:160] = wave[-160:] = 0
    assert np.isclose((frames_of(wave, 160) ** 2).sum(), (wave**2).sum(), rtol=1e-4)
    assert np.allclose(basis(160), mdct.basis(), atol=1e-6)
