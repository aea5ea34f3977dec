"""Our features against transformers' extractor, chunk by chunk: the golden test of the numpy version and of torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError
from duplexforge.framing import DuplexFormat, audio_tokens
from duplexforge.loading.features import check, log_mels, mel_filters

Floats = npt.NDArray[np.float32]


def _chunks(seed: int = 5) -> Floats:
    """Noise, nothing, half a chunk, a click, a tone, whispers, and both ends of what 16 bits hold."""
    rng, time = np.random.default_rng(seed), np.arange(5120) / 16_000
    noise = rng.standard_normal((8, 5120)) * 0.1
    odd = [np.zeros(5120), np.where(time < 0.1, noise[0], 0), np.eye(1, 5120, 2560)[0], np.sin(2 * np.pi * 440 * time)]
    loud = [noise[1] * 1e-4, np.ones(5120), -np.ones(5120), np.round(noise[2] * 32768) / 32768]
    return np.asarray([*noise, *odd, *loud], dtype=np.float32)


def _theirs(chunks: Floats, *, torch: bool, monkeypatch: pytest.MonkeyPatch) -> Floats:
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper import feature_extraction_whisper

    monkeypatch.setattr(feature_extraction_whisper, "is_torch_available", lambda: torch)
    extractor = WhisperFeatureExtractor(feature_size=128)
    asked: dict[str, Any] = {
        "padding": True,
        "truncation": False,
        "return_attention_mask": True,
        "sampling_rate": 16_000,
    }
    told = [extractor(chunk, return_tensors="np", **asked) for chunk in chunks]
    assert all(one["attention_mask"].sum() == 32 for one in told)
    return np.concatenate([one["input_features"] for one in told])


def test_golden_against_the_extractor_in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = _chunks()
    ours = log_mels(chunks)
    assert ours.shape == (16, 128, 32)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, _theirs(chunks, torch=False, monkeypatch=monkeypatch), rtol=0, atol=1e-6)


@pytest.mark.heavy
def test_golden_against_the_extractor_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    # It reckons in 32 bits; where a mel is 80 dB below the peak, that shows. Their two versions differ as much.
    chunks = _chunks()
    apart = np.abs(log_mels(chunks) - _theirs(chunks, torch=True, monkeypatch=monkeypatch))
    assert apart.max() < 1e-4
    assert np.mean(apart > 1e-5) < 1e-3


def test_the_filters_are_theirs() -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(201, 128, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(), theirs, rtol=0, atol=1e-12)


def test_a_chunk_knows_nothing_of_the_others() -> None:
    chunks = _chunks()
    together = log_mels(chunks)
    for number, chunk in enumerate(chunks):
        np.testing.assert_array_equal(together[number], log_mels(chunk[None])[0])
    # Unlike the same samples in one recording: there the loudest chunk sets the floor for all.
    assert not np.allclose(log_mels(chunks[12:13])[0], log_mels(chunks[[0, 12]].reshape(1, -1))[0][:, 32:], atol=0.1)


@given(chunks=st.integers(0, 70), scale=st.floats(0, 1))
@settings(max_examples=8, deadline=None)
def test_shapes_and_bounds(chunks: int, scale: float) -> None:
    samples = (np.random.default_rng(chunks).standard_normal((chunks, 5120)) * scale).astype(np.float32)
    found = log_mels(samples)
    assert found.shape == (chunks, 128, 32)
    assert audio_tokens(found.shape[2]) == 4
    assert np.isfinite(found).all()
    # Eight tens below the chunk's peak is the floor, a quarter of it after scaling.
    spread = found.max(axis=(1, 2)) - found.min(axis=(1, 2)) if chunks else np.zeros(1)
    assert (spread <= 2 + 1e-6).all()


def test_formats_that_have_no_such_features() -> None:
    with pytest.raises(ConfigError, match="made at 16000 Hz, and this data set's user track has 8000 Hz"):
        check(DuplexFormat(user_rate=8000))
    check(DuplexFormat())
