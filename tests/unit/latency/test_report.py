"""The report: one schema, goals judged by the 95th percentile, random weights said first."""

from __future__ import annotations

import json

import pytest

from duplexforge.latency.figures import MEASURES, Spread
from duplexforge.latency.report import RANDOM, known, machine, parameters
from duplexforge.models.s2s.plain_arrays import drawn
from tests.unit.latency.made import SPOKEN, report


def test_the_schema() -> None:
    found = json.loads(json.dumps(report().to_json()))
    assert set(found) == {
        "duplexforge", "title", "model", "machine", "clock", "question", "rounds", "warmup", "notes", "measures", "answers",
    }  # fmt: skip
    assert found["rounds"] == 2
    assert found["warmup"] == 1
    assert found["question"] == {"name": "q.wav", "seconds": 1.5}
    assert found["model"]["random"] is True
    assert found["model"]["shape"]["width"] == SPOKEN.width
    assert found["machine"]["processor"] == "a processor"
    assert [one["text"] for one in found["answers"]] == ["one", ""]
    keys = {"title", "unit", "clock", "n", "p50", "p95", "p99", "max", "goal_p95", "met"}
    assert all(set(row) == keys for row in found["measures"].values())


def test_figures_are_of_all_turns_together_in_one_order() -> None:
    spreads = report().spreads()
    assert list(spreads) == ["first_text", "first_audio", "hear", "say", "hear_rtf", "base_encode_20ms"]
    assert spreads["say"] == Spread.of([2.0, 4.0, 6.0])
    assert [name for name in known() if name in MEASURES] == list(MEASURES)


def test_goals_are_judged_by_the_95th_percentile() -> None:
    measures = report().to_json()["measures"]
    assert measures["first_text"]["p95"] > 150
    assert measures["first_text"]["met"] is False
    assert measures["base_encode_20ms"]["p50"] < 10
    assert measures["base_encode_20ms"]["met"] is False
    assert measures["hear_rtf"]["met"] is True
    assert measures["say"]["met"] is None
    assert "p95 below 150 ms: NO" in report().to_text()


@pytest.mark.parametrize("random", [True, False])
def test_random_weights_are_said_first(random: bool) -> None:
    found = report(random=random)
    assert found.to_text().startswith(RANDOM) is random
    assert found.to_json()["title"].startswith(RANDOM) is random


def test_the_notes_count_what_went_otherwise() -> None:
    notes = report().notes
    assert "1 of 2 answers ran into the model's limit" in notes
    assert not any("no text" in note for note in notes)
    silent = report(turns=[report().turns[1].__class__("", 0.0, True, {"say": [1.0]})])
    assert "1 of 1 answers held no text" in silent.notes
    assert not any("limit" in note for note in silent.notes)


def test_text_says_clock_starts_warm_up_and_machine() -> None:
    text = report().to_text()
    for words in ("left out as warm-up", "no endpointing", "1 thread,", "a processor", "90% of a core", "2.00"):
        assert words in text
    assert all(measure.start in text for measure in MEASURES.values())


def test_parameters_are_those_of_the_arrays() -> None:
    assert parameters(SPOKEN) == sum(array.size for array in drawn(SPOKEN).arrays.values())


def test_this_machine() -> None:
    found = machine(None, 0.5)
    assert found.processor
    assert found.cores_allowed >= 1
    assert found.share == 0.5
    assert "threads as the libraries choose" in found.title


def test_what_json_says_is_what_text_says() -> None:
    found = report()
    text = found.to_text()
    for row in found.to_json()["measures"].values():
        line = next(line for line in text.splitlines() if line.startswith(row["title"]) and row["unit"] in line.split())
        figures = line.removeprefix(row["title"]).split()
        assert figures[0] == str(row["n"])
        assert [float(value) for value in figures[1:5]] == pytest.approx(
            [row["p50"], row["p95"], row["p99"], row["max"]], abs=0.006
        )


def test_every_figure_has_a_title_of_its_own() -> None:
    titles = [measure.title for measure in known().values()]
    assert len(set(titles)) == len(titles)
    assert {measure.unit for measure in known().values()} == {"ms", "x"}


@pytest.mark.parametrize(("threads", "told"), [(1, "1 thread"), (4, "4 threads"), (None, "as the libraries choose")])
def test_threads_are_said(threads: int | None, told: str) -> None:
    assert told in machine(threads).title


def test_the_clock_is_named() -> None:
    assert "by time.perf_counter" in report().to_text()
    busy = report(clock="cpu")
    assert "PROCESSOR TIME" in busy.to_text()
    assert busy.to_json()["clock"] == "cpu"


def test_no_file_of_figures_holds_what_json_cannot() -> None:
    json.dumps(report().to_json(), allow_nan=False)
