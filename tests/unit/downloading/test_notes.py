"""The report: counts that add up however much was left out, and no more kept than can be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError


def test_reasons_are_counted_and_the_first_are_kept() -> None:
    report = SeedReport()
    for number in range(1000):
        report.refuse(f"{number} " + "x" * 1000, InputError("y" * 1000, reason="gone" if number % 2 else "refused"))
    report.refuse("file", "cannot be read")
    assert report.left_out == {"gone": 500, "refused": 500, "unreadable": 1}
    assert len(report.refused) == 200
    assert max(len(what) for what, _ in report.refused) == 200
    text = report.to_text()
    assert "left out: 500 refused, 500 gone, 1 unreadable" in text
    assert "and 180 more" in text
    assert len(text.splitlines()) < 30


@given(st.lists(st.lists(st.sampled_from(["gone", "live"]), max_size=150), max_size=5))
def test_reports_of_threads_add_up(parts: list[list[str]]) -> None:
    total = SeedReport()
    for reasons in parts:
        own = SeedReport()
        for reason in reasons:
            own.refuse("what", InputError("why", reason=reason))
        own.leave_out("too_long", 2)
        own.skipped[".txt"] += 1
        total.absorb(own)
    assert total.left_out["gone"] == sum(reasons.count("gone") for reasons in parts)
    assert total.left_out["too_long"] == 2 * len(parts)
    assert total.skipped[".txt"] == len(parts)
    assert len(total.refused) == min(sum(map(len, parts)), 200)


def test_duplicates_are_counted_beyond_those_that_are_kept() -> None:
    report = SeedReport()
    for number in range(500):
        report.repeat(f"title {number}", "pod-1")
    assert (report.repeated, len(report.duplicates)) == (500, 200)
    assert "500 duplicates" in report.to_text()


def test_a_password_in_an_address_is_not_repeated() -> None:
    report = SeedReport()
    report.refuse("line 1: rss:https://me:s3cret@a.example/x@y", InputError("no", reason="refused"))
    report.refuse("https://a.example/@someone", "no")
    assert "s3cret" not in report.to_text()
    assert report.refused[1][0] == "https://a.example/@someone"
