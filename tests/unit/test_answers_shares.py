"""Shares, intervals and tables of `benchmarks/s2s_answers.py`, on cases known by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import answers_shares as shares
from answers_shares import Item, Share

VOICES = (("Arjun", "male_young", 120.0), ("Priya", "female_young", 220.0))
CORPUS = {"male_young": {"neutral": 119.0, "happy": 140.0}, "female_young": {"neutral": 218.0}}


@pytest.mark.parametrize(
    ("right", "asked", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (1, 1, 0.2065, 1.0),
        (263, 269, 0.9522, 0.9897),
    ],
)
def test_wilsons_interval(right: int, asked: int, low: float, high: float) -> None:
    assert Share(right, asked).interval == pytest.approx((low, high), abs=2e-4)


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda asked: st.tuples(st.integers(0, asked), st.just(asked))))
def test_an_interval_holds_its_share_and_shrinks_with_more_answers(counts: tuple[int, int]) -> None:
    share, more = Share(*counts), Share(*(4 * count for count in counts))
    low, high = share.interval
    assert 0 <= low <= share.value + 1e-12
    assert share.value - 1e-12 <= high <= 1
    assert more.interval[1] - more.interval[0] < high - low


def test_a_share_tells_its_count() -> None:
    assert str(Share.of([True, True, False])) == "66.7% (20.8–93.9) of 3"
    assert str(Share.of([])) == "–"


def items() -> list[Item]:
    return [
        Item("wording", "en", 0, 0, {"text": True, "english": True}, 118.0),
        Item("voice", "en", 0, 0, {"text": False, "english": True}, 150.0),
        Item("both", "te", 1, 0, {"text": True}, 230.0),
        Item("wording", "te", 0, 1, {"text": True}, 147.0),
        Item("wording", "te", 1, 1, {"text": True}, float("nan")),
    ]


def test_columns_count_what_they_name_and_only_what_was_asked() -> None:
    text, english = shares.rows(items(), ["text", "english", "never"])
    told = {column: (share.right, share.asked) for column, share in text.shares.items()}
    assert told == {
        "all": (4, 5),
        "new wording": (3, 3),
        "new voice": (0, 1),
        "both new": (1, 1),
        "English": (1, 2),
        "Telugu": (3, 3),
    }
    assert english.shares["all"] == Share(2, 2)
    assert english.shares["Telugu"] == Share(0, 0)
    assert set(english.to_json()["columns"]) == {"all", "new wording", "new voice", "English"}
    assert text.to_json()["columns"]["all"]["share"] == 0.8


def test_pitch_is_held_against_the_voices_and_the_corpus() -> None:
    arjun, priya, neutral, happy = shares.pitches(items(), VOICES, ("neutral", "happy"), CORPUS)
    assert (arjun.count, arjun.heard) == (2, 134.0)
    assert arjun.wanted_error == pytest.approx(134 / 120 - 1)
    assert arjun.corpus_error == pytest.approx(134 / 119 - 1)
    assert not arjun.met
    assert priya.met
    assert neutral.count == 3
    # The corpus has no happy Priya, and this one had no pitch anyway.
    assert (happy.count, happy.wanted_error) == (1, None)
    assert happy.heard == pytest.approx(147 / 140)
    assert happy.met


def test_tables_are_whole() -> None:
    table = shares.rows(items(), ["text", "english"])
    high = shares.pitches(items(), VOICES, ("neutral", "happy"), CORPUS)
    lines = shares.markdown(table, high)
    gap = lines.index("")
    assert {line.count("|") for line in lines[:gap]} == {len(shares.COLUMNS) + 2}
    assert {line.count("|") for line in lines[gap + 1 :]} == {7}
    assert lines[2].startswith("| text | 80.0% (37.6–96.4) of 5 | 100.0%")
    assert lines[3].endswith("| 100.0% (34.2–100.0) of 2 | – |")
    assert lines[gap + 3] == "| Arjun, neutral | 2 | 134 Hz | +11.7% | +12.6% | NO |"
    text = "\n".join(shares.plain(table, high))
    assert "new voice 0.0%" in text
    assert "× 1.05" in text
    assert text.splitlines()[3].count(";") == 3, "Telugu was not asked"
