"""The search: what it says it found is what it found, breadth pays, and the gains come near what is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duplexforge.models import token_search
from duplexforge.models.envelope import raised, wanted
from duplexforge.models.token_search import loudness, search
from duplexforge.models.token_weights import Book, TokenWeights
from tests.unit.models import token_made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> TokenWeights:
    return token_made.weights(tmp_path_factory.mktemp("weights"))


def test_costs_are_what_an_entry_adds() -> None:
    random = np.random.default_rng(0)
    # 512 entries lie in two blocks, 30 in one.
    for entries in (512, 30):
        book = Book.of(random.standard_normal((entries, 6)).astype(np.float32))
        values, counts = random.standard_normal((3, 6)).astype(np.float32), random.random((3, 6)).astype(np.float32)
        costs = book.costs(counts, counts * values).transpose(1, 0, 2).reshape(3, entries)
        after = (counts[:, None] * (values[:, None] - book.vectors) ** 2).sum(axis=2)
        assert np.allclose(costs, after - (counts * values**2).sum(axis=1)[:, None], atol=1e-4)


def _frame(weights: TokenWeights, seed: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    frame = (0.1 * random.standard_normal(80)).astype(np.float32)
    past = weights.seen_past((0.1 * random.standard_normal((1, 8, 80))).astype(np.float32))
    return frame, weights.weigh(frame[None])[0], past, (0.5 * frame).astype(np.float32)


def test_codes_mean_what_the_search_says(weights: TokenWeights) -> None:
    frame, counts, past, expected = _frame(weights, 1)
    codes, coded = search(weights, frame, counts, past, expected)
    made, at = expected[None], 0
    for number, group in enumerate(weights.groups):
        size = weights.sizes(number, past, made)
        for book in group:
            made = made + book.vectors[codes[at]] * size
            at += 1
    assert at == len(codes)
    assert np.allclose(made[0], coded, atol=1e-5)


def test_a_broader_search_finds_nearer_sums(weights: TokenWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {}
    for breadth in (1, 4, 16):
        monkeypatch.setattr(token_search, "BREADTH", breadth)
        found = []
        for seed in range(12):
            frame, counts, past, expected = _frame(weights, seed)
            _, coded = search(weights, frame, counts, past, expected)
            found.append(float(counts @ (frame - coded) ** 2))
        errors[breadth] = np.mean(found)
    assert errors[16] < errors[4] < errors[1]


def test_gains_come_nearer_to_what_is_wanted(weights: TokenWeights) -> None:
    random = np.random.default_rng(3)
    coded = (0.1 * random.standard_normal((4, 80))).astype(np.float32)
    frames = raised(coded, random.uniform(-0.5, 0.5, 16).astype(np.float32), 16)
    codes = loudness(weights, frames, coded)
    gains = np.sum([book.vectors[code] for book, code in zip(weights.gains, codes, strict=True)], axis=0)
    want, counts = wanted(frames, coded, 16)
    assert (counts * (want - gains) ** 2).sum() < (counts * want**2).sum()


def test_weights_of_another_shape_say_so(tmp_path: Path) -> None:
    from duplexforge.errors import ModelError
    from duplexforge.models import token_weights, weights_file

    token_made.weights(tmp_path)
    arrays, metadata = weights_file.read(tmp_path / "token.safetensors")
    arrays["gains.vectors"] = arrays["gains.vectors"][..., :-1]
    weights_file.write(tmp_path / "other.safetensors", arrays, metadata)
    with pytest.raises(ModelError, match="gains for other than 4 frames of 16 bands"):
        token_weights.read(tmp_path / "other.safetensors")
