"""What is trained and what is run are one: torch on whole stretches against numpy frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from duplexforge.models import base_weights
from duplexforge.models.base import BaseDecoder, hear_whole
from duplexforge.models.base_pitch import pitch_code, pitches_of
from tests.unit.training.made import voice

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, base_weights.BaseWeights, Any, Any, Any]:
    """A small model after k-means, the same from its file, its vectors, their weights and the pitches."""
    import torch

    from duplexforge.models.base_model import BaseModel, BaseShape
    from duplexforge.training.base import write_weights

    torch.manual_seed(0)
    frames = hear_whole(voice(2.0, 130, seed=5))
    vectors = np.stack([frame.vector for frame in frames])
    pitches = np.stack([pitches_of(pitch_code(frame.pitches)) for frame in frames])
    model = BaseModel(BaseShape(2, 32, 16))
    heard, weights = torch.from_numpy(vectors).float(), torch.from_numpy(base_weights.weigh(vectors)).float()
    model.start(heard, weights, 3, torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.net[4].weight, 0, 0.05)
    path = tmp_path_factory.mktemp("weights") / base_weights.FILE
    write_weights(model, path, {})
    read = base_weights.read(path)
    with torch.no_grad():
        model.books.vectors.copy_(torch.from_numpy(read.books))
    return model, read, heard, weights, pitches


def test_both_make_the_same_sound(trained: Any) -> None:
    import torch

    from duplexforge.models.base_model import stretch

    model, read, heard, weights, pitches = trained
    index, coded = model.code(heard[None], weights[None])
    with torch.no_grad():
        expected = model.waves(coded, stretch(pitches[None]))[0].numpy()
    codes = np.array([pitch_code(pair) for pair in pitches])
    tokens = np.concatenate([codes[:, None], index[0].numpy()], axis=1)
    found = BaseDecoder(read, 1).push_tokens(tokens[None])[0]
    assert found.std() > 0.01
    assert np.abs(found - np.clip(expected, -1, 1)).max() < 2e-3 * np.abs(found).max()


def test_fewer_books_are_a_coarser_vector(trained: Any) -> None:
    model, _, heard, weights, _ = trained
    errors = []
    for depth in (1, 2):
        index, coded = model.code(heard, weights, depth)
        assert index.shape == (len(heard), depth)
        errors.append(float(((coded - heard).square() * weights).sum().detach()))
    assert errors[1] < errors[0]


def test_gradients_reach_network_and_books(trained: Any) -> None:
    from duplexforge.models.base_model import stretch

    model, _, heard, weights, pitches = trained
    _, coded = model.code(heard[None], weights[None])
    model.zero_grad()
    model.waves(coded, stretch(pitches[None])).square().mean().backward()
    assert model.net[4].weight.grad.abs().sum() > 0
    assert model.books.vectors.grad.abs().sum() > 0
    assert all(one.grad.isfinite().all() for one in model.parameters())


def test_unvoiced_stretches_are_noise_alone(trained: Any) -> None:
    import torch

    from duplexforge.models.base_model import stretch

    model, _, heard, _, pitches = trained
    none = stretch(np.zeros_like(pitches)[None])
    harmonics, breath = model.levels(heard[None], none.pitches)
    assert float(harmonics.detach().max()) <= -100 + 12
    with torch.no_grad():
        assert torch.equal(model.waves(heard[None], none), model._hiss(breath, 0))


def test_the_noise_may_begin_anywhere(trained: Any) -> None:
    import torch

    from duplexforge.models.base_model import stretch

    model, _, heard, _, pitches = trained
    given = stretch(pitches[None])
    with torch.no_grad():
        first, second = model.waves(heard[None], given, 0), model.waves(heard[None], given, 100)
    assert not torch.equal(first, second)
    assert float(second.std() / first.std()) == pytest.approx(1, abs=0.1)
