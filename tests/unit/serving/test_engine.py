"""The engine with its real thread: slots, order, threads, ends."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Mapping

import pytest

from duplexforge.errors import ModelError, UsageError
from duplexforge.serving.backends import Given, Manner
from duplexforge.serving.engine import Engine
from duplexforge.serving.events import Failed
from duplexforge.serving.limits import Full
from duplexforge.serving.packets import Outcome
from duplexforge.serving.seats import Made
from tests.unit.serving.engine_made import Stub, frame, numbers

Told = list[Made]


def run(stub: Stub, work: Callable[[Engine], Awaitable[None]], slots: int = 2) -> Engine:
    engine = Engine(stub)

    async def whole() -> None:
        await asyncio.to_thread(engine.start, slots)
        try:
            await asyncio.wait_for(work(engine), 20)
        finally:
            await asyncio.to_thread(engine.stop)

    asyncio.run(whole())
    return engine


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.002)


def ended(told: Told) -> bool:
    return any(isinstance(one, Outcome) and one.ended for one in told)


def test_a_conversation_from_its_frames_to_the_end_of_its_answer() -> None:
    async def work(engine: Engine) -> None:
        told: Told = []
        threads = set[int]()

        def sink(what: Made) -> None:
            threads.add(threading.get_ident())
            told.append(what)

        slot = engine.take()
        engine.open(slot, Manner(speaker="b"), sink)
        for number in range(3):
            engine.push(slot, frame(number))
        engine.attend(slot, 0.1)
        engine.begin(slot, math.inf)
        await until(lambda: ended(told))
        assert [one.thought.text_token_str for one in told if isinstance(one, Outcome) and one.audio] == [
            "1:1",
            "1:2",
            "1:3",
        ]
        assert threads == {threading.get_ident()}
        assert stub.threads.isdisjoint(threads)
        assert len(stub.threads) == 1
        engine.give_back(slot)
        await until(lambda: ("close", slot) in stub.calls)

    stub = Stub()
    run(stub, work)
    assert stub.calls == [("load", 2), ("open", 0, "b"), ("attend", 0, 0.1), ("begin", 0, 3), ("close", 0)]
    assert numbers(stub.heard[0]) == [0, 1, 2]


def test_over_capacity_is_refused_at_once_and_a_slot_given_back_is_free() -> None:
    async def work(engine: Engine) -> None:
        assert engine.ready
        first, second = engine.take(), engine.take()
        assert engine.taken == 2
        with pytest.raises(Full, match="every slot is taken") as error:
            engine.take()
        assert error.value.after
        engine.give_back(second)
        assert engine.take() == second
        engine.give_back(first)
        assert engine.statistics()["slots_taken"] == 1

    run(Stub(), work)


def test_who_drains_keeps_those_who_are_there() -> None:
    async def work(engine: Engine) -> None:
        told: Told = []
        slot = engine.take()
        engine.open(slot, Manner(), told.append)
        engine.drain()
        assert engine.alive
        assert not engine.ready
        with pytest.raises(Full, match="stopping"):
            engine.take()
        engine.begin(slot, math.inf)
        await until(lambda: ended(told))

    run(Stub(), work)


def test_stopping_is_told_to_who_is_left() -> None:
    told: Told = []

    async def work(engine: Engine) -> None:
        engine.open(engine.take(), Manner(), told.append)
        await asyncio.to_thread(engine.stop)
        await until(lambda: bool(told))

    engine = run(Stub(), work)
    assert told == [Failed("stopping", "the server is stopping", over=True)]
    assert not engine.alive
    assert not engine.ready


def test_a_broken_model_ends_every_conversation_and_does_not_look_alive() -> None:
    async def work(engine: Engine) -> None:
        tolds: list[Told] = [[], []]
        for told in tolds:
            engine.open(engine.take(), Manner(), told.append)
        engine.push(0, frame(0))
        await until(lambda: all(tolds))
        for told in tolds:
            (failed,) = told
            assert isinstance(failed, Failed)
            assert (failed.code, failed.over) == ("model_failed", True)
        await until(lambda: not engine.alive)
        assert not engine.ready
        with pytest.raises(ModelError, match="does not work"):
            engine.take()

    def fails(_: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        raise RuntimeError("a matrix is singular")

    run(Stub(doing=fails), work)


def test_what_loading_raises_is_raised_by_start() -> None:
    class Without(Stub):
        def load(self, slots: int) -> None:
            raise ModelError("there are no weights")

    engine = Engine(Without())
    with pytest.raises(ModelError, match="no weights"):
        engine.start(1)
    assert not engine.ready
    assert engine.statistics() == {}
    with pytest.raises(ModelError):
        engine.take()
    engine.stop()
    engine.stop()


def test_a_manner_that_makes_no_sense_is_refused_at_once() -> None:
    async def work(engine: Engine) -> None:
        slot = engine.take()
        with pytest.raises(UsageError, match="there is no voice c; there are a, b"):
            engine.open(slot, Manner(speaker="c"), print)
        engine.open(slot, Manner(), print)
        with pytest.raises(UsageError, match="rate"):
            engine.manner(slot, Manner(rate=9))
        engine.manner(slot, Manner(speaker="a"))
        await until(lambda: ("manner", slot, "a") in stub.calls)

    stub = Stub()
    run(stub, work)
    assert [call for call in stub.calls if call[0] == "manner"] == [("manner", 0, "a")]


def test_a_manner_that_the_backend_alone_can_refuse_is_told() -> None:
    async def work(engine: Engine) -> None:
        told: Told = []
        slot = engine.take()
        engine.open(slot, Manner(), told.append)
        engine.manner(slot, Manner(prompt="refuse"))
        await until(lambda: bool(told))
        assert told == [Failed("usage", "it has no such manner")]

    run(Stub(), work)


def test_while_nothing_is_due_nothing_is_done() -> None:
    async def work(engine: Engine) -> None:
        told: Told = []
        slot = engine.take()
        engine.open(slot, Manner(), told.append)
        engine.push(slot, frame(0))
        engine.begin(slot, 0.0)
        await until(lambda: ended(told))
        steps = len(stub.batches)
        # The frame and the three pieces; a fourth step would be one for nothing.
        assert steps <= 5
        await asyncio.sleep(0.2)
        assert len(stub.batches) == steps

    stub = Stub()
    run(stub, work)


def test_frames_wait_and_are_counted_while_the_model_is_busy() -> None:
    gate = threading.Event()

    def waits(given: Mapping[int, Given]) -> dict[int, list[Outcome]]:
        gate.wait(10)
        return {}

    async def work(engine: Engine) -> None:
        slot = engine.take()
        engine.open(slot, Manner(), print)
        engine.push(slot, frame(0))
        await until(lambda: bool(stub.batches))
        for number in range(1, 4):
            engine.push(slot, frame(number))
        assert engine.waiting(slot) == pytest.approx(3 * 0.08)
        gate.set()
        await until(lambda: engine.waiting(slot) == 0)

    stub = Stub(doing=waits)
    run(stub, work)
