"""The closed domain: every rule that makes its questions answerable, and what is said when a file breaks one."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.dialogues import domain
from duplexforge.dialogues.domain import NOT_UNDERSTOOD, Intent, bare, parse
from duplexforge.errors import InputError, UsageError

FILE = """
language = "en"
[[intent]]
id = "price"
ask = ["How much is {item}?", "What is {item}?", "Tell me of {item}.", "I want {item}."]
held_out = ["Price of {item}?"]
answer = "{item} is {price}."
slots.key = ["rice", "milk"]
slots.item = ["rice", "milk"]
slots.price = ["sixty", "thirty"]
[[intent]]
id = "not_understood"
ask = ["One.", "Two.", "Three.", "Four."]
held_out = ["Five."]
unseen = ["Six."]
answer = "Sorry."
"""


@pytest.mark.parametrize(("language", "fewest"), [("en", 150), ("te", 60)])
def test_the_shipped_intents_are_many_and_small_enough_to_be_learnt(language: str, fewest: int) -> None:
    intents = domain.domain([language])
    assert len(intents) >= fewest
    assert len({bare(intent.answer) for intent in intents}) == len(intents)
    for intent in intents:
        assert len(intent.ask) >= 4, intent.id
        assert intent.held_out, intent.id
        assert 2 <= len(intent.answer.split()) <= 8, intent.answer
        assert all(len(sentence.split()) <= 10 for sentence in intent.sentences), intent.id


def test_no_sentence_is_in_two_intents_nor_in_training_and_validation() -> None:
    intents = domain.domain()
    everything = [bare(sentence) for intent in intents for sentence in intent.sentences]
    assert len(everything) == len(set(everything))
    answers = {bare(intent.answer) for intent in intents}
    assert not answers & set(everything), "an answer that is a question somewhere could be a copy of the input"


@pytest.mark.parametrize("language", ["en", "te"])
def test_held_out_sentences_use_words_that_training_has(language: str) -> None:
    """What is held out is the wording, not the vocabulary: at least half of its words are asked elsewhere in the intent."""
    for intent in domain.domain([language]):
        if intent.id != NOT_UNDERSTOOD:
            asked = {word for sentence in intent.ask for word in bare(sentence).split()}
            for sentence in intent.held_out:
                there = [word in asked for word in bare(sentence).split()]
                assert sum(there) >= len(there) / 2, f"{intent.id}: {sentence}"


def test_telugu_is_in_telugu_script() -> None:
    for intent in domain.domain(["te"]):
        for sentence in (*intent.sentences, intent.answer):
            letters = [one for one in sentence if one.isalpha()]
            assert letters
            assert all(unicodedata.name(one).startswith("TELUGU") for one in letters), sentence


def test_ids_are_plain_words() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", intent.id) for intent in domain.domain())


def test_slots_are_walked_together() -> None:
    rice, milk, _ = parse(FILE, "x.toml")
    assert rice == Intent(
        id="price_rice",
        language="en",
        ask=("How much is rice?", "What is rice?", "Tell me of rice.", "I want rice."),
        held_out=("Price of rice?",),
        answer="rice is sixty.",
    )
    assert (milk.id, milk.answer) == ("price_milk", "milk is thirty.")


def test_fewer_intents_keep_the_one_of_what_is_not_understood() -> None:
    few = domain.domain(["en"], 5)
    assert len(few) == 5
    assert few[-1].id == NOT_UNDERSTOOD
    assert [one.id for one in few[:-1]] == [one.id for one in domain.domain(["en"])][:4]
    assert {one.language for one in domain.domain(most=2)} == set(domain.languages()) == {"en", "te"}


def test_a_language_without_intents_is_refused() -> None:
    with pytest.raises(UsageError, match="no dialogues in fr; there are some in en, te"):
        domain.domain(["en", "fr"])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('slots.price = ["sixty", "thirty"]', 'slots.price = ["sixty"]', "price: slots are lists of one length"),
        ('slots.key = ["rice", "milk"]', 'slots.name = ["rice", "milk"]', "one of them is called key"),
        ("is {price}.", "is {cost}.", "names a slot that is not there .'cost'"),
        ('"thirty"]', '"sixty"]\n', None),
        ('answer = "Sorry."', 'answer = "Rice is Sixty!"', "price_rice and not_understood have the same answer"),
        ('"Four."', '"how much is rice"', "is in price_rice and in not_understood"),
        ('"Four."', '"One!"', "or twice in one"),
        ('"Four."', '"4."', "has a character that en is not spoken from"),
        ('"Four."', '"नमस्ते."', "has a character that en is not spoken from"),
        (', "Four."', "", "intent.1.ask: List should have at least 4 items"),
        ('held_out = ["Five."]', "held_out = []", "intent.1.held_out: List should have at least 1 item"),
        ("not_understood", "nothing", "there is no intent not_understood"),
        ('id = "price"', 'id = "Price 1"', "intent.0.id: String should match"),
        ('id = "price"', 'id = "price"\nasked = 1', "intent.0.asked: Extra inputs"),
        ('["rice", "milk"]\nslots.item', '["rice", "rice"]\nslots.item', "there are two intents price_rice"),
        ("language =", "language", "x.toml: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said(old: str, new: str, sentence: str | None) -> None:
    assert old in FILE
    broken = FILE.replace(old, new, 1)
    if sentence is None:
        # The same price for two things is no fault: the answers still differ.
        assert len(parse(broken, "x.toml")) == 3
        return
    with pytest.raises(InputError, match=sentence) as found:
        parse(broken, "x.toml")
    assert str(found.value).startswith("x.toml")


@given(line=st.integers(0, len(FILE.splitlines()) - 1), text=st.text(max_size=30))
def test_any_change_of_a_line_gives_intents_or_one_sentence(line: int, text: str) -> None:
    lines = FILE.splitlines()
    lines[line] = text
    said, ids = "", []
    try:
        ids = [intent.id for intent in parse("\n".join(lines), "x.toml")]
    except InputError as error:
        said = str(error)
    assert NOT_UNDERSTOOD in ids or said.startswith("x.toml")


@given(text=st.text())
def test_sentences_are_compared_without_case_and_marks(text: str) -> None:
    plain = bare(text)
    assert bare(plain) == plain
    assert bare(f" {text}!") == bare(f"{text},") == plain
