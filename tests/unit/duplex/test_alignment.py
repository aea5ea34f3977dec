"""Utterances become events: nothing is lost uncounted, and every token is due where its alignment says."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.duplex.alignment import Aligned, events
from duplexforge.duplex.corpus import Utterance, Word
from duplexforge.duplex.tokens import Tokenizer, bind
from duplexforge.framing import Alignment, DuplexFormat
from duplexforge.loading.sequence import stream_of


def aligned(
    tokenizer: Tokenizer, said: list[Utterance], how: Alignment, most: int | None = None
) -> tuple[Aligned, DuplexFormat]:
    fmt = bind(DuplexFormat(alignment=how, max_event_tokens=most), tokenizer)
    return events(said, fmt, tokenizer), fmt


times = st.integers(0, 60_000).map(lambda milliseconds: milliseconds / 1000)
lengths = st.integers(0, 20_000).map(lambda milliseconds: milliseconds / 1000)
texts = st.lists(
    st.sampled_from(["hello", "I", "you know,", "Größe", "日本!", "told\u00a0them", "🌊"]), min_size=1
).map(" ".join)


@st.composite
def utterances(draw: st.DrawFn) -> list[Utterance]:
    """In any order, overlapping or not; each word with a time, none, or one that makes no sense."""
    said = []
    for start, length, text in draw(st.lists(st.tuples(times, lengths, texts), max_size=5)):
        words = None
        if draw(st.booleans()):
            parts = text.split(" ")
            starts = draw(st.lists(st.floats(-1, 90), min_size=len(parts), max_size=len(parts)))
            words = tuple(Word(part, at, at + 0.1) for part, at in zip(parts, starts, strict=True))
        said.append(Utterance(start, start + length, text, words))
    return said


@given(said=utterances(), how=st.sampled_from(["queue", "even", "words"]), most=st.none() | st.integers(1, 6))
def test_every_token_is_kept_or_counted(
    tokenizer: Tokenizer, said: list[Utterance], how: Alignment, most: int | None
) -> None:
    found, fmt = aligned(tokenizer, said, how, most)
    ordered = sorted(said, key=lambda one: one.start)
    assert [one.text for one in found.events] == [one.text for one in ordered]
    made = [tokenizer.ids(one.text) for one in ordered]
    assert [one.input_ids for one in found.events] == [tokens[:most] for tokens in made]
    assert sum(len(one.input_ids) for one in found.events) + found.capped == sum(map(len, made))
    assert (found.problems, len(found.events)) == ([], len(said))
    # What comes out is what a stream takes.
    stream_of(found.events, fmt, 200)


@given(said=utterances(), how=st.sampled_from(["even", "words"]), most=st.none() | st.integers(1, 6))
def test_tokens_are_due_in_order_within_their_utterance(
    tokenizer: Tokenizer, said: list[Utterance], how: Alignment, most: int | None
) -> None:
    found, fmt = aligned(tokenizer, said, how, most)
    for event in found.events:
        assert event.due is not None
        assert len(event.due) == len(event.input_ids)
        assert all(before <= after for before, after in pairwise(event.due))
        assert fmt.chunk_at(event.start) <= event.due[0]
        assert event.due[-1] <= fmt.chunk_at(event.end)


@given(said=utterances())
def test_without_times_of_words_tokens_are_spread_evenly(tokenizer: Tokenizer, said: list[Utterance]) -> None:
    bare = [Utterance(one.start, one.end, one.text) for one in said]
    by_words, _ = aligned(tokenizer, bare, "words")
    evenly, _ = aligned(tokenizer, bare, "even")
    assert by_words.events == evenly.events
    assert (by_words.spread, evenly.spread) == (len(said), 0)


@given(said=utterances())
def test_in_the_queue_everything_is_due_at_the_start(tokenizer: Tokenizer, said: list[Utterance]) -> None:
    found, _ = aligned(tokenizer, said, "queue")
    assert all(event.due is None for event in found.events)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 60))
def test_even_tokens_stand_where_their_share_of_the_time_lies(
    tokenizer: Tokenizer, count: int, start: int, chunks: int
) -> None:
    """Whole chunks: token i of n in an utterance of m chunks is due floor(i·m / n) chunks after its start."""
    said = [Utterance(start * 0.32, (start + chunks) * 0.32, " I" * count)]
    made = len(tokenizer.ids(said[0].text))
    found, _ = aligned(tokenizer, said, "even")
    assert found.events[0].due == [start + order * chunks // made for order in range(made)]


def test_each_word_s_tokens_are_due_when_the_word_starts(tokenizer: Tokenizer) -> None:
    text = "hello, Größe they!"
    words = (Word(" hello,", 1.0, 1.2), Word(" Größe", 2.0, 2.5), Word(" they!", 3.21, 3.5))
    found, _ = aligned(tokenizer, [Utterance(0.9, 4.0, text, words)], "words")
    (event,) = found.events
    assert event.due is not None
    due_of = [3, 6, 10]
    # The tokens of each stretch of the text, the space before a word counted to the word.
    stretches = ["hello,", " Größe", " they!"]
    wanted = [due for due, part in zip(due_of, stretches, strict=True) for _ in tokenizer.ids(part)]
    assert event.due == wanted
    assert [word.text for word in event.words or ()] == [word.text for word in words]
    assert found.spread == 0


def test_text_before_the_first_word_is_due_with_it(tokenizer: Tokenizer) -> None:
    found, _ = aligned(tokenizer, [Utterance(0.0, 9.0, "… - hello", (Word("hello", 5.0, 5.5),))], "words")
    assert set(found.events[0].due or ()) == {15}


def test_a_word_s_time_outside_its_utterance_is_brought_inside(tokenizer: Tokenizer) -> None:
    words = (Word("you", 0.1, 0.2), Word("know", 99.0, 99.5))
    found, _ = aligned(tokenizer, [Utterance(1.0, 2.0, "you know", words)], "words")
    assert found.events[0].due is not None
    assert (found.events[0].due[0], found.events[0].due[-1]) == (3, 6)


@pytest.mark.parametrize(
    "words",
    [
        None,
        (),
        (Word("goodbye", 1.0, 1.5),),
        (Word("you", 1.0, 1.5), Word("know", math.nan, 2.0)),
        (Word("know", 1.0, 1.2), Word("you", 1.4, 1.5)),
        (Word(" ", 1.0, 1.5),),
    ],
)
def test_words_that_are_not_those_of_the_text_are_not_used(
    tokenizer: Tokenizer, words: tuple[Word, ...] | None
) -> None:
    found, _ = aligned(tokenizer, [Utterance(1.0, 3.0, "you know", words)], "words")
    evenly, _ = aligned(tokenizer, [Utterance(1.0, 3.0, "you know")], "even")
    assert found.events[0].due == evenly.events[0].due
    assert found.spread == 1


@pytest.mark.parametrize(
    ("utterance", "reason", "words"),
    [
        (Utterance(1, 2, "you <|object_ref_start|>"), "control_token", "makes the control token <|object_ref_start|>"),
        (Utterance(1, 2, "<|im_end|>"), "control_token", "the text at 1 s makes the control token <|im_end|>"),
        (Utterance(1, 2, "<|audio_pad|> you"), "control_token", "<|audio_pad|>"),
        (Utterance(1.5, 2, ""), "no_tokens", "the utterance at 1.5 s makes no tokens"),
        (Utterance(2, 1, "you"), "bad_times", "from 2 s to 1 s"),
        (Utterance(-0.5, 1, "you"), "bad_times", "from -0.5 s to 1 s"),
        (Utterance(math.nan, 1, "you"), "bad_times", "from nan s to 1 s"),
        (Utterance(1, math.inf, "you"), "bad_times", "from 1 s to inf s"),
    ],
)
def test_what_cannot_be_said_is_left_out_and_told(
    tokenizer: Tokenizer, utterance: Utterance, reason: str, words: str
) -> None:
    found, _ = aligned(tokenizer, [Utterance(3, 4, "hello"), utterance, Utterance(0, 1, "hello")], "even")
    ((who, why, sentence),) = found.problems
    assert (who, why) == (utterance, reason)
    assert words in sentence
    assert [event.start for event in found.events] == [0, 3]


def test_an_ordinary_word_as_silence_leaves_out_who_says_it(tokenizer: Tokenizer) -> None:
    fmt = bind(DuplexFormat(silence_token="I"), tokenizer)
    found = events([Utterance(0, 1, "I told them"), Utterance(2, 3, "they told you")], fmt, tokenizer)
    assert [event.text for event in found.events] == ["they told you"]
    assert [why for _, why, _ in found.problems] == ["control_token"]


def test_a_moment_takes_words_too(tokenizer: Tokenizer) -> None:
    found, _ = aligned(tokenizer, [Utterance(0.64, 0.64, "hello there")], "even")
    (event,) = found.events
    assert (event.duration, set(event.due or ())) == (0.0, {2})


def test_the_cut_keeps_the_first_tokens_at_their_times(tokenizer: Tokenizer) -> None:
    said = [Utterance(0.0, 6.4, "I told them twice and they did not listen")]
    whole, _ = aligned(tokenizer, said, "even")
    cut, _ = aligned(tokenizer, said, "even", 3)
    assert cut.events[0].due == (whole.events[0].due or [])[:3]
    assert cut.capped == len(whole.events[0].input_ids) - 3
    assert cut.events[0].text == said[0].text
