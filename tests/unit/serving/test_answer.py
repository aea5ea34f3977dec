"""Where in its sound each piece of an answer's text stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.serving.answer import LONGEST, MOST_TEXT, Answer


def _answer(*pieces: str | float) -> Answer:
    found = Answer(1)
    for piece in pieces:
        if isinstance(piece, str):
            found.words(piece)
        else:
            found.sound(piece)
    return found


def test_sound_begins_where_the_last_ended():
    found = Answer(3)
    assert [found.sound(0.5), found.sound(0.25), found.sound(1.0)] == [0.0, 0.5, 0.75]
    assert found.seconds == pytest.approx(1.75)


def test_text_up_to_what_was_played():
    found = _answer("Hello", 0.4, " there", 0.4, " friend", 0.4)
    assert found.until(0.0) == ""
    assert found.until(0.41) == "Hello"
    assert found.until(0.85) == "Hello there"
    assert found.until(1.2) == found.text == "Hello there friend"


def test_a_word_that_is_cut_was_not_heard():
    found = _answer("one two three four", 1.8)
    assert found.until(0.75) == "one two"
    assert found.until(0.8) == "one two"
    assert found.until(0.2) == ""


def test_text_that_came_at_once_is_spread_over_the_sound_behind_it():
    found = _answer("alpha", " beta", " gamma", 3.0)
    assert found.until(1.6) == "alpha"
    assert found.until(2.9) == "alpha beta"


def test_without_text_there_is_none():
    assert _answer(2.0).until(1.0) == ""
    assert Answer(1).until(0.0) == ""


def test_text_without_sound_counts_as_read():
    assert _answer("only written").until(0.0) == "only written"


def test_text_after_the_last_sound_was_not_heard():
    found = _answer("said", 1.0, " not yet")
    assert found.until(0.9) == ""
    assert found.until(1.0) == "said not yet"


def test_an_answer_has_an_end():
    assert not _answer(LONGEST - 1).too_long
    assert _answer(LONGEST).too_long
    assert _answer("x" * MOST_TEXT).too_long


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=12), st.floats(0.01, 2)), max_size=20), st.floats(0, 30), st.floats(0, 30))
def test_what_was_heard_begins_the_text_and_grows(pieces, first, second):
    found = _answer(*pieces)
    short, long = sorted((first, second))
    assert found.text.startswith(found.until(long))
    assert found.until(long).startswith(found.until(short))
