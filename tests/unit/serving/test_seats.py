"""What waits in a slot: in order, nothing lost uncounted, one frame a step; and when an answer may go on."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from duplexforge.serving.packets import Outcome
from duplexforge.serving.seats import MOST_WAITING, Answer, Next, Room, Seat
from tests.unit.serving.engine_made import SECONDS, frame, numbers, sound


def nothing() -> None:
    """A call of no backend."""


def heard(found: Next) -> list[int]:
    return numbers([found.given.frame]) if found.given and found.given.frame else []


def taken(seat: Seat, now: float = 0.0) -> list[int]:
    """The frames that come out until the row is empty."""
    found = []
    while not seat.idle:
        found += heard(seat.next(now, False))
    return found


def filled(frames: int, now: float = 0.0) -> Seat:
    seat = Seat(0)
    for number in range(frames):
        seat.take_in(frame(number), SECONDS, now)
    return seat


def test_frames_come_out_in_order_one_at_a_time() -> None:
    seat = filled(3)
    assert seat.waiting == pytest.approx(3 * SECONDS)
    assert taken(seat) == [0, 1, 2]
    assert seat.waiting == 0
    assert seat.idle


def test_an_answer_begins_behind_the_frames_that_were_there() -> None:
    seat = filled(2)
    seat.begin(nothing, math.inf, 0.0)
    seat.take_in(frame(2), SECONDS, 0.0)
    first, second, third = (seat.next(0.0, False) for _ in range(3))
    assert [heard(one) for one in (first, second, third)] == [[0], [1], [2]]
    assert [one.given.speak for one in (first, second, third) if one.given] == [False, False, True]
    assert [call for call, _ in third.calls] == [nothing]
    assert seat.answer is third.calls[0][1]


def test_what_is_cancelled_before_it_began_never_begins() -> None:
    seat = filled(1)
    seat.begin(nothing, math.inf, 0.0)
    stop = partial(nothing)
    seat.cancel(stop)
    first = seat.next(0.0, False)
    # The frame was heard all the same, and the backend is told first.
    assert first.calls == [(stop, None)]
    assert heard(first) == [0]
    assert seat.answer is None
    assert seat.idle


def test_a_second_beginning_takes_the_place_of_the_first() -> None:
    seat = filled(0)
    seat.begin(nothing, math.inf, 0.0)
    epoch = seat.epoch
    seat.begin(nothing, 0.5, 0.0)
    found = seat.next(0.0, False)
    assert len(found.calls) == 1
    assert seat.answer is not None
    assert (seat.answer.ahead, seat.answer.epoch) == (0.5, epoch + 1)


def test_a_backend_that_decides_may_speak_at_each_frame_and_only_then() -> None:
    seat = filled(1)
    found = seat.next(0.0, True)
    assert found.given is not None
    assert found.given.speak
    assert seat.next(0.0, True).given is None


def test_who_leaves_leaves_nothing_behind() -> None:
    seat = filled(2)
    seat.begin(nothing, math.inf, 0.0)
    seat.leave(nothing)
    assert seat.waiting == 0
    assert seat.next(0.0, False) == Next([(nothing, None)], None)


# -- lag ---------------------------------------------------------------------------------------------------------------


def test_a_frame_that_waits_too_long_goes_and_its_followers_down_to_half() -> None:
    seat = Seat(0)
    for number in range(10):
        seat.take_in(frame(number), SECONDS, number * SECONDS)
    assert seat.late(9 * SECONDS, 1.0) == 0
    # At 1.2 s the frames of up to 0.7 s have waited longer than half a second.
    assert seat.late(1.2, 1.0) == pytest.approx(9 * SECONDS)
    assert taken(seat) == [9]
    assert seat.waiting == pytest.approx(0)


def test_a_beginning_stays_when_the_frames_before_it_go() -> None:
    seat = filled(1)
    seat.begin(nothing, math.inf, 0.0)
    assert seat.late(9.0, 1.0) == pytest.approx(SECONDS)
    assert [call for call, _ in seat.next(9.0, False).calls] == [nothing]


def test_what_comes_faster_than_one_speaks_is_not_late() -> None:
    seat = filled(100)
    # All came at once, and 8 s of sound are not late as long as the model is ahead of the one who speaks them.
    assert seat.late(1.0, 1.0) == 0
    assert seat.late(1.1, 1.0) > 0


def test_there_is_an_end_to_what_may_wait() -> None:
    most = round(MOST_WAITING / SECONDS)
    seat = filled(most + 5)
    assert seat.waiting <= MOST_WAITING + 1e-6
    assert seat.late(0.0, 1.0) == pytest.approx(5 * SECONDS)
    assert seat.late(0.0, 1.0) == 0
    assert taken(seat) == list(range(5, most + 5))


class Row(RuleBasedStateMachine):
    """A seat against a plain list: what goes in comes out, or is counted as left out."""

    def __init__(self) -> None:
        super().__init__()
        self.seat, self.now = Seat(0), 0.0
        self.pushed, self.waits = 0, list[int]()
        self.begins, self.epochs = 0, list[int]()

    @rule()
    def push(self) -> None:
        self.seat.take_in(frame(self.pushed), SECONDS, self.now)
        self.waits.append(self.pushed)
        self.pushed += 1

    @rule(seconds=st.floats(0, 0.7))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        self.seat.begin(nothing, math.inf, self.now)
        self.epochs.append(self.seat.epoch)

    @rule()
    def cancel(self) -> None:
        self.seat.cancel(nothing)
        assert self.seat.answer is None

    @rule()
    def lag(self) -> None:
        gone = round(self.seat.late(self.now, 0.5) / SECONDS)
        self.waits = self.waits[gone:]

    @rule()
    def step(self) -> None:
        found = self.seat.next(self.now, False)
        assert heard(found) == self.waits[:1]
        self.waits = self.waits[1:]
        begun = [answer for _, answer in found.calls if answer]
        assert len(begun) <= 1
        # Only the newest answer may begin, and it speaks at once.
        if begun:
            assert begun[0].epoch == self.seat.epoch == max(self.epochs)
            assert found.given is not None
            assert found.given.speak

    @invariant()
    def adds_up(self) -> None:
        assert self.seat.waiting == pytest.approx(len(self.waits) * SECONDS, abs=1e-6)
        assert self.epochs == sorted(set(self.epochs))


Row.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRow = Row.TestCase


# -- pace --------------------------------------------------------------------------------------------------------------


def piece(seconds: float = SECONDS) -> list[Outcome]:
    return [Outcome(audio=sound(seconds))]


def test_the_first_sound_is_due_at_once_and_the_next_when_its_lead_is_used_up() -> None:
    answer = Answer(1, ahead=0.1, begun=5.0)
    assert answer.due() <= 5.0
    answer.made(piece(), 6.0)
    # 80 ms are said, 100 ms may be ahead: the next is due 20 ms before the first sound is heard, that is at once.
    assert answer.due() == pytest.approx(6.0 + 0.08 - 0.1)
    answer.made(piece(), 6.0)
    assert answer.due() == pytest.approx(6.06)


def test_steps_without_sound_yet_are_due_at_once_but_nobody_is_asked_without_pause() -> None:
    answer = Answer(1, ahead=0.1, begun=5.0)
    answer.made([Outcome()], 5.0)
    assert answer.due() <= 5.0
    answer.made(None, 5.0)
    assert answer.due() > 5.0
    assert answer.silent(7.0) == pytest.approx(2.0)


def test_late_sound_is_told_and_its_lead_made_up() -> None:
    answer = Answer(1, ahead=0.1, begun=0.0)
    assert not answer.made(piece(), 0.0)
    assert not answer.made(piece(), 0.07)
    assert answer.made(piece(), 0.5)
    assert answer.due() < 0.5


@settings(max_examples=50, deadline=None)
@given(ahead=st.floats(0, 2), cost=st.floats(0.001, 0.07), pieces=st.integers(1, 60))
def test_sound_is_never_further_ahead_than_allowed_nor_late_when_steps_are_quick(
    ahead: float, cost: float, pieces: int
) -> None:
    answer, now = Answer(1, ahead, 0.0), 0.0
    for _ in range(pieces):
        # With no lead allowed a step begins when its sound is due, so it comes late by what the step takes.
        now = max(now, answer.due()) + cost
        late = answer.made(piece(), now)
        assert answer.started is not None
        assert answer.produced - (now - answer.started) <= ahead + SECONDS + 1e-6
        assert not late or ahead < cost


def test_in_turn_mode_an_answer_never_waits() -> None:
    answer = Answer(1, math.inf, 0.0)
    for _ in range(5):
        answer.made(piece(10.0), 1.0)
        assert answer.due() <= 1.0


# -- the room ----------------------------------------------------------------------------------------------------------


def test_a_changed_seat_is_looked_at() -> None:
    room = Room()
    room.furnish(3)
    with room.changed(1) as seat:
        assert seat is room.seats[1]
    assert list(room.busy) == [1]
    assert sorted(room.free) == [0, 1, 2]
    room.stop()
    assert room.stopping
