"""The transform: it restores what it took, and the way back is exact in whole numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.models import mdct
from duplexforge.models.mdct import FULL, HOP, PEAK, Synthesis
from tests.unit.models.voices import voice


def there_and_back(wave: np.ndarray) -> np.ndarray:
    """``wave`` through the transform without quantising it; comes out half a frame later."""
    synthesis, found = Synthesis(), []
    for start in range(0, len(wave) - 2 * HOP + 1, HOP):
        found.append(synthesis.frame(np.rint(mdct.analyse(wave[start : start + 2 * HOP]))))
    return np.concatenate(found)


def test_frames_that_overlap_restore_the_wave() -> None:
    wave = voice(0.5)
    back = there_and_back(wave)
    # The first half frame lacks its forerunner.
    inner = slice(HOP, len(back))
    assert np.abs(back[inner] / FULL - wave[: len(back)][inner]).max() < 5e-6


def test_the_basis_is_orthonormal_over_frames() -> None:
    basis = mdct.basis()
    first, second = basis[:, :HOP], basis[:, HOP:]
    assert np.allclose(first @ first.T + second @ second.T, np.eye(HOP), atol=1e-12)
    assert np.allclose(first @ second.T, 0, atol=1e-12)


def test_no_entry_of_the_whole_basis_is_near_a_tie() -> None:
    # Another machine's cosine may differ in the last place; it must round to the same whole number.
    scaled = mdct.basis() * (1 << mdct.TABLE_BITS)
    assert np.abs(scaled - np.floor(scaled) - 0.5).min() > 1e-7


@given(st.integers(0, 2**32 - 1))
def test_the_way_back_is_whole_numbers_and_does_not_depend_on_the_order_of_adding(seed: int) -> None:
    spectrum = np.random.default_rng(seed).integers(-PEAK, PEAK + 1, HOP)
    found = Synthesis().frame(spectrum.astype(np.float64))
    exact = [
        (sum(int(c) * int(b) for c, b in zip(spectrum, column, strict=True)) + (1 << 21)) >> mdct.TABLE_BITS
        for column in mdct.whole_basis().T[:8]
    ]
    assert found[:8].tolist() == exact


def test_a_frame_knows_nothing_of_the_samples_after_it() -> None:
    wave = voice(0.2)
    other = wave.copy()
    other[2 * HOP :] = 0
    assert np.array_equal(mdct.analyse(wave[: 2 * HOP]), mdct.analyse(other[: 2 * HOP]))
