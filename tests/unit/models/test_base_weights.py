"""Search in the books, vectors, knots, and weights that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from duplexforge.errors import ModelError
from duplexforge.models import base_weights, weights_file
from duplexforge.models.base_analysis import BANDS, BREATHS, FLOOR_DB, GAINS, WIDTH
from duplexforge.models.base_synthesis import SILENT
from duplexforge.models.base_weights import BaseWeights

HIDDEN, BOOKS, ENTRIES = 6, 2, 16
VOICED, NONE = np.array([120.0, 130.0]), np.zeros(2)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights, small; the network's last layer says nothing."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {
        "vectors": random.integers(-127, 128, (BOOKS, ENTRIES, WIDTH)).astype(np.int8),
        "scales": np.full((BOOKS, ENTRIES), 0.1, np.float32),
        "mean": np.zeros(WIDTH, np.float32),
        "scale": np.ones(WIDTH, np.float32),
    }
    found["mean"][:GAINS] = -30
    found["mean"][GAINS : GAINS + 2 * BREATHS] = 0.5
    for number, shape in (0, (HIDDEN, base_weights.SEEN)), (2, (HIDDEN, HIDDEN)), (4, (base_weights.SAYS, HIDDEN)):
        found[f"net.{number}.weight"] = (0.1 * random.standard_normal(shape)).astype(np.float32)
        found[f"net.{number}.bias"] = np.zeros(shape[0], np.float32)
    found["net.4.weight"] *= 0
    return found


def written(folder: Path, found: dict[str, np.ndarray]) -> Path:
    path = folder / "base.safetensors"
    shape = {"books": BOOKS, "entries": ENTRIES, "hidden": HIDDEN}
    weights_file.write(path, found, {"shape": json.dumps(shape)})
    return path


@pytest.fixture
def weights(tmp_path: Path) -> BaseWeights:
    return base_weights.read(written(tmp_path, arrays()))


def test_the_search_finds_what_is_there(weights: BaseWeights) -> None:
    for codes in ([3, 7], [15, 0]):
        vector = weights.vector(np.array(codes))
        assert np.allclose(weights.vector(weights.search(vector)), vector)


def test_the_search_lies_between_all_and_book_by_book(weights: BaseWeights) -> None:
    random = np.random.default_rng(1)
    costs = []
    for _ in range(20):
        vector = weights.mean + 8 * random.standard_normal(WIDTH)
        cost = base_weights.weigh(vector[None])[0]
        sums = weights.mean + weights.books[0][:, None] + weights.books[1][None]
        best = (cost * (sums - vector) ** 2).sum(axis=-1).min()
        found = (cost * (weights.vector(weights.search(vector)) - vector) ** 2).sum()
        alone = int(np.argmin((cost * (weights.mean + weights.books[0] - vector) ** 2).sum(axis=-1)))
        assert weights.search(vector, depth=1).tolist() == [alone]
        greedy = (cost * (sums[alone] - vector) ** 2).sum(axis=-1).min()
        assert best <= found * (1 + 1e-9)
        costs.append((best, found, greedy))
    best, found, greedy = np.mean(costs, axis=0)
    assert found < (best + greedy) / 2


def test_what_is_not_heard_hardly_counts() -> None:
    vector = np.zeros((3, WIDTH))
    vector[:, :GAINS] = -20
    gains, breath, shape = base_weights.parts(vector)
    breath[1] = 0.5
    shape[2, :, : BANDS // 2] = -50
    vector = np.concatenate([gains, breath.reshape(3, -1), shape.reshape(3, -1)], axis=1)
    _, breaths, shapes = base_weights.parts(base_weights.weigh(vector))
    # Without pitch no share of breath counts; a band 50 dB below the highest counts less.
    assert not breaths[0].any()
    assert breaths[1].all()
    assert (shapes[2, :, 0] < 0.2 * shapes[2, :, -1]).all()
    quiet = vector.copy()
    quiet[:, :GAINS] = FLOOR_DB
    assert (base_weights.weigh(quiet) <= 0.1 * base_weights.weigh(vector) + 1e-12).all()


def test_knots_share_the_power_between_voice_and_breath(weights: BaseWeights) -> None:
    vector = weights.vector(np.array([1, 2]))
    knots, after = weights.knots(weights.silence(), vector, VOICED)
    assert knots.harmonics.shape == knots.breath.shape == (GAINS, BANDS)
    power = (10 ** (knots.harmonics / 10) + 10 ** (knots.breath / 10))[-1]
    gains, _, shape = base_weights.parts(vector)
    expected = 10 ** ((shape[1] - base_weights.level(shape)[1] + gains[-1]) / 10)
    assert np.allclose(power, expected, rtol=2e-3)
    assert after.pitch == 130
    silent, after = weights.knots(after, vector, NONE)
    assert (silent.harmonics[1:] < SILENT / 2).all()
    assert after.pitch == 0


def test_the_network_is_heard_and_bounded(tmp_path: Path) -> None:
    found = arrays()
    found["net.4.bias"][:] = 100.0
    loud = base_weights.read(written(tmp_path, found))
    plain = base_weights.read(written(tmp_path, arrays()))
    vector = plain.vector(np.array([1, 2]))
    vector[:GAINS] = -40
    first, _ = plain.knots(plain.silence(), vector, VOICED)
    second, _ = loud.knots(loud.silence(), vector, VOICED)
    # By MOST_DB in the envelope and in the loudness, and no further.
    assert np.allclose(second.breath[-1] - first.breath[-1], 2 * base_weights.MOST_DB, atol=1e-6)


def test_any_codes_have_a_vector(weights: BaseWeights) -> None:
    assert np.array_equal(weights.vector(np.array([ENTRIES + 3, 7])), weights.vector(np.array([3, 7])))


def test_weights_that_are_none_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        base_weights.read(tmp_path / "none.safetensors")
    for name, other in ("mean", None), ("vectors", np.zeros((2, 3, 4), np.int8)), ("net.0.weight", np.zeros((6, 5))):
        found = arrays()
        del found[name]
        if other is not None:
            found[name] = other
        with pytest.raises(ModelError, match="no weights of the mode base"):
            base_weights.read(written(tmp_path, found))


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    first = base_weights.read(written(tmp_path, arrays(0)))
    assert first.digest == base_weights.read(written(tmp_path, arrays(0))).digest
    assert first.digest != base_weights.read(written(tmp_path, arrays(1))).digest


def test_the_weights_that_are_shipped() -> None:
    shipped = base_weights.load()
    assert shipped.books.shape == (5, 1024, WIDTH)
    assert (weights_file.FOLDER / base_weights.FILE).stat().st_size < 2_500_000
