"""``/ws/pcm16``: bytes in, one message a chunk out."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.serving.backends import Facts
from duplexforge.serving.events import Failed, Interrupted, Taken, Words
from duplexforge.serving.packets import pcm16
from duplexforge.serving.protocols.pcm16 import Pcm16
from tests.unit.serving.running import noise, settings
from tests.unit.serving.session_made import FACTS, MadeSession

WANTED = settings()


class Client:
    """One client, and a model that has heard all whole frames at once."""

    def __init__(self, facts: Facts = FACTS, **changes: Any) -> None:
        self.session = MadeSession(facts)
        self.dialect = Pcm16(self.session, settings(**changes) if changes else WANTED)

    def send(self, message: str | bytes) -> list[dict[str, Any]]:
        """What is answered at once."""
        return [json.loads(one) for one in self.dialect.take(message)]

    def hear(self) -> list[dict[str, Any]]:
        """What is answered when the model has taken all whole frames in; a resampler holds some of it back."""
        facts = self.session.facts
        rate = next(iter(self.session.rates), facts.hears)
        seconds = len(self.session.samples) / rate - (0 if rate == facts.hears else 0.115)
        frame = facts.frame / facts.hears
        return [json.loads(one) for one in self.dialect.tell(Taken(int(seconds / frame + 1e-9) * frame))]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)]


@trying(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 10**6), max_size=12), st.integers(0, 40_001))
def test_however_it_is_cut_the_same_is_heard_and_answered(places: list[int], size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    client = Client()
    answers = []
    for piece in cut(data, places):
        answers += client.send(piece) + client.hear()
    heard = np.frombuffer(data[: size // 2 * 2], "<i2") / 2**15
    np.testing.assert_array_equal(client.session.samples, heard.astype(np.float32))
    assert len(answers) == size // 2 // 5120
    assert all(one == {"text": "", "chunk_ms": 320.0, "frames_per_chunk": 4, "frame_hz": 12.5} for one in answers)


@trying(deadline=None, max_examples=50)
@given(
    st.sampled_from([8000, 16000, 24000, 44100, 48000]),
    st.integers(1, 12),
    st.sampled_from([1.0, 7.3, 12.5, 25.0, 50.0, 100.0]),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
)
def test_each_chunk_is_answered_once_at_any_rate_and_size(
    rate: int, frames: int, frame_hz: float, pieces: list[int]
) -> None:
    client = Client(sca_sample_rate=rate, sca_frames_per_chunk=frames, sca_frame_hz=frame_hz)
    answers = []
    for piece in pieces:
        answers += client.send(bytes(2 * piece)) + client.hear()
    assert len(answers) == sum(pieces) // round(rate * frames / frame_hz)
    assert client.session.rates == {rate}


def test_a_chunk_is_answered_when_the_model_has_heard_it_and_not_before() -> None:
    client = Client()
    assert client.send(pcm16(noise(0.64))) == []
    assert list(client.dialect.tell(Taken(0.24))) == []
    list(client.dialect.tell(Words(1, "one")))
    (first,) = client.dialect.tell(Taken(0.32))
    list(client.dialect.tell(Words(1, " two")))
    list(client.dialect.tell(Words(1, " three")))
    (second,) = client.dialect.tell(Taken(0.64))
    assert [json.loads(first)["text"], json.loads(second)["text"]] == ["one", " two three"]


def test_overrides_hold_from_then_on() -> None:
    client = Client()
    assert client.send('{"frames_per_chunk": 6}') == [
        {"info": "updated frames_per_chunk", "value": 6, "chunk_ms": 480.0, "frames_per_chunk": 6, "frame_hz": 12.5}
    ]
    (hz,) = client.send('{"frame_hz": 25}')
    assert (hz["value"], hz["chunk_ms"]) == (25, 240.0)
    assert len(client.send('{"frames_per_chunk": 4, "frame_hz": 12.5, "prompt": "Transcribe the audio."}')) == 2
    assert client.session.config.manner.prompt == "Transcribe the audio."
    assert client.send('{"prompt": ""}') == []
    assert client.session.config.manner.prompt == ""
    client.send(bytes(10240))
    assert [one["chunk_ms"] for one in client.hear()] == [320.0]


def test_a_chunk_keeps_the_size_that_held_when_it_came() -> None:
    client = Client()
    client.send(bytes(10240))
    client.send('{"frames_per_chunk": 8}')
    client.send(bytes(20480))
    assert [one["frames_per_chunk"] for one in client.hear()] == [4, 8]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"frames_per_chunk": 0}', "frames_per_chunk must be a positive integer"),
        ('{"frames_per_chunk": -3}', "frames_per_chunk must be a positive integer"),
        ('{"frames_per_chunk": 1.5}', "frames_per_chunk must be a positive integer"),
        ('{"frames_per_chunk": "6"}', "frames_per_chunk must be a positive integer"),
        ('{"frames_per_chunk": true}', "frames_per_chunk must be a positive integer"),
        ('{"frames_per_chunk": 100000}', "frames_per_chunk must be a positive integer"),
        ('{"frame_hz": 0}', "frame_hz must be a positive number"),
        ('{"frame_hz": -1}', "frame_hz must be a positive number"),
        ('{"frame_hz": 1e400}', "frame_hz must be a positive number"),
        ('{"frame_hz": NaN}', "NaN"),
        ('{"frame_hz": 1000}', "a chunk lasts"),
        ('{"frame_hz": 0.01}', "a chunk lasts"),
        ('{"prompt": 5}', "prompt"),
        ('{"prompt": "' + "x" * 20_000 + '"}', "prompt"),
        ('{"speed": 2}', "speed: there is no such key"),
        ("hello", "invalid JSON"),
        ('{"frame_hz": 25, "frames_per_chunk": 0}', "frames_per_chunk"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_wrong_is_named_and_changes_nothing(text: str, word: str) -> None:
    client = Client()
    with pytest.raises(InputError, match=word):
        client.send(text)
    client.send(bytes(10240))
    assert [one["chunk_ms"] for one in client.hear()] == [320.0]


def test_an_answer_that_was_broken_off_is_not_told() -> None:
    client = Client()
    client.send(bytes(10240))
    list(client.dialect.tell(Words(1, "stale")))
    list(client.dialect.tell(Interrupted(1, 0.0, "", "voice")))
    assert [one["text"] for one in client.hear()] == [""]


def test_text_that_nobody_fetches_is_bounded() -> None:
    client = Client()
    for _ in range(100):
        list(client.dialect.tell(Words(1, "x" * 10_000)))
    client.send(bytes(10240))
    assert len(client.hear()[0]["text"]) == 65536


def test_failures_are_told() -> None:
    client = Client()
    (told,) = client.dialect.tell(Failed("no_answer", "the model said nothing"))
    assert json.loads(told) == {"error": "the model said nothing"}
    assert json.loads(client.dialect.complain(InputError("bad"))) == {"error": "bad"}
