"""The engine's steps by a clock that stands still: who is in a batch, what is told, what is given up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from duplexforge.serving.backends import Manner
from duplexforge.serving.events import Failed, Lagged, Taken
from duplexforge.serving.measures import Measures
from duplexforge.serving.packets import Outcome, ThoughtPacket
from duplexforge.serving.rounds import Rounds
from duplexforge.serving.seats import Made, Room
from tests.unit.serving.engine_made import SECONDS, Clock, Stub, frame, numbers

Told = list[Made]


class Table:
    """Rounds of a stub, driven by hand in the event loop's own thread."""

    def __init__(self, stub: Stub, slots: int = 3, max_lag: float = 1.0) -> None:
        self.stub, self.clock, self.room = stub, Clock(), Room()
        self.room.furnish(slots)
        self.measures = Measures(stub.facts, slots, self.clock())
        self.rounds = Rounds(stub, self.room, self.measures, max_lag=max_lag, clock=self.clock)
        self.told: dict[int, Told] = {}

    def sit(self, slot: int) -> None:
        told = self.told.setdefault(slot, [])
        with self.room.changed(slot) as seat:
            seat.sink, seat.loop = told.append, asyncio.get_running_loop()
            seat.wish(lambda: self.stub.open(slot, Manner()))

    def push(self, slot: int, number: int) -> None:
        with self.room.changed(slot) as seat:
            seat.take_in(frame(number), SECONDS, self.clock())

    def begin(self, slot: int, ahead: float = math.inf) -> None:
        with self.room.changed(slot) as seat:
            seat.begin(lambda: self.stub.begin(slot), ahead, self.clock())

    def cancel(self, slot: int) -> None:
        with self.room.changed(slot) as seat:
            seat.cancel(lambda: self.stub.cancel(slot))

    async def steps(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.rounds.once()
        # The letters of the last step are handed out when the loop comes round.
        await asyncio.sleep(0)

    def texts(self, slot: int) -> list[str]:
        outcomes = [one for one in self.told[slot] if isinstance(one, Outcome)]
        return [one.thought.text_token_str for one in outcomes if one.audio is not None]


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()

    asyncio.run(whole())


def test_all_that_is_due_is_one_step() -> None:
    async def work() -> None:
        table = Table(Stub())
        for slot in (0, 1, 2):
            table.sit(slot)
        await table.steps()
        table.push(0, 0)
        table.push(2, 0)
        table.begin(1)
        await table.steps()
        assert table.stub.batches == [[0, 1, 2]]
        assert table.texts(1) == ["1:1"]
        assert [one.thought.turn for one in table.told[0] if isinstance(one, Outcome)] == [0.5]

    run(work)


def test_who_sends_much_takes_turns_with_the_others() -> None:
    async def work() -> None:
        table = Table(Stub())
        table.sit(0)
        table.sit(1)
        for number in range(5):
            table.push(0, number)
        table.push(1, 0)
        await table.steps(5)
        assert table.stub.batches == [[0, 1], [0], [0], [0], [0]]
        assert numbers(table.stub.heard[0]) == [0, 1, 2, 3, 4]

    run(work)


def test_an_answer_goes_on_as_far_as_it_may_be_ahead() -> None:
    async def work() -> None:
        table = Table(Stub(pieces=4))
        table.sit(0)
        table.begin(0, ahead=0.1)
        await table.steps(2)
        assert table.texts(0) == ["1:1", "1:2"]
        table.push(0, 0)
        await table.steps()
        assert table.texts(0) == ["1:1", "1:2"]
        table.clock.pass_by(0.07)
        await table.steps()
        assert table.texts(0) == ["1:1", "1:2", "1:3"]
        table.clock.pass_by(5)
        await table.steps()
        assert table.told[0][-1] == Outcome(ThoughtPacket("1:4"), table.told[0][-1].audio, ended=True)  # type: ignore[union-attr]
        assert table.measures.late == 1
        assert table.room.seats[0].answer is None

    run(work)


def test_nothing_of_a_cancelled_answer_is_handed_out_even_when_it_is_on_its_way() -> None:
    async def work() -> None:
        table = Table(Stub())
        table.sit(0)
        await table.steps()
        table.push(0, 0)
        table.begin(0)
        for _ in range(2):
            table.rounds.once()
        table.cancel(0)
        await table.steps()
        # The frame's own outcome belongs to no answer.
        assert table.told[0] == [Outcome(ThoughtPacket(turn=0.5))]
        table.begin(0)
        await table.steps()
        assert table.texts(0) == ["2:1"]

    run(work)


def test_what_a_frame_and_an_answer_made_together_is_cut_down_to_the_frames_part() -> None:
    async def work() -> None:
        both = Outcome(ThoughtPacket("word", turn=0.9))
        table = Table(Stub(doing=lambda given: {slot: [both] for slot in given}))
        table.sit(0)
        table.push(0, 0)
        table.rounds.once()
        table.cancel(0)
        await asyncio.sleep(0)
        assert table.told[0] == [Outcome(ThoughtPacket(turn=0.9))]

    run(work)


def test_who_comes_after_hears_nothing_of_who_was_there_before() -> None:
    async def work() -> None:
        table = Table(Stub())
        table.sit(0)
        table.begin(0)
        table.rounds.once()
        with table.room.changed(0) as seat:
            seat.leave(lambda: table.stub.close(0))
        mine: Told = []
        table.told[0] = mine
        table.sit(0)
        await table.steps()
        assert mine == []
        assert table.stub.calls[-2:] == [("close", 0), ("open", 0, "")]

    run(work)


def test_lag_is_told_counted_and_the_rest_heard() -> None:
    async def work() -> None:
        table = Table(Stub(), max_lag=0.5)
        table.sit(0)
        await table.steps()
        for number in range(10):
            table.push(0, number)
        table.clock.pass_by(0.9)
        await table.steps()
        (lagged,) = (one for one in table.told[0] if isinstance(one, Lagged))
        left = round(lagged.seconds / SECONDS)
        assert left >= 1
        assert table.measures.lagged == pytest.approx(lagged.seconds)
        await table.steps(10 - left - 1)
        assert numbers(table.stub.heard[0]) == list(range(left, 10))

    run(work)


def test_who_wants_to_know_is_told_how_far_the_model_has_heard() -> None:
    async def work() -> None:
        table = Table(Stub())
        for slot in (0, 1):
            table.sit(slot)
        table.room.seats[0].progress = True
        await table.steps()
        for slot in (0, 1):
            for number in range(10):
                table.push(slot, number)
        await table.steps(10)
        assert not [one for one in table.told[1] if isinstance(one, Taken)]
        told = [one for one in table.told[0] if isinstance(one, Taken)]
        # At the first, at least every 0.3 s, and when nothing waits any more.
        assert [one.at for one in told] == pytest.approx([SECONDS * number for number in (1, 5, 9, 10)])
        # What was made of a frame comes before the word that it was heard.
        assert table.told[0].index(told[0]) == 1

    run(work)


def test_an_answer_that_does_not_come_is_given_up_and_told() -> None:
    async def work() -> None:
        table = Table(Stub(doing=lambda _: {}))
        table.sit(0)
        table.begin(0)
        await table.steps()
        # Nothing came: it is asked again, but not at once.
        assert table.room.seats[0].answer is not None
        assert table.room.seats[0].answer.due() > table.clock()
        table.clock.pass_by(31)
        await table.steps()
        failed, ended = table.told[0]
        assert isinstance(failed, Failed)
        assert (failed.code, failed.over) == ("no_answer", False)
        assert ended == Outcome(ended=True)
        assert table.stub.calls[-1] == ("cancel", 0)
        assert table.measures.snapshot(table.clock())["answers_failed"] == 1

    run(work)


def test_a_backend_that_refuses_to_begin_ends_that_answer_alone() -> None:
    async def work() -> None:
        table = Table(Stub(pieces=0))
        table.sit(0)
        table.begin(0)
        await table.steps()
        assert table.told[0] == [Failed("usage", "it says nothing"), Outcome(ended=True)]
        assert table.room.seats[0].answer is None
        table.push(0, 0)
        await table.steps()
        assert numbers(table.stub.heard[0]) == [0]

    run(work)


def test_a_backend_that_decides_speaks_at_frames() -> None:
    async def work() -> None:
        stub = Stub(decides=True)
        table = Table(stub)
        table.sit(0)
        await table.steps()
        stub.left[0] = 2
        table.push(0, 0)
        await table.steps()
        assert table.texts(0) == ["0:2"]

    run(work)


def test_a_sink_that_fails_keeps_nothing_from_the_others() -> None:
    async def work() -> None:
        table = Table(Stub())
        table.sit(0)
        table.sit(1)

        def broken(_: object) -> None:
            raise RuntimeError("no")

        table.room.seats[0].sink = broken
        table.begin(0)
        table.begin(1)
        await table.steps()
        assert table.texts(1) == ["1:1"]

    run(work)


def test_letters_to_a_loop_that_is_closed_are_nobodys() -> None:
    table = Table(Stub())

    async def arrive() -> None:
        table.sit(0)

    asyncio.run(arrive())
    table.begin(0)
    assert table.rounds.once()
    assert table.told[0] == []


def test_a_room_that_closes_ends_the_rounds() -> None:
    table = Table(Stub())
    table.room.stop()
    assert not table.rounds.once()


def test_what_is_counted() -> None:
    async def work() -> None:
        table = Table(Stub())
        table.sit(0)
        table.push(0, 0)
        table.begin(0)
        await table.steps(3)
        found = table.measures.snapshot(table.clock() + 1)
        assert (found["steps"], found["slots"], found["batch_mean"]) == (3, 3, 1.0)
        assert found["heard"] == pytest.approx(SECONDS)
        assert found["said"] == pytest.approx(2 * SECONDS)
        assert found["budget"] == pytest.approx(SECONDS)
        assert all(np.isfinite(value) for value in found.values())

    run(work)
