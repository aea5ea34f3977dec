"""Who has the floor, on a clock that a test moves."""

from __future__ import annotations

import dataclasses
import math

import pytest

from duplexforge.serving.actions import Action, Attend, Broken, Made, Whole
from duplexforge.serving.events import AnswerBegan, Ducked, Resumed, SpeechBegan, SpeechEnded
from duplexforge.serving.session import SessionConfig
from duplexforge.serving.turns import Turns

WINDOW = 0.032


class Floor:
    """One conversation in real time: what the user says, window by window, and what follows."""

    def __init__(self, decides: bool = False, **config: object) -> None:
        # Times of these tests' own: the rules are tried, not the defaults.
        given = {"sure": 0.9, "sure_silence": 0.16, "confirm": 0.24} | config
        self.turns = Turns(SessionConfig(**given), decides=decides)  # type: ignore[arg-type]
        self.now, self.at = 1000.0, 0.0
        self.actions: list[Action] = []

    def user(self, seconds: float, probability: float) -> list[Action]:
        """The user's sound goes on for so long; what follows."""
        before = len(self.actions)
        for _ in range(round(seconds / WINDOW)):
            self.at += WINDOW
            self.pass_by(WINDOW)
            if self.turns.watches:
                self.actions += self.turns.voice(probability, self.at, self.now)
            self.turns.heard(self.at, self.now)
        return self.actions[before:]

    def says(self, seconds: float) -> list[Action]:
        return self.user(seconds, 0.95)

    def silent(self, seconds: float) -> list[Action]:
        return self.user(seconds, 0.02)

    def pass_by(self, seconds: float) -> list[Action]:
        """Time passes, and whatever is due happens at its time."""
        before, end = len(self.actions), self.now + seconds
        while (due := self.turns.due()) is not None and due <= end:
            self.now = max(due, self.now)
            self.actions += self.turns.tick(self.now)
        self.now = end
        return self.actions[before:]

    def answers(self, seconds: float, *, finished: bool = False) -> list[Action]:
        """The model says so much, and it goes out at once."""
        assert self.turns.live is not None
        before = len(self.actions)
        self.turns.made(seconds, self.now)
        self.turns.handed(self.turns.live, seconds, self.now)
        if finished:
            self.actions += self.turns.finished(self.now)
        return self.actions[before:]

    def answering(self, seconds: float = 3.0) -> Floor:
        """The user has asked, and an answer goes on."""
        self.says(1.0)
        self.silent(1.0)
        self.answers(seconds)
        self.actions.clear()
        return self


def kinds(actions: list[Action]) -> list[str]:
    return [type(one).__name__ for one in actions]


def test_a_turn_begins_where_the_first_voice_was_and_ends_after_silence():
    floor = Floor()
    floor.silent(0.64)
    began, attend = floor.says(0.96)
    assert began == SpeechBegan(pytest.approx(0.64))
    assert attend == Attend(pytest.approx(0.34))
    ended, answer = floor.silent(0.7)
    assert ended == SpeechEnded(pytest.approx(1.6), pytest.approx(0.608))
    assert answer == AnswerBegan(1)


def test_the_prefix_does_not_reach_before_the_stream():
    assert Floor().says(0.32)[1] == Attend(0.0)


def test_a_click_is_no_turn():
    floor = Floor()
    for _ in range(20):
        assert floor.says(WINDOW * 2) == []
        assert floor.silent(0.2) == []


def test_a_pause_within_a_sentence_ends_nothing():
    floor = Floor()
    floor.says(0.5)
    assert floor.silent(0.5) == []
    assert floor.says(0.5) == []
    assert kinds(floor.silent(0.7)) == ["SpeechEnded", "AnswerBegan"]


def test_a_model_that_is_sure_ends_the_turn_within_200_ms():
    floor = Floor()
    floor.says(1.0)
    floor.silent(0.128)
    assert floor.turns.thinks(0.95, floor.now) == []
    ended, answer = floor.silent(WINDOW)
    assert ended.after <= 0.2
    assert answer == AnswerBegan(1)


