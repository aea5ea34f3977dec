"""One thing at a time that keeps changing."""

from __future__ import annotations

import asyncio

from duplexforge.serving.alarm import Alarm
from tests.unit.serving.conversation_made import timeless


def test_it_rings_at_the_last_time_or_before_and_never_after():
    async def test() -> None:
        loop, rings = asyncio.get_running_loop(), []
        alarm = Alarm(loop, lambda: rings.append(loop.time()))
        alarm.set(5.0)
        alarm.set(2.0)
        alarm.set(9.0)
        alarm.set(None)
        await asyncio.sleep(3.0)
        assert rings == [2.0]
        alarm.set(9.0)
        await asyncio.sleep(7.0)
        assert rings == [2.0, 9.0]

    timeless(test)


def test_when_it_is_off_it_does_not_ring():
    async def test() -> None:
        rings: list[int] = []
        alarm = Alarm(asyncio.get_running_loop(), lambda: rings.append(1))
        alarm.set(1.0)
        alarm.off()
        alarm.off()
        await asyncio.sleep(5.0)
        assert rings == []

    timeless(test)
