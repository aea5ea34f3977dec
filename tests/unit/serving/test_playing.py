"""How much of an answer was heard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.serving.playing import Live, Playing


def _playing(*pieces: tuple[float, float], made: float | None = None) -> Playing:
    found = Playing()
    for seconds, now in pieces:
        found.hand(seconds, now)
    found.made = found.handed if made is None else made
    return found


def test_by_the_clock_sound_is_heard_as_time_passes():
    found = _playing((1.0, 10.0), (1.0, 10.1))
    assert found.heard(10.0) == pytest.approx(0.0)
    assert found.heard(10.7) == pytest.approx(0.7)
    assert found.heard(12.5) == pytest.approx(2.0)


def test_a_gap_in_the_sound_is_heard_as_one():
    found = _playing((1.0, 10.0), (1.0, 13.0))
    assert found.heard(13.4) == pytest.approx(1.4)
    assert found.end() == pytest.approx(14.0)


def test_the_clients_report_counts_more_than_the_clock():
    found = _playing((2.0, 10.0))
    found.report(0.3)
    assert found.heard(11.9) == pytest.approx(0.3)


def test_what_is_told_right_now_counts_most():
    found = _playing((2.0, 10.0))
    found.report(0.3)
    assert found.heard(11.0, told=0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("told", "counts"), [(-1.0, 0.0), (99.0, 2.0), (1.5, 1.5)])
def test_nobody_has_heard_what_was_not_handed_out(told: float, counts: float):
    found = _playing((2.0, 10.0), made=5.0)
    found.report(told)
    assert found.heard(11.0) == pytest.approx(counts)
    assert found.heard(11.0, told=told) == pytest.approx(counts)


def test_a_report_never_goes_back():
    found = _playing((2.0, 10.0))
    found.report(1.0)
    found.report(0.5)
    assert found.reported == pytest.approx(1.0)


def test_the_end_is_not_known_before_all_was_handed_out():
    assert _playing((1.0, 10.0), made=2.0).end() is None
    assert _playing((1.0, 10.0)).end() == pytest.approx(11.0)


def test_a_client_that_reports_is_waited_for_but_not_for_ever():
    found = _playing((1.0, 10.0))
    found.report(0.5)
    assert found.end() == pytest.approx(12.0)
    found.report(0.98)
    assert found.end() == 0.0


def test_an_answer_of_text_alone_is_over_at_once():
    assert Playing().end() == 0.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), max_size=20), st.floats(0, 100), st.floats(0, 100))
def test_by_the_clock_no_more_is_heard_than_was_handed_and_never_less_than_before(pieces, first, second):
    found, now = Playing(), 0.0
    for seconds, wait in pieces:
        now += wait
        found.hand(seconds, now)
    one, two = sorted((now + first, now + second))
    assert 0.0 <= found.heard(one) <= found.heard(two) + 1e-9
    assert found.heard(two) <= found.handed + 1e-9
    assert found.heard(now + found.handed + 1.0) == pytest.approx(found.handed)


def test_a_model_that_decides_by_itself_has_longer_to_begin_than_to_go_on():
    live = Live(1, 100.0, False)
    assert live.quiet() == pytest.approx(110.0)
    live.last = 103.0
    assert live.quiet() == pytest.approx(103.6)
