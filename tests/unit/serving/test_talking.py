"""Whole conversations over the protocols, with speech, a real server and a plain WebSocket client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import websockets.sync.client as sockets

from duplexforge.serving.packets import Floats, pcm16
from tests.unit.serving.running import PATIENCE, Running, running
from tests.unit.serving.test_one_shot import NOVEL

RATE = 16000
PAUSE = np.zeros(RATE, np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def speech() -> Floats:
    """Two seconds of a reading in which nobody pauses long, 16 kHz."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(NOVEL, dtype="float32", frames=3 * 24000)
    found: Floats = soxr.resample(samples, rate, RATE).astype(np.float32)[RATE // 2 : 5 * RATE // 2]
    return found


class Talker:
    """A client of ``/ws/<session>`` as contracts.md describes it."""

    def __init__(self, client: sockets.ClientConnection) -> None:
        self.client = client
        self.told: list[dict[str, Any]] = []

    def say(self, samples: Floats) -> None:
        """In messages of 100 ms, as fast as it goes."""
        for at in range(0, len(samples), 1600):
            audio = base64.b64encode(samples[at : at + 1600].tobytes()).decode()
            self.send(type="audio", audio=audio)

    def send(self, **message: Any) -> None:
        """One message."""
        self.client.send(json.dumps(message))

    def until(self, key: str, value: Any = None) -> dict[str, Any]:
        """The next message that has ``key``, in itself or in its data."""
        while True:
            message: dict[str, Any] = json.loads(self.client.recv(PATIENCE))
            self.told.append(message)
            found = {**message, **message.get("data", {})}
            if key in found and value in (None, found[key]):
                return found

    def audio(self, epoch: int) -> Floats:
        """What was heard of an answer."""
        sounds = [one["audio"] for one in self.told if one["type"] == "audio" and one["epoch"] == epoch]
        return np.frombuffer(b"".join(map(base64.b64decode, sounds)), "<f4")


@pytest.fixture
def talker(server: Running) -> Iterator[Talker]:
    with sockets.connect(server.ws + "/ws/me") as client:
        found = Talker(client)
        found.until("session")
        yield found


@pytest.mark.parametrize("mode", ["stream", "turn"])
def test_a_turn_is_answered_with_sound_and_times(talker: Talker, speech: Floats, mode: str) -> None:
    talker.send(mode=mode, interruption=True, vad_threshold=0.5, chunk_size=100)
    talker.say(speech)
    talker.say(PAUSE)
    assert talker.until("speech")["speech"] == "began"
    assert talker.until("speech")["speech"] == "ended"
    assert talker.until("answer")["epoch"] == 1
    latency = talker.until("latency_ms")
    assert latency["latency_ms"] >= latency["endpoint_ms"] > 0
    made = talker.until("answer", "made")
    ended = talker.until("answer", "ended")
    assert ended["seconds"] == pytest.approx(made["seconds"])
    said = talker.audio(1)
    assert len(said) / 24000 == pytest.approx(ended["seconds"], abs=0.01)
    assert np.abs(said).max() > 0.01


def test_the_users_voice_breaks_an_answer_off_and_nothing_of_it_follows(talker: Talker, speech: Floats) -> None:
    talker.say(speech)
    talker.say(PAUSE)
    talker.until("type", "audio")
    talker.say(speech)
    interrupted = talker.until("interrupted", True)
    assert (interrupted["epoch"], interrupted["by"]) == (1, "voice")
    seen = len(talker.told)
    talker.say(PAUSE)
    talker.until("answer", "ended")
    after = [one for one in talker.told[seen:] if one["type"] == "audio"]
    assert after
    assert {one["epoch"] for one in after} == {2}


def test_the_client_may_break_it_off(talker: Talker, speech: Floats, server: Running) -> None:
    talker.send(interruption=False)
    talker.say(speech)
    talker.say(PAUSE)
    first = talker.until("type", "audio")
    talker.send(type="played", epoch=first["epoch"], seconds=0.1)
    talker.send(type="interrupt", played=0.2)
    interrupted = talker.until("interrupted", True)
    assert (interrupted["by"], interrupted["played"]) == ("client", pytest.approx(0.2))
    assert server.service.statistics()["answers"] >= 1


def test_the_client_may_take_the_turns_itself(talker: Talker, speech: Floats) -> None:
    talker.send(type="config", config={"turns": "client", "output_sample_rate": 16000})
    talker.say(speech)
    talker.send(type="commit")
    assert talker.until("answer", "ended")["seconds"] > 1
    # The echo says back what it heard: somewhere in it is what was said.
    said = talker.audio(1)
    piece = speech[16000:20000]
    alike = np.correlate(said, piece, "valid").max() / np.square(piece).sum()
    assert alike == pytest.approx(1.0, abs=0.05)


def test_every_chunk_is_answered_in_its_turn(server: Running, speech: Floats) -> None:
    data = pcm16(np.concatenate([speech, PAUSE, speech]))
    with sockets.connect(server.ws + "/ws/pcm16") as client:
        client.send('{"prompt": "Answer in one word.", "frames_per_chunk": 2}')
        assert json.loads(client.recv(PATIENCE))["chunk_ms"] == 160.0
        for at in range(0, len(data), 1111):
            client.send(data[at : at + 1111])
        answers = [json.loads(client.recv(PATIENCE)) for _ in range(len(data) // 5120)]
        client.send('{"frame_hz": 25.0}')
        assert json.loads(client.recv(PATIENCE))["info"] == "updated frame_hz"
    assert all(set(one) == {"text", "chunk_ms", "frames_per_chunk", "frame_hz"} for one in answers)


def test_a_client_that_waits_for_each_answer_gets_it(server: Running) -> None:
    with sockets.connect(server.ws + "/ws/pcm16") as client:
        for _ in range(12):
            client.send(bytes(10240))
            assert json.loads(client.recv(PATIENCE))["chunk_ms"] == 320.0


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_the_same_at_another_rate(rate: int) -> None:
    with running(sca_sample_rate=rate) as server, sockets.connect(server.ws + "/ws/pcm16") as client:
        for _ in range(6):
            client.send(bytes(2 * round(rate * 0.32)))
            assert json.loads(client.recv(PATIENCE))["chunk_ms"] == 320.0


def test_sessions_do_not_hear_each_other(server: Running, speech: Floats) -> None:
    with sockets.connect(server.ws + "/ws/a") as one, sockets.connect(server.ws + "/ws/b") as two:
        first, second = Talker(one), Talker(two)
        first.say(speech)
        first.say(PAUSE)
        second.say(PAUSE)
        first.until("type", "audio")
        second.send(type="ping")
        second.until("type", "pong")
        assert {message["type"] for message in second.told} == {"metadata", "pong"}
