"""What waits for a protocol."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.serving.events import AnswerBegan, Event, Failed, Interrupted, Sound, Words
from duplexforge.serving.outbox import Outbox
from duplexforge.serving.packets import AudioOutput


def _sound(epoch: int = 1, size: int = 100) -> Sound:
    return Sound(epoch, 0.0, AudioOutput(b"\0" * size, 16_000))


async def _all(outbox: Outbox) -> list[Event]:
    found = []
    while (event := await outbox.take()) is not None:
        found.append(event)
    return found


def _run(events: list[Event], **bounds: int) -> tuple[list[Event], list[int]]:
    async def test() -> tuple[list[Event], list[int]]:
        calls: list[int] = []
        outbox = Outbox(lambda: calls.append(1), **bounds)
        for event in events:
            outbox.put(event)
        outbox.close()
        return await _all(outbox), calls

    return asyncio.run(test())


def test_events_come_in_order():
    events = [AnswerBegan(1), Words(1, "a"), _sound(), Words(1, "b")]
    assert _run(events) == (events, [])


@pytest.mark.parametrize("bounds", [{"most_bytes": 250}, {"most_events": 2}])
def test_a_reader_that_falls_behind_loses_nothing_but_the_session(bounds: dict[str, int]):
    sounds: list[Event] = [_sound(), _sound(), _sound(), _sound()]
    found, calls = _run(sounds, **bounds)
    assert found[:-1] == sounds[:2]
    assert isinstance(found[-1], Failed)
    assert (found[-1].code, found[-1].over) == ("slow_reader", True)
    assert calls == [1]


def test_what_is_stale_is_dropped_and_makes_room():
    async def test() -> None:
        outbox = Outbox(lambda: pytest.fail("there is room"), most_bytes=250)
        for event in (AnswerBegan(1), _sound(1), Words(1, "a"), _sound(1)):
            outbox.put(event)
        outbox.drop(1)
        assert outbox.bytes == 0
        outbox.put(Interrupted(1, 0.0, "", "client"))
        outbox.put(_sound(2, 200))
        outbox.close()
        assert await _all(outbox) == [AnswerBegan(1), Interrupted(1, 0.0, "", "client"), _sound(2, 200)]

    asyncio.run(test())


def test_a_reader_waits_for_what_comes():
    async def test() -> None:
        outbox = Outbox(lambda: None)
        reader = asyncio.create_task(_all(outbox))
        for number in range(3):
            await asyncio.sleep(0)
            outbox.put(AnswerBegan(number))
        await asyncio.sleep(0)
        outbox.close()
        assert await reader == [AnswerBegan(0), AnswerBegan(1), AnswerBegan(2)]

    asyncio.run(test())


def test_something_may_go_first():
    async def test() -> None:
        outbox = Outbox(lambda: None)
        outbox.put(AnswerBegan(1))
        outbox.first(AnswerBegan(0))
        assert await outbox.take() == AnswerBegan(0)

    asyncio.run(test())


def test_after_the_end_nothing_comes():
    async def test() -> None:
        outbox = Outbox(lambda: pytest.fail("nobody is slow"))
        outbox.close()
        outbox.put(AnswerBegan(1))
        assert await outbox.take() is None

    asyncio.run(test())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), max_size=30), st.integers(1, 3))
def test_the_count_of_what_waits_is_right(sounds: list[tuple[int, int]], stale: int):
    async def test() -> None:
        outbox = Outbox(lambda: None)
        for epoch, size in sounds:
            outbox.put(_sound(epoch, size))
        outbox.drop(stale)
        assert outbox.bytes == sum(size for epoch, size in sounds if epoch != stale)
        outbox.close()
        await _all(outbox)
        assert outbox.bytes == 0

    asyncio.run(test())
