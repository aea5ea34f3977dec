"""What a conversation remembers, and which old turn resembles the present one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.serving import vad
from duplexforge.serving.context import MOST_PREFERENCES, SIZE, Memory, Recalled, Sketch, Turn
from tests.unit.serving.conversation_made import hush, speech

SEED = 20261122


def _vector(seed: int, size: int = 80) -> np.ndarray:
    return np.random.default_rng(SEED + seed).normal(size=size).astype(np.float32)


def _memory(count: int) -> Memory:
    return Memory(Turn(f"answer {number}", vector=_vector(number)) for number in range(count))


def test_the_last_ten_turns_are_kept():
    memory = Memory()
    for number in range(13):
        memory.add(Turn(f"answer {number}"))
    assert [turn.answer for turn in memory.turns] == [f"answer {number}" for number in range(3, 13)]


def test_the_last_turn_may_have_been_otherwise():
    memory = _memory(2)
    memory.replace(Turn("answ"))
    assert [turn.answer for turn in memory.turns] == ["answer 0", "answ"]
    Memory().replace(Turn("nothing to replace"))


def test_nobody_claims_to_know_a_topic_or_a_sentiment():
    turn = Turn("I love football")
    assert (turn.topic, turn.sentiment) == (None, None)


def test_the_turn_that_is_like_the_query_gets_the_most_attention():
    memory = _memory(SIZE)
    found = memory.recall(_vector(6) + 0.3 * _vector(99))
    assert found[0].turn.answer == "answer 6"
    assert len(found) == 3
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)


def test_the_weights_are_the_softmax_of_the_scaled_products():
    memory, query = _memory(4), _vector(50)
    even = [
        (one - one.mean()) / one.std()
        for one in (query.astype(float), *(_vector(number).astype(float) for number in range(4)))
    ]
    scores = np.exp([key @ even[0] / np.sqrt(80) for key in even[1:]])
    wanted = scores / scores.sum()
    found = {one.turn.answer: one.weight for one in memory.recall(query, top=4)}
    assert found == pytest.approx({f"answer {number}": wanted[number] for number in range(4)}, rel=1e-4)
    assert sum(found.values()) == pytest.approx(1.0)


def test_loudness_makes_no_difference():
    memory = _memory(5)
    plain, loud = memory.recall(_vector(2)), memory.recall(_vector(2) * 9 + 4)
    assert [one.turn for one in plain] == [one.turn for one in loud]


def test_turns_without_a_fitting_vector_take_no_part():
    memory = Memory([Turn("none"), Turn("other", vector=_vector(1, 64)), Turn("fits", vector=_vector(2))])
    assert [one.turn.answer for one in memory.recall(_vector(3))] == ["fits"]
    assert Memory().recall(_vector(1)) == []


def test_a_vector_without_shape_is_no_trouble():
    memory = Memory([Turn("flat", vector=np.zeros(80, np.float32))])
    assert memory.recall(np.ones(80, np.float32)) == [Recalled(memory.turns[0], 1.0)]


def test_preferences_are_few_and_short():
    memory = Memory()
    for number in range(100):
        memory.prefer(f"choice {number}", "x" * 10_000)
    assert len(memory.preferences) == MOST_PREFERENCES
    assert max(map(len, memory.preferences.values())) <= 2_000
    memory.prefer("choice 0", "other")
    assert memory.preferences["choice 0"] == "other"
    memory.prefer("choice 0", "")
    assert "choice 0" not in memory.preferences


def _windows(sound: np.ndarray) -> np.ndarray:
    return sound[: len(sound) // vad.WINDOW * vad.WINDOW].reshape(-1, vad.WINDOW)


def _sketch(sound: np.ndarray) -> np.ndarray:
    sketch = Sketch()
    sketch.add(_windows(sound))
    found = sketch.vector()
    assert found is not None
    return found


def test_a_sketch_finds_the_same_words_again_and_not_noise():
    half = len(speech()) // 2
    memory = Memory(
        [
            Turn("first half", vector=_sketch(speech()[:half])),
            Turn("second half", vector=_sketch(speech()[half:])),
            Turn("noise", vector=_sketch(hush(1.0) * 100)),
        ]
    )
    again = _sketch(0.5 * speech()[2_000:half])
    assert memory.recall(again)[0].turn.answer == "first half"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8))
def test_a_sketch_does_not_know_the_pieces(sizes: list[int]):
    windows = _windows(speech())[: sum(sizes)]
    pieces, start = Sketch(), 0
    for size in sizes:
        pieces.add(windows[start : start + size])
        start += size
    if sum(sizes):
        assert pieces.vector() == pytest.approx(_sketch(windows.reshape(-1)), abs=1e-3)
    else:
        assert pieces.vector() is None


def test_a_sketch_of_digital_silence_is_finite():
    assert np.isfinite(_sketch(np.zeros(16_000, np.float32))).all()