def test_by_default_a_sure_model_and_an_interruption_take_less_than_200_ms():
    usual = SessionConfig()
    # Voice is told window by window: what is asked for is rounded up to whole ones.
    assert math.ceil(usual.sure_silence / WINDOW - 1e-9) * WINDOW <= 0.2
    assert math.ceil(usual.confirm / WINDOW - 1e-9) * WINDOW - WINDOW < 0.2


def test_the_model_may_say_so_after_the_silence():
    floor = Floor()
    floor.says(1.0)
    floor.silent(0.256)
    assert floor.turns.thinks(0.89, floor.now) == []
    assert kinds(floor.turns.thinks(0.9, floor.now)) == ["SpeechEnded", "AnswerBegan"]


def test_what_the_model_thought_before_the_user_went_on_does_not_count():
    floor = Floor()
    floor.says(0.5)
    floor.silent(0.1)
    floor.turns.thinks(0.99, floor.now)
    floor.says(0.2)
    assert floor.silent(0.5) == []


def test_a_model_that_is_sure_in_the_middle_of_a_word_is_not_heard():
    floor = Floor()
    floor.says(0.5)
    assert floor.turns.thinks(1.0, floor.now) == []
    assert floor.says(0.5) == []


def test_without_answers_a_turn_only_ends():
    floor = Floor(answers=False)
    floor.says(1.0)
    assert kinds(floor.silent(1.0)) == ["SpeechEnded"]
    assert floor.turns.respond(floor.now) == [AnswerBegan(1)]


def test_who_stops_sending_has_finished():
    floor = Floor()
    floor.says(1.0)
    assert floor.pass_by(1.9) == []
    ended, answer = floor.pass_by(0.2)
    assert isinstance(ended, SpeechEnded)
    assert ended.after == pytest.approx(2.0)
    assert answer == AnswerBegan(1)


# -- interruption ---------------------------------------------------------------------------------------------------------


def test_voice_ducks_an_answer_at_once_and_breaks_it_off_when_it_lasts():
    floor = Floor().answering()
    floor.silent(0.96)
    since = floor.at
    assert floor.says(WINDOW * 2) == [Ducked(1)]
    began, broken, attend = floor.says(0.192)
    assert began == SpeechBegan(pytest.approx(since))
    assert (broken.epoch, broken.by) == (1, "voice")
    assert attend == Attend(pytest.approx(since - 0.3))
    assert floor.turns.counts.interruptions == 1


def test_it_is_broken_off_at_what_was_played_by_the_clock():
    floor = Floor().answering()
    floor.silent(0.96)
    assert floor.says(0.256)[2].played == pytest.approx(0.96 + 0.256)


def test_it_is_broken_off_at_the_end_of_what_was_handed_out():
    floor = Floor().answering(1.0)
    floor.silent(2.56)
    assert floor.says(0.256)[2].played == pytest.approx(1.0)


def test_it_is_broken_off_at_what_the_client_has_played():
    floor = Floor().answering()
    floor.silent(0.96)
    floor.turns.played(1, 0.77, floor.now)
    assert floor.says(0.256)[2].played == pytest.approx(0.77)


def test_a_cough_is_a_false_alarm_and_the_answer_goes_on():
    floor = Floor().answering()
    assert floor.says(0.128) == [Ducked(1)]
    assert floor.silent(0.256) == [Resumed(1)]
    assert floor.turns.live == 1
    assert (floor.turns.counts.false_alarms, floor.turns.counts.interruptions) == (1, 0)


def test_a_client_that_falls_silent_while_ducked_is_a_false_alarm():
    floor = Floor().answering(20.0)
    floor.says(0.128)
    assert floor.pass_by(0.9) == []
    assert floor.pass_by(0.2) == [Resumed(1)]


