"""The order in which an answer is said: delayed books come back whole, words keep their order and their time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.streams import delayed, placed, steps_of, undelayed
from duplexforge.models.s2s.vocabulary import END, PAD


@given(st.integers(0, 20), st.integers(2, 6), st.integers(1, 5), st.integers(0, 99))
def test_what_was_delayed_comes_back(frames: int, books: int, lead: int, seed: int) -> None:
    shape = Shape(books=books, lead=lead)
    tokens = np.random.default_rng(seed).integers(0, shape.entries, (frames, books))
    said = delayed(shape, tokens)
    assert len(said) == steps_of(shape, frames)
    np.testing.assert_array_equal(undelayed(shape, said), tokens)
    for step, row in enumerate(said):
        for book, entry in enumerate(row):
            frame = step - lead - book
            assert entry == (tokens[frame, book] if 0 <= frame < frames else shape.none)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 4)), max_size=8), st.integers(0, 10))
def test_words_keep_their_order_and_never_come_early_while_there_is_room(
    words: list[tuple[float, int]], more: int
) -> None:
    words = sorted(words)
    pieces = [(start, [100 * number + part for part in range(count)]) for number, (start, count) in enumerate(words)]
    flat = [piece for _, word in pieces for piece in word]
    shape = Shape(books=3, lead=2)
    frames = max(len(flat) + more - shape.lead, 0)
    stream = placed(shape, pieces, frames)
    assert list(stream[(stream != PAD) & (stream != END)]) == [piece for piece in flat if piece not in (PAD, END)]
    assert np.flatnonzero(stream == END)[-1] == frames + shape.lead == len(stream) - shape.books + 1
    roomy = placed(shape, pieces, 200)
    for start, word in pieces:
        for piece in word:
            if piece not in (PAD, END):
                assert int(np.flatnonzero(roomy == piece)[0]) >= round(start)


def test_a_word_begins_with_its_sound_less_the_lead() -> None:
    stream = placed(Shape(books=3, lead=2), [(0.0, [7]), (5.2, [8, 9])], 8)
    assert stream.tolist() == [7, PAD, PAD, PAD, PAD, 8, 9, PAD, PAD, PAD, END, PAD]


@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 5), st.integers(0, 40))
def test_what_a_step_has_heard_is_what_its_tick_brought(chunk: int, books: int, lead: int, steps: int) -> None:
    shape = Shape(chunk=chunk, books=books, lead=lead, left=chunk, memory=chunk)
    # The loop that serves, in its own words.
    wanted, heard, due = [], 10 * chunk, shape.burst
    while len(wanted) < steps:
        wanted += [heard] * due
        heard, due = heard + chunk, chunk
    assert shape.heard(10 * chunk, steps).tolist() == wanted[:steps]


@pytest.mark.parametrize(
    "wrong", [{"width": 30}, {"chunk": 0}, {"left": 63}, {"memory": 255}, {"lead": 0}, {"books": 1}]
)
def test_shapes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        replace(Shape(), **wrong)
