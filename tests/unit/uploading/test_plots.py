"""The card's plots: drawn from the ledger's counts alone, the same bytes every time, absent without matplotlib."""

from __future__ import annotations

import importlib.util
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from duplexforge.records import Hours, LedgerEntry
from duplexforge.uploading import plots
from duplexforge.uploading.card import CARD, is_current, render, render_all
from duplexforge.uploading.histograms import DURATIONS, SCORES
from tests.unit.uploading.test_dataset import published

COUNTED = {"durations": DURATIONS.counts([0.5, 1.5, 1.7]), "scores": SCORES.counts([3.05, 3.1])}


def entries() -> list[LedgerEntry]:
    """Two languages, one shard with counts."""
    return [published("en-000000", **COUNTED), published("de-000000")]


@given(some.lists(some.floats(0, 1000), max_size=60))
def test_every_value_is_in_one_bin(values: list[float]) -> None:
    for scale in (DURATIONS, SCORES):
        counts = scale.counts(values)
        assert (len(counts), sum(counts)) == (scale.bins, len(values))
        for value in values:
            edge = scale.edges()[scale.place(value)]
            inside = scale.low <= value < scale.low + scale.step * scale.bins
            assert not inside or edge - 1e-6 <= value < edge + scale.step + 1e-6


@given(some.lists(some.lists(some.floats(0, 40), max_size=9), max_size=5))
def test_histograms_add_up(groups: list[list[float]]) -> None:
    together = DURATIONS.counts([value for group in groups for value in group])
    assert DURATIONS.total([*(DURATIONS.counts(group) for group in groups), []]) == together


def test_edges_fall_above() -> None:
    assert SCORES.place(3.3) == 23
    assert DURATIONS.place(30.0) == DURATIONS.place(500.0) == 30
    assert SCORES.place(0.2) == 0


def test_the_same_ledger_gives_the_same_bytes() -> None:
    first = plots.draw(entries())
    plots._hours.cache_clear()
    plots._histogram.cache_clear()
    assert plots.draw(list(reversed(entries()))) == first
    assert set(first) == {"plots/hours.png", "plots/durations.png", "plots/dnsmos.png"}
    for body in first.values():
        assert body.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", body[16:24])
        assert 600 < width < 1000
        assert 100 < height < 600
        assert b"matplotlib" not in body.lower()


def test_other_numbers_give_another_picture() -> None:
    other = [published("en-000000", **{**COUNTED, "durations": DURATIONS.counts([9.0])}), published("de-000000")]
    first, second = plots.draw(entries()), plots.draw(other)
    assert [name for name in first if first[name] != second[name]] == ["plots/durations.png"]


def test_a_plot_without_numbers_is_not_drawn() -> None:
    assert set(plots.draw([published("en-000000")])) == {"plots/hours.png"}
    assert plots.draw([published("en-000000", hours=Hours())]) == {}
    assert plots.draw([]) == {}


def test_many_languages_and_odd_names() -> None:
    many = [published(f"{name}-000000") for name in ("aa", "ab", "af", "ak", "am", "unknown")]
    assert "plots/hours.png" in plots.draw(many)


def test_the_card_shows_its_plots_and_says_nothing_of_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    files = render_all(entries())
    text = files[CARD].decode()
    for name in ("hours", "durations", "dnsmos"):
        assert f"](plots/{name}.png)" in text
        assert f"plots/{name}.png" in files
    assert "](plots/dnsmos.png)" not in render_all([published("en-000000")])[CARD].decode()

    def none(name: str, package: str | None = None) -> Any:
        return None

    monkeypatch.setattr(plots, "find_spec", none)
    bare = render_all(entries())
    assert list(bare) == [CARD]
    assert "plots/" not in bare[CARD].decode()
    assert bare[CARD].decode() == render(entries())
    # Whoever verifies may have matplotlib where the uploader had none, and the other way round.
    assert is_current(text, entries())
    assert is_current(bare[CARD].decode(), entries())
    assert not is_current(text, entries()[:1])
    assert importlib.util.find_spec("matplotlib") is not None