def test_the_answer_may_end_while_it_is_ducked_and_the_user_goes_on():
    floor = Floor().answering(0.5)
    floor.turns.finished(floor.now)
    floor.actions.clear()
    assert floor.says(0.128) == [Ducked(1)]
    assert floor.pass_by(0.6) == [Whole(1)]
    assert kinds(floor.says(WINDOW)) == ["SpeechBegan", "Attend"]


def test_the_user_who_goes_on_right_after_a_hasty_answer_is_still_in_the_same_turn():
    floor = Floor()
    floor.says(0.5)
    floor.silent(0.7)
    assert floor.turns.live == 1
    assert kinds(floor.says(0.256)) == ["Ducked", "SpeechBegan", "Broken"]


@pytest.mark.parametrize("config", [{"interruption": False}, {"mode": "turn"}])
def test_without_interruption_the_users_voice_changes_nothing(config: dict[str, object]):
    floor = Floor(**config).answering()
    assert floor.says(2.0) == []
    assert floor.turns.live == 1


def test_who_spoke_through_an_answer_begins_a_turn_when_it_is_over():
    floor = Floor(interruption=False).answering(0.5)
    floor.says(0.3)
    floor.turns.finished(floor.now)
    floor.pass_by(1.0)
    since = floor.at
    floor.actions.clear()
    began = floor.says(0.3)[0]
    assert began == SpeechBegan(pytest.approx(since))


@pytest.mark.parametrize("change", [{"interruption": False}, {"interruption": False, "turns": "client"}])
def test_interruption_can_be_switched_off_while_ducked(change: dict[str, object]):
    floor = Floor().answering()
    floor.says(0.096)
    config = dataclasses.replace(floor.turns.config, **change)
    assert floor.turns.configure(config) == [Resumed(1)]
    assert floor.says(0.5) == []


def test_stop_and_duck_times_are_counted_from_the_first_voice():
    floor = Floor().answering()
    floor.says(0.5)
    assert list(floor.turns.counts.ducks) == [pytest.approx(WINDOW)]
    assert list(floor.turns.counts.stops) == [pytest.approx(0.256 - WINDOW)]


# -- the client ---------------------------------------------------------------------------------------------------------


def test_the_client_breaks_off_at_what_it_says():
    floor = Floor().answering()
    assert floor.turns.interrupt(0.4, floor.now) == [Broken(1, 0.4, "client")]
    assert floor.turns.interrupt(0.4, floor.now) == []
    assert floor.turns.counts.stopped == 1


def test_with_the_clients_turns_the_server_says_nothing_about_speech():
    floor = Floor(turns="client")
    assert floor.says(1.0) == []
    assert floor.silent(3.0) == []
    assert floor.turns.commit(floor.now) == [AnswerBegan(1), Attend(pytest.approx(floor.at))]


def test_with_the_clients_turns_voice_still_breaks_off():
    floor = Floor(turns="client")
    floor.says(1.0)
    floor.turns.commit(floor.now)
    floor.answers(3.0)
    floor.silent(1.0)
    assert kinds(floor.says(0.5)) == ["Ducked", "Broken", "Attend"]


def test_nobody_listens_for_voice_that_nobody_asks_for():
    assert not Floor(turns="client", interruption=False).turns.watches
    assert not Floor(turns="client", mode="turn").turns.watches
    assert Floor(turns="client").turns.watches
    assert Floor(interruption=False).turns.watches


def test_an_empty_turn_is_told():
    floor = Floor(turns="client", interruption=False)
    assert floor.turns.empty
    floor.says(0.1)
    assert not floor.turns.empty
    floor.turns.commit(floor.now)
    assert floor.turns.empty


def test_committing_in_the_middle_of_speech_ends_the_servers_turn():
    floor = Floor()
    floor.says(1.0)
    assert kinds(floor.turns.commit(floor.now)) == ["SpeechEnded", "AnswerBegan"]
    assert floor.turns.counts.turns == 1


def test_a_new_answer_breaks_off_the_old_one():
    floor = Floor().answering()
    broken, began = floor.turns.respond(floor.now)
    assert (broken.epoch, broken.by, began) == (1, "turn", AnswerBegan(2))


