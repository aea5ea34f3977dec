"""A conversation's memory as it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from duplexforge.errors import UsageError
from duplexforge.serving.answer import Answer
from duplexforge.serving.backends import Facts, Manner
from duplexforge.serving.context import Sketch
from duplexforge.serving.keeping import recall
from duplexforge.serving.remembering import Remembering
from duplexforge.serving.session import SessionConfig
from tests.unit.serving.conversation_made import speech

FACTS = Facts("made", "none", 16_000, 1_280, 16_000, speakers=("a", "b"), emotions=("neutral", "happy"))
READS = Facts("made", "none", 16_000, 1_280, 0, reads=True)
WINDOWS = speech()[:16_384].reshape(-1, 512)
OTHER = speech()[16_384:32_768].reshape(-1, 512)


def _turn(memory: Remembering, windows: np.ndarray, text: str) -> None:
    memory.hear(windows)
    memory.ask(Manner(), FACTS)
    memory.add(text, 1.0, broken=False, manner=Manner("b", emotion="happy"), at=3.0)


def test_a_turn_is_remembered_with_how_it_sounded():
    memory = Remembering(None, "anna", "")
    _turn(memory, WINDOWS, "hello")
    (turn,) = memory.memory.turns
    assert (turn.answer, turn.voice, turn.emotion, turn.began, turn.seconds) == ("hello", "b", "happy", 3.0, 1.0)
    sketch = Sketch()
    sketch.add(WINDOWS)
    assert np.array_equal(turn.vector, sketch.vector())


def test_turns_like_the_present_one_are_found():
    memory = Remembering(None, "anna", "")
    _turn(memory, WINDOWS, "first")
    _turn(memory, OTHER, "second")
    memory.hear(WINDOWS * 0.5)
    memory.ask(Manner(), FACTS)
    assert memory.like_now()[0].turn.answer == "first"
    assert Remembering(None, "anna", "").like_now() == []


def test_hidden_states_count_more_than_the_sound():
    memory = Remembering(None, "anna", "")
    memory.hear(WINDOWS)
    memory.think(np.full(8, 1.0))
    memory.think(np.full(8, 3.0))
    memory.ask(Manner(), FACTS)
    memory.add("x", 1.0, broken=False, manner=Manner(), at=0.0)
    assert np.array_equal(memory.memory.turns[0].vector, np.full(8, 2.0, np.float32))


@pytest.mark.parametrize("hidden", [None, "text", np.zeros((2, 2)), np.zeros(0), np.full(4, np.nan), np.zeros(9_999)])
def test_what_is_no_vector_is_left_aside(hidden: object):
    memory = Remembering(None, "anna", "")
    memory.think(hidden)
    memory.ask(Manner(), FACTS)
    memory.add("x", 1.0, broken=False, manner=Manner(), at=0.0)
    assert memory.memory.turns[0].vector is None


def test_hidden_states_of_another_length_begin_anew():
    memory = Remembering(None, "anna", "")
    memory.think(np.ones(4))
    memory.think(np.full(6, 5.0))
    memory.ask(Manner(), FACTS)
    memory.add("x", 1.0, broken=False, manner=Manner(), at=0.0)
    assert np.array_equal(memory.memory.turns[0].vector, np.full(6, 5.0, np.float32))


def test_a_turn_that_was_cleared_is_not_found():
    memory = Remembering(None, "anna", "")
    memory.hear(WINDOWS)
    memory.clear()
    memory.ask(Manner(), FACTS)
    memory.add("x", 1.0, broken=False, manner=Manner(), at=0.0)
    assert memory.memory.turns[0].vector is None


def test_less_was_heard_than_was_thought():
    memory = Remembering(None, "anna", "")
    _turn(memory, WINDOWS, "one two three four")
    answer = Answer(1)
    answer.words("one two three four")
    answer.sound(4.0)
    memory.correct(answer, 9.0)
    assert memory.memory.turns[0].answer == "one two three four"
    memory.correct(answer, 2.0)
    assert (memory.memory.turns[0].answer, memory.memory.turns[0].seconds) == ("one two", 2.0)
    assert memory.memory.turns[0].broken
    Remembering(None, "anna", "").correct(answer, 1.0)


def _kept(folder: Path, text: str) -> None:
    """A conversation of one turn is over."""

    async def talk() -> None:
        memory = Remembering(folder, "anna", "monday")
        _turn(memory, WINDOWS, text)
        memory.prefer(SessionConfig(manner=Manner("b", emotion="happy")))
        await memory.keep()

    asyncio.run(talk())


def test_each_turn_is_kept_as_soon_as_it_is_over(tmp_path: Path):
    async def talk() -> None:
        memory = Remembering(tmp_path, "anna", "monday")
        for number in range(12):
            _turn(memory, WINDOWS, f"answer {number}")
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while (found := recall(tmp_path, "anna", "monday")) is None or len(found.turns) < 10:
                await asyncio.sleep(0.01)
        await memory.keep()
        assert recall(tmp_path, "anna", "monday").turns == memory.memory.turns

    asyncio.run(talk())


def test_what_was_kept_comes_back(tmp_path: Path):
    _kept(tmp_path, "hello")
    again = Remembering(tmp_path, "anna", "monday")
    assert [turn.answer for turn in again.memory.turns] == ["hello"]
    assert again.preferred(SessionConfig(), FACTS).manner == Manner("b", emotion="happy")
    assert again.preferred(SessionConfig(manner=Manner("a")), FACTS).manner.speaker == "a"


def test_what_the_backend_has_not_is_not_preferred(tmp_path: Path):
    memory = Remembering(tmp_path, "anna", "monday")
    memory.prefer(SessionConfig(manner=Manner("gone", emotion="happy")))
    assert memory.preferred(SessionConfig(), FACTS).manner == Manner(emotion="happy")
    assert memory.preferred(SessionConfig(manner=Manner(accent="mild")), FACTS).manner == Manner(accent="mild")


def test_nothing_new_is_not_written(tmp_path: Path):
    asyncio.run(Remembering(tmp_path / "never", "anna", "monday").keep())
    assert not (tmp_path / "never").exists()


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    memory = Remembering(None, "anna", "monday")
    _turn(memory, WINDOWS, "hello")
    asyncio.run(memory.keep())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_costs_the_memory_and_not_the_conversation(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    _kept(tmp_path / "file", "hello")
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_bad_name_is_refused_before_anything_happens(tmp_path: Path):
    with pytest.raises(UsageError):
        Remembering(tmp_path, "anna", "../up")


def test_a_model_that_reads_is_told_what_was_said_in_turns_like_this_one(tmp_path: Path):
    _kept(tmp_path, "The market opens at nine.")
    again = Remembering(tmp_path, "anna", "monday")
    again.hear(WINDOWS)
    told = again.ask(Manner(prompt="Be kind."), READS).prompt
    assert told.startswith("Be kind.\n")
    assert "The market opens at nine." in told


def test_of_this_conversation_the_model_remembers_by_itself():
    memory = Remembering(None, "anna", "")
    _turn(memory, WINDOWS, "hello")
    memory.hear(WINDOWS)
    manner = Manner(prompt="Be kind.")
    assert memory.ask(manner, READS) is manner
