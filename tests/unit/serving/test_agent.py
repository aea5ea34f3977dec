"""``/ws/<session>``: what its messages do, and what is told."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.serving import events
from duplexforge.serving.packets import AudioOutput, Floats, pcm16
from duplexforge.serving.protocols.agent import Agent
from tests.unit.serving.running import noise, settings
from tests.unit.serving.session_made import FACTS, MadeSession

WANTED = settings()


class Client:
    """One client."""

    def __init__(self, **facts: Any) -> None:
        self.session = MadeSession(replace(FACTS, **facts))
        self.dialect = Agent(self.session, WANTED)

    def send(self, **message: Any) -> list[dict[str, Any]]:
        """What is answered at once."""
        return [json.loads(one) for one in self.dialect.take(json.dumps(message))]

    def told(self, *happened: events.Event) -> list[dict[str, Any]]:
        """What it is told."""
        return [json.loads(one) for event in happened for one in self.dialect.tell(event)]


def packed(samples: Floats) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def unpacked(messages: list[dict[str, Any]]) -> Floats:
    sounds = [np.frombuffer(base64.b64decode(one["audio"]), "<f4") for one in messages if one["type"] == "audio"]
    return np.concatenate([np.zeros(0, np.float32), *sounds])


def sound(epoch: int, samples: Floats, start: float = 0.0, rate: int = 16000) -> events.Sound:
    return events.Sound(epoch, start, AudioOutput(pcm16(samples), rate))


def test_the_greeting_says_who_is_there() -> None:
    (told,) = (json.loads(one) for one in Client().dialect.greet())
    assert told["type"] == "metadata"
    assert told["data"]["session"] == "made"
    assert told["data"]["rates"] == {"input": 16000, "output": 24000}
    assert told["data"]["speakers"] == ["male_young", "female_young"]
    assert told["data"]["config"]["mode"] == "stream"


def test_sound_is_heard_as_it_was_sent() -> None:
    client, samples = Client(), noise(1.0)
    client.send(type="audio", audio=packed(samples[:100]))
    client.send(type="audio", audio=packed(samples[100:]), sample_rate=48000)
    np.testing.assert_array_equal(client.session.samples, samples)
    assert client.session.rates == {16000, 48000}


@pytest.mark.parametrize(
    "first",
    [
        {"mode": "turn", "interruption": False, "vad_threshold": 0.3, "chunk_size": 100, "session_id": "me"},
        {"type": "config", "config": {"mode": "turn", "interruption": False, "vad_threshold": 0.3}},
        {"type": "config", "mode": "turn", "interruption": False, "vad_threshold": 0.3},
    ],
)
def test_the_first_message_may_be_the_settings(first: dict[str, Any]) -> None:
    client = Client()
    (told,) = client.send(**first)
    config = client.session.config
    assert (config.mode, config.interruption, config.vad_threshold) == ("turn", False, 0.3)
    assert told["data"]["config"]["mode"] == "turn"


def test_settings_add_up() -> None:
    client = Client()
    client.send(speaker="Priya", emotion="happy", pitch=1.2)
    client.send(type="config", config={"blend": 0.5, "other": 0, "silence": 0.4, "prompt": "Be brief."})
    config = client.session.config
    manner = config.manner
    assert (manner.speaker, manner.emotion, manner.pitch, manner.other) == ("female_young", "happy", 1.2, "male_young")
    assert (manner.prompt, config.silence) == ("Be brief.", 0.4)


def test_a_backend_with_voices_of_its_own_is_asked_for_them() -> None:
    client = Client(speakers=())
    client.send(speaker="anybody")
    assert client.session.config.manner.speaker == "anybody"


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"type": "shout"}, "no such type"),
        ({"type": "audio"}, "audio: is missing"),
        ({"type": "audio", "audio": "###"}, "base64"),
        ({"type": "audio", "audio": "AAAA"}, "left over"),
        ({"type": "audio", "audio": 5}, "audio"),
        ({"type": "audio", "audio": "", "sample_rate": 1}, "sample_rate"),
        ({"type": "config", "config": {"mode": "shout"}}, "mode"),
        ({"type": "config", "config": {"chunk_size": 0}}, "chunk_size"),
        ({"type": "config", "config": {"colour": 1}}, "colour: there is no such key"),
        ({"type": "config", "config": 5}, "config"),
        ({"type": "config", "config": {}, "mode": "turn"}, "mode: there is no such key"),
        ({"type": "played", "epoch": 1}, "seconds: is missing"),
        ({"type": "played", "epoch": 1, "seconds": -1}, "seconds"),
        ({"type": "played", "epoch": 1.5, "seconds": 1}, "epoch"),
        ({"type": "interrupt", "played": "x"}, "played"),
        ({"mode": "turn"}, "type"),
        ({"type": 5}, "type"),
        ({"type": "commit"}, "nothing was heard"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(message: dict[str, Any], word: str) -> None:
    client = Client()
    client.send(type="ping")
    before = client.session.config
    with pytest.raises(InputError, match=word):
        client.send(**message)
    assert client.session.config == before


def test_a_voice_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="Lakshmi"):
        Client().send(speaker="nobody")


def test_binary_is_refused() -> None:
    with pytest.raises(InputError, match="base64"):
        Client().dialect.take(b"\0\0")


def test_commands_reach_the_session() -> None:
    client = Client()
    client.send(type="audio", audio=packed(noise(0.1)))
    client.send(type="interrupt")
    client.send(type="interrupt", played=1.5)
    client.send(type="played", epoch=3, seconds=0.25)
    client.send(type="commit")
    client.send(type="clear")
    client.send(type="respond")
    assert client.session.calls == [
        ("interrupt", None),
        ("interrupt", 1.5),
        ("played", 3, 0.25),
        ("commit",),
        ("clear",),
        ("respond", None),
    ]
    (pong,) = client.send(type="ping", id=9)
    assert (pong["type"], pong["id"]) == ("pong", 9)


def test_events_are_told_in_their_words() -> None:
    client = Client()
    told = client.told(
        events.SpeechBegan(1.0),
        events.SpeechEnded(2.0, 0.6),
        events.AnswerBegan(1),
        events.Heard(1, 0.6, 0.7),
        events.Words(1, "Hello"),
        events.Ducked(1),
        events.Resumed(1),
        events.Interrupted(1, 0.5, "Hel", "voice"),
        events.Lagged(0.2),
        events.AnswerEnded(2, 1.5, "Whole"),
        events.Failed("slow", "too slow"),
        events.Taken(1.0),
    )
    for one in told:
        one.pop("timestamp", None)
    assert told == [
        {"type": "metadata", "data": {"speech": "began", "at": 1.0}},
        {"type": "metadata", "data": {"speech": "ended", "at": 2.0, "after": 0.6}},
        {"type": "metadata", "data": {"answer": "began", "epoch": 1}},
        {"type": "latency", "latency_ms": 700.0, "endpoint_ms": 600.0, "epoch": 1},
        {"type": "metadata", "data": {"text": "Hello", "epoch": 1}},
        {"type": "metadata", "data": {"ducked": True, "epoch": 1}},
        {"type": "metadata", "data": {"resumed": True, "epoch": 1}},
        {
            "type": "metadata",
            "data": {"interrupted": True, "played": 0.5, "text": "Hel", "by": "voice", "epoch": 1},
            "interrupted": True,
        },
        {"type": "metadata", "data": {"lagged": 0.2}},
        {"type": "metadata", "data": {"answer": "ended", "text": "Whole", "seconds": 1.5, "epoch": 2}},
        {"type": "error", "code": "slow", "error": "too slow"},
    ]


@trying(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    st.sampled_from([16000, 24000, 48000]),
    st.sampled_from([None, 20, 100]),
)
def test_an_answer_comes_whole_at_any_rate_and_in_any_pieces(pieces: list[int], rate: int, chunk: int | None) -> None:
    client = Client()
    client.send(output_sample_rate=rate, **({"chunk_size": chunk} if chunk else {}))
    told = []
    for number in pieces:
        told += client.told(sound(1, np.full(number, 0.25, np.float32)))
    told += client.told(events.AnswerMade(1, 1.0), events.AnswerEnded(1, 1.0, ""))
    sounds = [one for one in told if one["type"] == "audio"]
    whole = unpacked(told)
    assert abs(len(whole) - sum(pieces) * rate / 16000) <= 2
    starts = np.cumsum([0, *(len(unpacked([one])) for one in sounds)])[:-1] / rate
    np.testing.assert_allclose([one["start"] for one in sounds], starts, atol=1e-5)
    assert {one["sample_rate"] for one in sounds} <= {rate}
    if chunk:
        assert all(len(unpacked([one])) == chunk * rate // 1000 for one in sounds[:-1])


def test_nothing_of_a_broken_answer_follows_in_the_next() -> None:
    client = Client()
    client.send(chunk_size=100, output_sample_rate=16000)
    client.told(sound(1, np.full(1500, 0.5, np.float32)), events.Interrupted(1, 0.0, "", "voice"))
    told = client.told(sound(2, np.full(1600, 0.25, np.float32)), events.AnswerEnded(1, 0.0, ""))
    np.testing.assert_allclose(unpacked(told), 0.25, atol=1e-3)
    assert [one["epoch"] for one in told if one["type"] == "audio"] == [2]