def test_clearing_ends_the_turn_without_an_answer():
    floor = Floor()
    floor.says(1.0)
    assert kinds(floor.turns.clear()) == ["SpeechEnded", "Attend"]
    assert floor.silent(2.0) == []
    assert floor.turns.empty is False
    assert floor.turns.after is None


def test_an_answer_to_nothing_has_no_latency():
    floor = Floor()
    floor.turns.respond(floor.now)
    assert floor.turns.after is None


def test_latency_counts_from_the_last_voice_that_arrived():
    floor = Floor()
    floor.says(0.96)
    spoke = floor.now
    floor.silent(1.0)
    assert floor.turns.after == pytest.approx(spoke)


def test_to_leave_the_turns_to_the_client_closes_the_open_one():
    floor = Floor()
    floor.says(0.5)
    assert kinds(floor.turns.configure(SessionConfig(turns="client"))) == ["SpeechEnded"]
    assert floor.turns.configure(SessionConfig(turns="client")) == []


# -- the answer's end ---------------------------------------------------------------------------------------------------


def test_in_a_stream_an_answer_is_over_when_it_was_played():
    floor = Floor().answering(2.0)
    begun = floor.now
    assert floor.turns.finished(floor.now) == [Made(1)]
    assert floor.turns.finished(floor.now) == []
    assert not floor.turns.open
    assert floor.pass_by(1.9) == []
    assert floor.pass_by(0.2) == [Whole(1)]
    assert floor.now == pytest.approx(begun + 2.1)


def test_or_when_the_client_says_so():
    floor = Floor().answering(2.0)
    floor.turns.finished(floor.now)
    assert floor.turns.played(1, 1.0, floor.now) == []
    assert floor.turns.played(1, 2.0, floor.now) == [Whole(1)]


def test_in_turns_it_is_over_when_it_was_made():
    floor = Floor(mode="turn").answering(2.0)
    assert floor.turns.finished(floor.now) == [Made(1), Whole(1)]


def test_reports_of_another_answer_are_left_aside():
    floor = Floor().answering(2.0)
    floor.turns.finished(floor.now)
    assert floor.turns.played(7, 2.0, floor.now) == []
    assert floor.turns.live == 1


def test_an_answer_that_says_nothing_is_over():
    floor = Floor()
    floor.turns.respond(floor.now)
    assert floor.turns.finished(floor.now) == [Made(1), Whole(1)]


def test_the_end_of_the_conversation_ends_its_answer():
    floor = Floor().answering()
    assert floor.turns.end() == [Whole(1)]
    assert floor.turns.end() == []


# -- models that decide by themselves -------------------------------------------------------------------------------------


def test_a_model_that_decides_is_not_told_to_begin():
    floor = Floor(decides=True)
    floor.says(1.0)
    assert kinds(floor.silent(1.0)) == ["SpeechEnded"]
    assert floor.turns.speaks(floor.now) == [AnswerBegan(1)]


def test_its_answer_is_over_after_silence():
    floor = Floor(decides=True)
    floor.turns.speaks(floor.now)
    floor.answers(0.5)
    assert floor.pass_by(0.55) == []
    assert floor.pass_by(0.1) == [Made(1), Whole(1)]


def test_when_it_speaks_the_users_turn_is_over():
    floor = Floor(decides=True)
    floor.says(1.0)
    assert kinds(floor.turns.speaks(floor.now)) == ["SpeechEnded", "AnswerBegan"]


def test_when_it_was_asked_and_says_nothing_the_answer_ends():
    floor = Floor(decides=True)
    floor.turns.respond(floor.now)
    assert floor.pass_by(9.0) == []
    assert floor.pass_by(1.1) == [Made(1), Whole(1)]


def test_when_it_goes_on_after_its_end_that_is_a_new_answer():
    floor = Floor(decides=True)
    floor.turns.speaks(floor.now)
    floor.answers(0.5)
    floor.turns.finished(floor.now)
    assert floor.turns.speaks(floor.now) == [Whole(1), AnswerBegan(2)]
