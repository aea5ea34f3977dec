"""Turns against a clock that is read, not waited for."""

from __future__ import annotations

import numpy as np
import pytest

from duplexforge.errors import InputError
from duplexforge.latency import turn
from duplexforge.models.s2s.features import FRAME
from duplexforge.models.s2s.vocabulary import PAD
from tests.unit.latency.made import SPOKEN, Ticking, scripted

CHUNK = SPOKEN.chunk * FRAME


def sound(chunks: float) -> turn.Wave:
    return np.full(round(chunks * CHUNK), 0.1, np.float32)


def test_an_answers_clock_starts_with_the_last_chunk() -> None:
    found = turn.whole(scripted(), sound(3), Ticking())
    # Two readings a chunk: the last chunk is handed in at 5, and known at 6. Three readings a step.
    assert found.times["hear"] == [1000.0] * 3
    assert found.times["first_text"] == [1000 * (8 - 5)]
    assert found.times["first_audio"] == [1000 * (9 + 3 * SPOKEN.wait - 5)]
    assert found.times["say"][0] == 1000
    assert found.times["speak"][0] == 2000
    assert found.text == "1 2"
    assert found.ended


def test_every_frame_is_counted_and_made_sound() -> None:
    found = turn.whole(scripted(frames=4), sound(1), Ticking())
    assert found.seconds == pytest.approx(4 * 0.04)
    assert len(found.times["say"]) == len(found.times["speak"]) == 4 + SPOKEN.wait
    assert found.times["answer"] == [1000 * (3 + 3 * len(found.times["say"]) - 1)]
    assert found.times["answer_rtf"] == pytest.approx([sum(found.times["speak"]) / 160])
    assert found.times["hear_rtf"] == pytest.approx([1 / 0.08])


def test_a_part_of_a_chunk_is_filled_up() -> None:
    model = scripted()
    assert len(turn.whole(model, sound(1.2), Ticking()).times["hear"]) == 2
    assert model.steps.heard[0] == 2 * SPOKEN.chunk


def test_text_that_comes_late_is_timed_when_it_comes() -> None:
    found = turn.whole(scripted(pieces=(PAD, PAD, 7)), sound(1), Ticking())
    assert found.times["first_text"] == [1000 * (4 + 3 * 2 - 1)]


def test_an_answer_without_text_has_no_first_token() -> None:
    found = turn.whole(scripted(pieces=(PAD,)), sound(1), Ticking())
    assert "first_text" not in found.times
    assert found.text == ""


def test_an_answer_that_never_ends_is_cut_and_told() -> None:
    found = turn.whole(scripted(frames=10 * SPOKEN.steps), sound(1), Ticking())
    assert not found.ended
    assert len(found.times["say"]) == SPOKEN.steps


def test_the_first_round_is_left_out_and_each_starts_afresh() -> None:
    model, clock = scripted(), Ticking()
    found = turn.rounds(model, sound(1), 3, clock)
    assert len(found) == 3
    assert found[0].times == found[2].times
    # The warm-up took its share of the clock all the same.
    assert clock.now == 4 * (2 + 3 * len(found[0].times["say"]) + 1)


def test_no_sound_is_no_question() -> None:
    with pytest.raises(InputError, match="no sound"):
        turn.whole(scripted(), np.zeros(0, np.float32), Ticking())


def test_rounds_differ_in_their_chance_alone() -> None:
    found = turn.rounds(scripted(), sound(1), 2, Ticking())
    assert found[0].text == found[1].text == "1 2"
    assert [one.times["say"] for one in found] == [[1000.0] * (3 + SPOKEN.wait)] * 2
