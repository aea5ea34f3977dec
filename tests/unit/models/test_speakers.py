"""The speaker encoder: what it hears, what it says, its file, and that numpy and torch are of one mind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError, InputError, ModelError
from duplexforge.loading.schema import EMBEDDING_SIZE
from duplexforge.models import speakers, weights_file
from duplexforge.models.s2s.features import BANDS, log_mel
from tests.unit.models.speakers_made import SMALL, encoder, written
from tests.unit.training import made


def frames(count: int, seed: int = 0) -> speakers.Floats:
    return np.random.default_rng(seed).standard_normal((count, BANDS)).astype(np.float32)


SHAPES = st.builds(
    speakers.Shape,
    channels=st.integers(1, 9),
    dilations=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    squeeze=st.integers(1, 4),
    joined=st.integers(1, 9),
    attention=st.integers(1, 5),
)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, count=st.integers(1, 40))
def test_a_voice_is_192_numbers_of_length_1(shape: speakers.Shape, count: int) -> None:
    found = encoder(3, shape).vector(frames(count))
    assert (found.shape, found.dtype) == ((EMBEDDING_SIZE,), np.float32)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_level_and_line_do_not_count() -> None:
    network, wave = encoder(), made.voice(1.5, 130)
    before = network.embed(wave)
    np.testing.assert_allclose(network.embed(0.5 * wave), before, atol=1e-3)
    logs = np.clip(log_mel(wave), -14, -3)
    line = np.linspace(-0.5, 0.5, BANDS, dtype=np.float32)
    np.testing.assert_allclose(speakers.heard(logs + line), speakers.heard(logs), atol=1e-5)


def test_what_is_50_db_below_the_loudest_is_silence() -> None:
    logs = np.zeros((4, BANDS), np.float32)
    logs[1:] = -11
    deeper = logs.copy()
    deeper[1:] = np.float32(np.log(10) / 10 * -50)
    assert np.abs(speakers.heard(deeper) - speakers.heard(logs)).max() > 0.05
    deepest = logs.copy()
    deepest[1:] = -20
    np.testing.assert_allclose(speakers.heard(deepest), speakers.heard(deeper), atol=1e-6)


def test_other_sounds_are_other_voices_and_more_of_the_same_is_not() -> None:
    network = encoder()
    low, high = made.voice(2, 110, seed=1), made.voice(2, 230, seed=2)
    once, other = network.embed(low), network.embed(high)
    assert float(once @ network.embed(np.concatenate([low, low]))) > 0.999 > float(once @ other)


def test_silence_has_a_finite_voice_and_nothing_has_none() -> None:
    assert np.isfinite(encoder().embed(np.zeros(16_000, np.float32))).all()
    with pytest.raises(InputError, match="cannot be told by 159 samples"):
        encoder().embed(np.zeros(159, np.float32))


@pytest.mark.parametrize("holes", [1, 3])
def test_convolutions_are_sums_over_taps(holes: int) -> None:
    network = encoder()
    weight, bias = network.arrays["blocks.0.holes.weight"], network.arrays["blocks.0.holes.bias"]
    flow = frames(9)[:, :8].T
    wanted = np.zeros((8, 9))
    for out in range(8):
        for time in range(9):
            wanted[out, time] = bias[out] + sum(
                float(weight[out, inside, tap] * flow[inside, time + (tap - 1) * holes])
                for inside in range(8)
                for tap in range(3)
                if 0 <= time + (tap - 1) * holes < 9
            )
    np.testing.assert_allclose(network._convolve("blocks.0.holes", flow, holes), wanted, atol=1e-5)


def test_attention_chooses_what_is_pooled() -> None:
    """With one score for all frames, mean and spread are the plain ones; else they lean to where it is high."""
    network = encoder()
    flow = np.abs(frames(50)[:, :12].T)
    flat = replace(network, arrays=dict(network.arrays) | {"score.weight": np.zeros((12, 4, 1), np.float32)})
    pooled = flat._pool(flow)
    np.testing.assert_allclose(pooled[:12], flow.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(pooled[12:], np.sqrt(flow.var(axis=1) + speakers.TINY), atol=1e-5)
    assert np.abs(network._pool(flow) - pooled).max() > 1e-3


def test_a_file_holds_it_whole(tmp_path: Path) -> None:
    found = speakers.read(written(tmp_path / "a.safetensors", 5))
    assert (found.shape, found.facts) == (SMALL, {"data": "none"})
    wave = made.voice(1, 150)
    np.testing.assert_array_equal(found.embed(wave), encoder(5).embed(wave))


def test_files_that_hold_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ModelError, match=r"cannot read the weights .*x\.safetensors: No such file or directory$"):
        speakers.read(path)
    arrays, facts = weights_file.read(written(tmp_path / "a.safetensors"))
    for told in ({}, {"shape": "3"}, {"shape": "{"}, {"shape": '{"dilations": []}'}, {"shape": '{"width": 3}'}):
        weights_file.write(path, arrays, told)
        with pytest.raises(ModelError, match="holds no speaker encoder: it does not tell its shape"):
            speakers.read(path)
    for changed in ({**arrays, "more": np.zeros(1)}, {**arrays, "out.bias": np.zeros(256, np.float32)}):
        weights_file.write(path, changed, facts)
        with pytest.raises(ModelError, match="its arrays are not those of its shape"):
            speakers.read(path)
    weights_file.write(path, {**arrays, "out.bias": np.full(192, np.nan, np.float32)}, facts)
    with pytest.raises(ModelError, match="weights that are no numbers"):
        speakers.read(path)


def test_weights_that_have_diverged_are_not_written(tmp_path: Path) -> None:
    whole = encoder()
    broken = replace(whole, arrays=dict(whole.arrays) | {"first.gain": np.full(8, np.inf, np.float32)})
    with pytest.raises(InputError, match=r"the weights first\.gain hold what is no number"):
        speakers.write(tmp_path / "x.safetensors", broken)
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"dilations": ()}, {"dilations": (2, 0)}, {"joined": 1.5}])
def test_shapes_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="at least one block, and whole sizes"):
        speakers.Shape(**wrong)  # type: ignore[arg-type]


@pytest.mark.heavy
@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("shape", [SMALL, speakers.Shape()], ids=["small", "default"])
def test_torch_says_the_same(count: int, shape: speakers.Shape) -> None:
    import torch

    from duplexforge.models.speakers_network import Network

    torch.manual_seed(2)
    network = Network(shape)
    for parameter in network.parameters():  # gains and biases too
        torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    torch.nn.init.normal_(network.pooled.running_mean)
    torch.nn.init.uniform_(network.pooled.running_var, 0.5, 2)
    state = {name: tensor.numpy() for name, tensor in network.weights().items()}
    assert {name: array.shape for name, array in state.items()} == shape.arrays()
    with torch.no_grad():
        told = network(torch.from_numpy(np.stack([frames(count, 1), frames(count, 2)]))).numpy()
    plain = speakers.Encoder(shape, state)
    np.testing.assert_allclose(np.stack([plain.vector(frames(count, one)) for one in (1, 2)]), told, atol=1e-4)
    # What was heard made far more of a difference than that.
    assert np.abs(told[0] - told[1]).max() > 1e-3
