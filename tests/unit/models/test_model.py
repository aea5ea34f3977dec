"""The shipped network and tables: fit for the range coder, and exact whether in doubles or in whole numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ModelError
from duplexforge.models import weights_file
from duplexforge.models.context import PER_BIN, SHARED
from duplexforge.models.mdct import HOP
from duplexforge.models.model import ACT_BITS, LARGEST, MODEL, SCALES, STATES, WEIGHT_BITS, ZEROS, load
from duplexforge.models.range_coder import TOTAL
from duplexforge.models.side import LOUDNESSES, NOTHING


def test_every_table_gives_every_symbol_a_count_and_sums_to_the_total() -> None:
    model = load()
    assert len(model.tables) == SCALES * ZEROS
    assert len(model.fill) == (NOTHING + 1) ** 2 * 3
    for tables, symbols in ((model.tables, LARGEST + 1), (model.loudness, LOUDNESSES), (model.fill, NOTHING)):
        for table in tables:
            assert len(table) == symbols + 1
            assert table[0] == 0
            assert table[-1] == TOTAL
            assert all(low < high for low, high in itertools.pairwise(table))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_network_in_doubles_is_the_network_in_whole_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    each, shared = rng.integers(0, 61, (HOP, PER_BIN)), rng.integers(0, 61, SHARED)
    layers = {name: np.asarray(array).astype(np.int64) for name, array in weights_file.read(MODEL)[0].items()}
    hidden = each @ layers["first"] + shared @ layers["shared"] + layers["bins"]
    hidden = np.clip(hidden >> WEIGHT_BITS, 0, 8 << ACT_BITS)
    hidden = np.clip((hidden @ layers["second"] + layers["second_bias"]) >> WEIGHT_BITS, 0, 8 << ACT_BITS)
    out = (hidden @ layers["last"] + layers["last_bias"]) >> (WEIGHT_BITS + ACT_BITS)
    exact = np.clip(out[:, :STATES], 0, SCALES - 1) * ZEROS + np.clip(out[:, STATES:], 0, ZEROS - 1)
    found = load().tables_of(each.astype(np.float64), shared.astype(np.float64))
    assert np.array_equal(found, exact)


def test_no_sum_can_leave_the_range_in_which_doubles_are_exact() -> None:
    layers = {name: np.abs(np.asarray(array).astype(np.float64)) for name, array in weights_file.read(MODEL)[0].items()}
    first = 60 * layers["first"].sum(axis=0) + 60 * layers["shared"].sum(axis=0) + layers["bins"].max(axis=0)
    second = (8 << ACT_BITS) * layers["second"].sum(axis=0) + layers["second_bias"]
    last = (8 << ACT_BITS) * layers["last"].sum(axis=0) + layers["last_bias"]
    assert max(first.max(), second.max(), last.max()) < 2**52


def test_a_louder_past_makes_larger_numbers_likely() -> None:
    model = load()
    quiet = model.tables_of(np.zeros((HOP, PER_BIN)), np.zeros(SHARED))
    loud = model.tables_of(np.full((HOP, PER_BIN), 25.0), np.full(SHARED, 25.0))
    zero = np.array([table[1] for table in model.tables])
    assert zero[quiet[:, 0]].mean() > 1.1 * zero[loud[:, 0]].mean()


def test_missing_and_broken_weights_are_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read the weights"):
        load(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    for data in (b"", b"\xff" * 100, MODEL.read_bytes()[:5000]):
        broken.write_bytes(data)
        with pytest.raises(ModelError, match="no safetensors file"):
            load(broken)


def test_the_files_are_small_enough_to_ship() -> None:
    sizes = {path.name: path.stat().st_size for path in weights_file.FOLDER.iterdir()}
    speaks = sizes.pop("s2s.safetensors")
    assert sum(sizes.values()) < 10e6, "the codec and its card"
    assert speaks < 25e6
