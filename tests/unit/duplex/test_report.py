"""The report: what counts as lost, what people and machines read, sums that do not depend on the order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.duplex.corpus import Problem, blamed
from duplexforge.duplex.report import Report, add
from duplexforge.loading.schema import Totals

LOST = Problem("TXT/a.txt", 3, "bad_times", "no times")
KEPT = Problem("TXT/a.txt", 4, "out_of_order", "sorted in", kept=True)
RULED = Problem("episode", None, "low_mos", "too noisy", by_rule=True)


@pytest.mark.parametrize(
    ("problems", "code"), [([], 0), ([KEPT], 0), ([RULED, KEPT], 0), ([KEPT, LOST, RULED], 65), ([LOST], 65)]
)
def test_only_what_was_lost_counts(problems: list[Problem], code: int) -> None:
    report = Report("talks", "set", problems=problems)
    assert report.exit_code == code
    assert report.to_json()["left_out"] == (code == 65)


@pytest.mark.parametrize(
    ("problems", "which"), [([KEPT, RULED, LOST], LOST), ([KEPT, RULED], RULED), ([KEPT], KEPT), ([LOST, LOST], LOST)]
)
def test_what_is_to_blame_is_what_was_lost(problems: list[Problem], which: Problem) -> None:
    assert blamed(problems) is which


def test_a_line_for_each_problem_in_its_order() -> None:
    told = Report("talks", "set", problems=[KEPT, LOST, Problem("Größe", None, "x", "a\nb")]).lines()
    rows = [json.loads(line) for line in told.decode().splitlines()]
    assert [(row["file"], row["line"], row["reason"], row["kept"], row["by_rule"]) for row in rows] == [
        ("TXT/a.txt", 4, "out_of_order", True, False),
        ("TXT/a.txt", 3, "bad_times", False, False),
        ("Größe", None, "x", False, False),
    ]
    assert "Größe".encode() in told
    assert Report("talks", "set").lines() == b""


def test_people_read_places_of_what_was_lost_and_counts_of_the_rest() -> None:
    totals = {"train": Totals(sides=2, chunks=10, silent_chunks=4, tokens=9, capped=1), "test": Totals()}
    report = Report("talks", "set", conversations=1, skipped=2, files=9, totals=totals, notes=("test stays empty",))
    report.problems = [KEPT, RULED, LOST, Problem("b", None, "corrupt", "it ends early")]
    text = report.to_text().splitlines()
    assert text == [
        "1 conversations of talks, 9 files written to set",
        "train: 2 sides of 0 conversations, 0 utterances, 0 windows, 10 chunks, 9 tokens (1 capped), silence 40.0%",
        "conversations without the speaker asked for: 2",
        "kept all the same: out_of_order: 1",
        "left out: bad_times: 1",
        "left out: corrupt: 1",
        "not wanted: low_mos: 1",
        "TXT/a.txt:3: no times",
        "b: it ends early",
        "test stays empty",
    ]


@pytest.mark.parametrize(("dry", "last"), [(False, "and 5 more: see report.jsonl"), (True, "and 5 more")])
def test_a_long_list_is_cut(dry: bool, last: str) -> None:
    report = Report("talks", "set", dry_run=dry, problems=[LOST] * 25)
    lines = report.to_text().splitlines()
    assert lines.count("TXT/a.txt:3: no times") == 20
    assert lines[-1] == last
    assert len(report.to_json()["details"]) == 25
    assert report.by_reason() == {"bad_times": 25}


_names = st.lists(st.sampled_from("abcd"), max_size=3)
_totals = st.builds(
    Totals, sides=st.integers(0, 9), tokens=st.integers(0, 9), speakers=_names, conversations=_names
)  # fmt: skip


@given(parts=st.lists(_totals, max_size=5), cut=st.integers(0, 5))
def test_sums_may_be_taken_in_parts_and_any_order(parts: list[Totals], cut: int) -> None:
    whole = add(parts)
    assert add(reversed(parts)) == add([add(parts[:cut]), add(parts[cut:])]) == whole
    assert (whole.sides, whole.tokens) == (sum(one.sides for one in parts), sum(one.tokens for one in parts))
    assert whole.speakers == sorted({name for one in parts for name in one.speakers})
