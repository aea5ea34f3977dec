"""Subwords: what was learned is read back, in any script; the same corpus gives the same numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.models.s2s.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, learn, normal

TEXTS = ["we open at nine", "we close at nine", "the train leaves at nine", "మేము తొమ్మిదికి తెరుస్తాము", "రైలు వెళ్ళింది"]

WORDS = st.lists(st.text(st.characters(categories=("L", "M", "N")), min_size=1, max_size=8), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(WORDS, st.integers(4, 80))
def test_every_text_of_the_corpus_is_read_back(words: list[str], size: int) -> None:
    text = normal(" ".join(words))
    vocabulary = learn([text], size)
    numbers = vocabulary.text(text)
    assert vocabulary.read(numbers) == text
    assert all(START < number < len(vocabulary) for number in numbers)
    assert UNKNOWN not in numbers


def test_merges_make_common_words_short_and_keep_the_size() -> None:
    letters, merged = learn(TEXTS, 0), learn(TEXTS, len(learn(TEXTS, 0)) + 20)
    assert len(merged) == len(letters) + 20
    assert len(merged.word("nine")) < len(letters.word("nine")) == 5
    assert len(merged.word("nine")) == 1


def test_it_is_the_same_whatever_the_order_and_survives_json() -> None:
    vocabulary = learn(TEXTS, 60)
    assert learn(reversed(TEXTS), 60) == vocabulary
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_what_is_unknown_is_said_to_be() -> None:
    vocabulary = learn(["abc"], 20)
    assert vocabulary.text("axc").count(UNKNOWN) == 1
    assert vocabulary.read(vocabulary.text("axc")) == "a\N{REPLACEMENT CHARACTER}c"


def test_padding_and_the_end_say_nothing() -> None:
    vocabulary = learn(TEXTS, 60)
    piece = vocabulary.text("we")
    assert vocabulary.read([START, PAD, *piece, PAD, END]) == "we"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"pieces": ["a"], "merges": [["a"]]}', '{"pieces": 3, "merges": []}']
)
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no vocabulary"):
        Vocabulary.from_json(text)
