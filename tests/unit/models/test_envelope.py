"""How loud the bands of a packet are: bands that cover everything once, gains that restore, no surprise at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.models.envelope import FLOOR, MOST, edges, members, raised, wanted


@given(hop=st.sampled_from([20, 40, 80, 160, 320]), bands=st.integers(1, 40))
def test_every_coefficient_is_in_one_band(hop: int, bands: int) -> None:
    limits = edges(hop, bands)
    assert limits[0] == 0
    assert limits[-1] == hop
    assert len(limits) <= bands + 1
    assert (np.diff(limits) > 0).all()
    assert (members(hop, bands).sum(axis=0) == 1).all()
    assert (members(hop, bands).sum(axis=1) == np.diff(limits)).all()


def test_bands_widen_upwards() -> None:
    assert (np.diff(np.diff(edges(80, 16))) >= -1).all()
    assert np.diff(edges(80, 16))[-1] > 5 * np.diff(edges(80, 16))[0]


@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10))
def test_what_is_wanted_makes_it_as_loud(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    frames, coded = random.standard_normal((2, 4, 80)).astype(np.float32)
    coded *= np.float32(factor)
    gains, weights = wanted(frames, coded, 16)
    into = members(80, 16).T
    assert gains.shape == weights.shape == (16,)
    there = np.abs(gains) < MOST
    heard, true = (np.square(part).sum(axis=0) @ into for part in (raised(coded, gains, 16), frames))
    assert np.allclose(heard[there], true[there], rtol=1e-3, atol=1e-5)
    assert (weights > 0).all()


def test_silence_wants_nothing_and_no_gain_is_endless() -> None:
    silence, noise = np.zeros((4, 80), np.float32), np.ones((4, 80), np.float32)
    assert not wanted(silence, silence, 16)[0].any()
    assert (wanted(noise, silence, 16)[0] == MOST).all()
    assert (wanted(silence, noise, 16)[0] == -MOST).all()
    assert not raised(silence, np.full(16, MOST), 16).any()


def test_the_loud_count_more() -> None:
    frames = np.full((1, 80), 0.01, np.float32)
    frames[:, :40] = 1.0
    _, weights = wanted(frames, frames, 16)
    assert weights[0] > weights[-1] > 0
    assert wanted(frames * 0, frames, 16)[1][0] == pytest.approx(float(FLOOR) ** 0.3, rel=1e-4)


@pytest.mark.heavy
def test_torch_says_the_same() -> None:
    import torch

    from duplexforge.models.token_model import TokenModel, TokenShape

    frames, coded = np.random.default_rng(0).standard_normal((2, 3, 7, 80)).astype(np.float32)
    model = TokenModel(TokenShape(entries=8, hidden=4, bands=16))
    found = model._wanted(torch.from_numpy(frames), torch.from_numpy(coded))
    # The second packet is filled up with silence.
    fill = ((0, 0), (0, 1), (0, 0))
    whole = [np.pad(one, fill).reshape(6, 4, 80) for one in (frames, coded)]
    alone = zip(*(wanted(*pair, 16) for pair in zip(*whole, strict=True)), strict=True)
    for one, other in zip(found, alone, strict=True):
        assert np.allclose(one.numpy().reshape(6, 16), np.stack(other), atol=1e-5)
