"""The loop round a model, with steps that say a script: order, ends, slots, seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.sampling import Sampling
from duplexforge.models.s2s.streams import placed
from duplexforge.models.s2s.talk import Manner, Talk, generate, generate_streaming
from duplexforge.models.s2s.vocabulary import END, PAD, START, UNKNOWN
from tests.unit.models.s2s_made import SMALL, Scripted


def turn(first: int, frames: int) -> np.ndarray:
    return np.full((frames, WIDTH), first, np.float32)


def test_an_answer_is_the_script() -> None:
    steps = Scripted(SMALL, slots=2)
    answers = generate(Talk(steps), [turn(3, 4), turn(6, 7)], [Manner(), Manner(speaker=1)])
    assert [answer.text for answer in answers] == [[5, 6], [5, 6]]
    assert answers[0].audio.tolist() == [[3, 3]] * 3
    assert answers[1].audio.tolist() == [[6, 6]] * 3
    assert all(answer.ended for answer in answers)
    # Seven frames are four chunks of two.
    assert steps.heard.tolist() == [4, 8]


def test_a_step_takes_what_the_one_before_it_said() -> None:
    steps = Scripted(SMALL, slots=1)
    generate(Talk(steps), [turn(3, 2)], [Manner()])
    texts = [int(text[0]) for text, _ in steps.taken]
    assert texts == [START, 5, 6, PAD, PAD, PAD]
    none = SMALL.none
    assert [audio[0].tolist() for _, audio in steps.taken] == [[none] * 2] * 3 + [[3, none], [3, 3], [3, 3]]


def test_behind_the_end_each_book_falls_silent_in_its_turn() -> None:
    shape = replace(SMALL, books=4)
    steps = Scripted(shape, slots=1, frames=2)
    assert generate(Talk(steps), [turn(3, 2)], [Manner()])[0].audio.tolist() == [[3] * 4] * 2
    none, texts = shape.none, [int(text[0]) for text, _ in steps.taken]
    assert texts == [START, 5, 6, PAD, PAD, END, PAD]
    assert [audio[0].tolist() for _, audio in steps.taken][-3:] == [
        [3, 3, none, none],
        [none, 3, 3, none],
        [none, none, 3, 3],
    ]


def test_an_end_comes_after_the_first_frame_and_the_limit_is_told() -> None:
    early = Scripted(SMALL, slots=1, pieces=(END,) * 9)
    assert len(generate(Talk(early), [turn(1, 2)], [Manner()])[0].audio) == 1
    endless = Scripted(SMALL, slots=1, frames=10_000)
    answer = generate(Talk(endless), [turn(1, 2)], [Manner()])[0]
    assert not answer.ended
    assert len(answer.audio) == SMALL.steps - SMALL.wait


def test_a_stream_speaks_in_the_tick_of_its_decision_and_stops_by_itself() -> None:
    steps = Scripted(SMALL, slots=1, frames=7)
    taken = []

    def chunks():  # type: ignore[no-untyped-def]
        for number in range(100):
            taken.append(number)
            yield turn(4, 2)

    said, when = [], []
    for one in generate_streaming(Talk(steps), chunks(), Manner(), decide=lambda odds: odds > 0.5):
        said.append(one)
        when.append(len(taken))
    # 0.2 a chunk: the third passes one half. The burst is said at once, then a chunk of steps for each chunk heard.
    assert when == [3] * SMALL.burst + [4, 4, 5, 5, 6]
    assert [one.text for one in said if one.text != PAD] == [5, 6, END]
    assert sum(one.audio is not None for one in said) == 7
    assert said[SMALL.wait].audio is not None


def test_a_stream_whose_user_falls_silent_answers_too() -> None:
    steps = Scripted(SMALL, slots=1)
    said = list(generate_streaming(Talk(steps), [turn(2, 2)], Manner(), decide=lambda _: False))
    assert said[-1].ended
    with pytest.raises(UsageError, match="one slot"):
        list(generate_streaming(Talk(Scripted(SMALL, slots=2)), [], Manner(), decide=bool))


def test_slots_begin_and_end_by_themselves() -> None:
    talk = Talk(Scripted(SMALL, slots=3))
    chunk = np.zeros((3, SMALL.chunk, WIDTH), np.float32)
    chunk[:, 0, 0] = [1, 2, 3]
    talk.hear(chunk)
    talk.begin(0, Manner())
    talk.say()
    talk.begin(2, Manner())
    found: dict[int, list[list[int]]] = {0: [], 2: []}
    while talk.speaking.any():
        for slot, said in talk.say().items():
            if said.audio is not None:
                found[slot].append(said.audio.tolist())
    assert found == {0: [[1, 1]] * 3, 2: [[3, 3]] * 3}
    assert talk.say() == {}


def test_reset_and_a_mask_leave_the_others_alone() -> None:
    talk = Talk(Scripted(SMALL, slots=2))
    for slot in (0, 1):
        talk.begin(slot, Manner())
    assert sorted(talk.say(np.array([False, True]))) == [1]
    talk.reset(np.array([True, False]))
    assert talk.speaking.tolist() == [False, True]
    talk.reset()
    assert not talk.speaking.any()


def test_seeds_repeat_and_belong_to_the_slot() -> None:
    class Even(Scripted):
        def speak(self, text, audio, mask):  # type: ignore[no-untyped-def]
            said, sound = super().speak(text, audio, mask)
            return said, np.zeros_like(sound)

    how = Sampling(1.0, 0)
    manners = [Manner(audio=how, seed=seed) for seed in (1, 2, 1)]
    three = generate(Talk(Even(SMALL, 3)), [turn(1, 2)] * 3, manners)
    assert three[0].audio.tolist() == three[2].audio.tolist() != three[1].audio.tolist()
    alone = generate(Talk(Even(SMALL, 1)), [turn(1, 2)], [manners[1]])[0]
    assert alone.audio.tolist() == three[1].audio.tolist()


# -- a text that is given ----------------------------------------------------------------------------------------------


def test_a_given_text_is_said_one_piece_a_step_as_the_training_places_it() -> None:
    steps = Scripted(SMALL, slots=1, frames=7)
    given_text = [9, 4, 4, UNKNOWN, 11]
    answer = generate(Talk(steps), [turn(3, 2)], [Manner()], [given_text])[0]
    assert (answer.text, answer.ended, len(answer.audio)) == (given_text, True, 7)
    texts = [int(text[0]) for text, _ in steps.taken]
    wanted = placed(SMALL, [(0.0, given_text[:2]), (0.0, given_text[2:])], 7)
    assert texts == [START, *wanted[: len(texts) - 1].tolist()]


def test_an_end_waits_for_the_text_and_other_slots_say_their_own() -> None:
    eager = Scripted(SMALL, slots=2, pieces=(END,) * 20)
    first, second = generate(Talk(eager), [turn(1, 2)] * 2, [Manner()] * 2, [[7] * 9, []])
    # Nine pieces take the steps 0 to 8; the end of step 9 leaves the frames before it.
    assert (first.text, len(first.audio)) == ([7] * 9, 9 - SMALL.lead)
    assert (second.text, len(second.audio)) == ([], 1)
    chatty = Scripted(SMALL, slots=1, pieces=(5,) * 20, frames=4)
    assert generate(Talk(chatty), [turn(1, 2)], [Manner()], [[7]])[0].text == [7]


HOT = Manner(text=Sampling(1.0, 0), audio=Sampling(1.5, 0))
PIECES = st.lists(
    st.sampled_from([UNKNOWN, *range(START + 1, SMALL.vocabulary)]), max_size=SMALL.steps - SMALL.books + 1
)


@given(text=PIECES, seed=st.integers(0, 1000), frames=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_any_text_that_fits_is_said_and_a_stream_says_it_as_a_whole_turn_does(
    text: list[int], seed: int, frames: int
) -> None:
    manner, heard = replace(HOT, seed=seed), np.random.default_rng(seed).standard_normal((frames * 2, WIDTH))
    talk = Talk(PlainSteps(drawn(SMALL, 5), 1))
    whole = generate(talk, [heard.astype(np.float32)], [manner], [text])[0]
    chunks = heard.astype(np.float32).reshape(-1, 2, WIDTH)
    said = list(generate_streaming(talk, chunks, manner, decide=lambda _: False, text=text))
    assert [one.audio.tolist() for one in said if one.audio is not None] == whole.audio.tolist()
    assert [one.text for one in said if one.text not in (PAD, END)] == whole.text
    if text:
        assert whole.text == text
        assert [one.text for one in said[: len(text)]] == text
        assert {one.text for one in said[len(text) :]} <= {PAD, END}
    assert len(said) <= SMALL.steps
    assert said[-1].ended


def test_a_text_that_fits_to_the_last_step_ends_there() -> None:
    longest = [7] * (SMALL.steps - SMALL.books + 1)
    eager = Scripted(SMALL, slots=1, pieces=(END,) * 99)
    answer = generate(Talk(eager), [turn(1, 2)], [Manner()], [longest])[0]
    assert (answer.text, answer.ended) == (longest, True)
    assert len(eager.taken) == SMALL.steps


def test_a_text_leaves_the_draws_of_the_sound_alone() -> None:
    class Even(Scripted):
        def speak(self, text, audio, mask):  # type: ignore[no-untyped-def]
            said, sound = super().speak(text, audio, mask)
            return said, np.zeros_like(sound)

    manner = Manner(audio=Sampling(1.0, 0), seed=4)
    one, other = (generate(Talk(Even(SMALL, 1)), [turn(1, 2)], [manner], [text])[0] for text in ([], [8, 9, 4]))
    assert one.text != other.text
    assert one.audio.tolist() == other.audio.tolist()


def test_a_text_that_cannot_be_said_is_refused_and_changes_nothing() -> None:
    talk = Talk(Scripted(SMALL, slots=1))
    room = SMALL.steps - SMALL.books + 1
    with pytest.raises(InputError, match=f"has {room + 1} pieces, and an answer of this model has room for {room}"):
        talk.begin(0, Manner(), [7] * (room + 1))
    for piece in (PAD, END, START, -1, SMALL.vocabulary):
        with pytest.raises(InputError, match=f"{piece} is no piece of text"):
            talk.begin(0, Manner(), [7, piece])
    assert not talk.speaking.any()
    with pytest.raises(InputError, match="1 turns and 1 manners and 2 texts"):
        generate(talk, [turn(1, 2)], [Manner()], [[], []])


def test_what_is_wrong_is_said() -> None:
    talk = Talk(Scripted(SMALL, slots=1))
    with pytest.raises(InputError, match="chunks of shape"):
        talk.hear(np.zeros((1, 3, WIDTH), np.float32))
    with pytest.raises(UsageError, match="no speaker 7"):
        talk.begin(0, Manner(speaker=7))
    with pytest.raises(InputError, match="vector of 16"):
        talk.begin(0, replace(Manner(), emotion=np.zeros(3, np.float32)))
    with pytest.raises(InputError, match="2 turns and 1"):
        generate(talk, [turn(1, 2)] * 2, [Manner()])
