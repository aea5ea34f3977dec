"""The designs that `benchmarks/s2s_speed.py` holds against each other: as large as each other, and really saying codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.models.s2s_made import SMALL

SPOKEN = replace(SMALL, books=6, entries=1024)

pytestmark = pytest.mark.heavy


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import s2s_speed
    import torch

    torch.set_num_threads(1)
    return s2s_speed


def sides(bench: Any) -> list[Any]:
    """Both engines of ours, and both peers."""
    model = bench.drawn(SPOKEN, 1)
    wanted = sum(array.size for array in model.arrays.values())
    made = [bench.ours(model, engine) for engine in ("plain", "torch")]
    return made + [build(SPOKEN, wanted) for build in (bench.moshi, bench.encodec_lm)]


def test_every_side_says_its_codes_and_the_same_ones_again(bench: Any) -> None:
    for side in sides(bench):
        frames, books = side.codes
        said = side.run(3)
        assert said.shape == (3 * frames, books)
        assert (said == side.run(3)).all()
        assert said.min() >= 0
        assert said.max() < 1024


def test_pairs_of_equal_size_are_checked_and_others_refused(bench: Any) -> None:
    ours, _, _, peer = sides(bench)
    told = bench.checked(ours.run(3), peer.run(3), 3, ours, replace(peer, parameters=ours.parameters))
    assert "0.24 s heard and said by both, 6 × 6 codes against 18 × 8" in told
    with pytest.raises(AssertionError, match="of our parameters"):
        bench.checked(ours.run(3), peer.run(3), 3, ours, replace(peer, parameters=2 * ours.parameters))
    with pytest.raises(AssertionError):
        bench.checked(ours.run(2), peer.run(3), 3, ours, peer)


def test_peers_come_within_a_thousandth_at_the_recipes_size(bench: Any) -> None:
    shape = bench.shape_of("256")
    assert (shape.width, shape.books) == (256, 6)
    wanted = sum(array.size for array in bench.drawn(shape).arrays.values())
    for build in (bench.moshi, bench.encodec_lm):
        assert build(shape, wanted).parameters == pytest.approx(wanted, rel=1e-3)


def test_the_nearest_of_what_grows(bench: Any) -> None:
    for wanted, found in ((0, 2), (11, 4), (12, 4), (13, 4), (37, 6), (30, 6), (9999, 98)):
        assert bench._nearest(range(2, 100, 2), wanted, lambda one: one * one) == found


def test_moshis_user_and_text_reach_what_it_says(bench: Any) -> None:
    import torch

    torch.manual_seed(0)
    model = bench.Moshi(SPOKEN, 32, 64).eval()
    codes = torch.zeros(16, dtype=torch.int64)
    with torch.inference_mode():
        found = []
        for text, heard in ((0, 0), (1, 0), (0, 5)):
            codes[8:] = heard
            out = model.main.model(inputs_embeds=model.embedded(torch.tensor([text]), codes))
            found.append(out.last_hidden_state)
    assert not (found[0] == found[1]).all()
    assert not (found[0] == found[2]).all()


def test_logits_that_are_no_numbers_are_refused(bench: Any) -> None:
    import numpy as np

    with pytest.raises(AssertionError):
        bench.Choice()(np.full((1, 4), np.nan, np.float32))
