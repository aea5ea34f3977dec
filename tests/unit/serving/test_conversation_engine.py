"""A conversation on the real engine, with its thread, and the backend that says back what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from duplexforge.serving.backends.echo import Echo
from duplexforge.serving.conversation import Conversation
from duplexforge.serving.engine import Engine
from duplexforge.serving.events import (
    AnswerBegan,
    AnswerEnded,
    Event,
    Heard,
    Interrupted,
    Sound,
    SpeechBegan,
    SpeechEnded,
)
from duplexforge.serving.packets import pcm16
from duplexforge.serving.session import SessionConfig
from tests.unit.serving.conversation_made import RATE, hush, kinds, speech

PATIENCE = 60.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine(Echo(), max_lag=PATIENCE)
    found.start(3)
    yield found
    found.stop()


async def _until(conversation: Conversation, kind: type[Event], events: list[Event]) -> Event:
    """Read on until an event of that kind; all are added to ``events``."""
    async with asyncio.timeout(PATIENCE):
        async for event in conversation.events():
            events.append(event)
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__} came, but {kinds(events)}")


def _said(events: list[Event], epoch: int = 1) -> bytes:
    return b"".join(one.audio.audio_bytes for one in events if isinstance(one, Sound) and one.epoch == epoch)


def test_what_is_said_comes_back_to_the_sample(engine: Engine):
    async def test() -> None:
        conversation = Conversation(engine, SessionConfig(mode="turn", turns="client"))
        sound = speech()[: RATE // 2]
        for start in range(0, len(sound), 777):
            conversation.hear(sound[start : start + 777], RATE)
        conversation.commit()
        events: list[Event] = []
        ended = await _until(conversation, AnswerEnded, events)
        said = _said(events)
        assert said[: len(sound) * 2] == pcm16(sound)
        assert not any(said[len(sound) * 2 :])
        assert ended == AnswerEnded(1, pytest.approx(len(said) / 2 / RATE), "")
        await conversation.close()

    asyncio.run(test())


def test_a_turn_in_the_middle_of_a_stream_is_found_and_said_back(engine: Engine):
    async def test() -> None:
        conversation = Conversation(engine, SessionConfig(mode="turn"))
        conversation.hear(np.concatenate([hush(1.0), speech(), hush(0.8)]), RATE)
        events: list[Event] = []
        await _until(conversation, AnswerEnded, events)
        told = [name for name in kinds(events) if name not in ("Taken", "Sound")]
        assert told == ["SpeechBegan", "SpeechEnded", "AnswerBegan", "Heard", "AnswerMade", "AnswerEnded"]
        said = np.frombuffer(_said(events), "<i2") / 32768
        # What came before the turn, less its prefix, is forgotten; the speech is all there.
        assert len(speech()) <= len(said) <= len(speech()) + 1.4 * RATE
        spoken = float((speech().astype(np.float64) ** 2).sum())
        assert float((said**2).sum()) == pytest.approx(spoken, rel=0.01)
        await conversation.close()

    asyncio.run(test())


def test_conversations_do_not_hear_each_other(engine: Engine):
    async def test() -> None:
        config = SessionConfig(mode="turn", turns="client", interruption=False)
        talks = [Conversation(engine, config) for _ in range(3)]
        sounds = [np.full(1_280 * 5, (number + 1) / 8, np.float32) for number in range(3)]
        for start in range(0, 6_400, 640):
            for talk, sound in zip(talks, sounds, strict=True):
                talk.hear(sound[start : start + 640], RATE)
        for talk in talks:
            talk.commit()
        for talk, sound in zip(talks, sounds, strict=True):
            events: list[Event] = []
            await _until(talk, AnswerEnded, events)
            assert _said(events) == pcm16(sound)
            await talk.close()
        assert engine.taken == 0

    asyncio.run(test())


def test_a_client_breaks_off_and_nothing_of_the_old_answer_follows(engine: Engine):
    async def test() -> None:
        conversation = Conversation(engine, SessionConfig(turns="client"))
        conversation.hear(np.concatenate([speech(), speech()]), RATE)
        conversation.commit()
        events: list[Event] = []
        reading = asyncio.create_task(_until(conversation, Interrupted, events))
        while not any(isinstance(event, Sound) for event in events):
            await asyncio.sleep(0.01)
        conversation.interrupt(0.1)
        assert await asyncio.wait_for(reading, PATIENCE) == Interrupted(1, 0.1, "", "client")
        await conversation.close()
        assert [kind for kind in kinds(events) if kind not in ("Taken", "Sound", "Heard")] == [
            "AnswerBegan",
            "Interrupted",
        ]

    asyncio.run(test())


def test_every_event_is_one_that_protocols_know(engine: Engine):
    async def test() -> None:
        conversation = Conversation(engine, SessionConfig())
        conversation.hear(np.concatenate([hush(0.5), speech()[:RATE], hush(0.8)]), RATE)
        events: list[Event] = []
        await _until(conversation, Heard, events)
        order = [type(event) for event in events if isinstance(event, SpeechBegan | SpeechEnded | AnswerBegan | Heard)]
        assert order == [SpeechBegan, SpeechEnded, AnswerBegan, Heard]
        heard = events[-1]
        assert isinstance(heard, Heard)
        assert 0.0 <= heard.endpoint <= heard.first
        await conversation.close()

    asyncio.run(test())
