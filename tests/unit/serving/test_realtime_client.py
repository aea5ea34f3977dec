"""``/v1/realtime`` as OpenAI's own client sees it: a real server, a real connection, the client as it comes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import websockets.asyncio.client as sockets
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from websockets.exceptions import InvalidStatus

from duplexforge.serving.packets import Floats, pcm16
from duplexforge.serving.protocols.g711 import Law, decoded, encoded
from tests.unit.serving.conversation_made import hush, speech
from tests.unit.serving.realtime_made import checked, floats, kinds, only, unpacked
from tests.unit.serving.running import PATIENCE, Running, noise, running

RATE = 24000
KEY = "canary-key"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(sca_keys=KEY, sca_slots=2) as found:
        yield found


class Talking:
    """OpenAI's connection, and what came of it so far, each event read strictly."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.told: list[dict[str, Any]] = []

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """What comes up to the next event of that name, which is the last one."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while not found or found[-1]["type"] != kind:
                data = await self.connection.recv_bytes()
                event: RealtimeServerEvent = self.connection.parse_event(data)
                found.append(checked(data.decode()))
                assert event.type == found[-1]["type"]
        self.told += found
        return found

    async def says(self, *samples: Floats) -> None:
        """Append sound, a tenth of a second a message."""
        whole = pcm16(np.concatenate(samples))
        for at in range(0, len(whole), RATE // 5):
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(whole[at : at + RATE // 5]).decode())

    async def by_hand(self, **audio: Any) -> None:
        """From now on the client says when a turn is over."""
        given: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None, **audio}}}
        await self.connection.session.update(session=given)
        await self.until("session.updated")


@asynccontextmanager
async def connected(server: Running, key: str = KEY) -> AsyncIterator[Talking]:
    async with (
        AsyncOpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        talking = Talking(connection)
        await talking.until("session.created")
        yield talking


def talk(server: Running, what: Callable[[Talking], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with connected(server) as talking:
            await what(talking)

    asyncio.run(main())


def word() -> Floats:
    """Somebody speaks, for a moment."""
    return speech(RATE)[: RATE * 7 // 10]


def test_a_conversation(server: Running) -> None:
    async def what(talking: Talking) -> None:
        for _ in range(2):
            await talking.says(hush(0.4, RATE), word(), hush(1.2, RATE))
            told = await talking.until("response.done")
            names = kinds(told)
            assert names[:5] == [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
            ]
            assert told[-1]["response"]["status"] == "completed"
            heard = floats(unpacked(told))
            assert len(heard) / RATE > 0.7, "the echo of all of it"
            assert np.abs(heard).max() > 0.5 * np.abs(word()).max()
        assert only(talking.told, "session.created")["session"]["model"] == "echo"

    talk(server, what)


def test_who_goes_on_speaking_is_heard(server: Running) -> None:
    async def what(talking: Talking) -> None:
        await talking.says(hush(0.4, RATE), speech(RATE), hush(0.9, RATE))
        begun = await talking.until("response.output_audio.delta")
        name = only(begun, "response.created")["response"]["id"]
        await talking.says(word())
        told = await talking.until("response.done")
        assert "input_audio_buffer.speech_started" in kinds(told)
        response = told[-1]["response"]
        assert (response["id"], response["status"]) == (name, "cancelled")
        assert response["status_details"]["reason"] == "turn_detected"
        assert len(unpacked(told)) / 2 / RATE < 2.0, "it was longer than that"
        item = response["output"][0]["id"]
        await talking.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=100)
        assert (await talking.until("conversation.item.truncated"))[-1]["audio_end_ms"] == 100
        await talking.says(hush(1.2, RATE))
        assert (await talking.until("response.done"))[-1]["response"]["status"] == "completed"

    talk(server, what)


def test_turns_of_the_client(server: Running) -> None:
    async def what(talking: Talking) -> None:
        await talking.by_hand()
        samples = noise(0.8, RATE)
        await talking.says(samples)
        await talking.connection.input_audio_buffer.commit()
        told = await talking.until("conversation.item.done")
        assert "response.created" not in kinds(told)
        await talking.connection.response.create(response={"metadata": {"number": "1"}})
        told = await talking.until("response.done")
        assert told[-1]["response"]["metadata"] == {"number": "1"}
        assert len(floats(unpacked(told))) >= len(samples)
        await talking.connection.conversation.item.delete(item_id=told[-1]["response"]["output"][0]["id"])
        await talking.until("conversation.item.deleted")

    talk(server, what)


@pytest.mark.parametrize(("kind", "law"), [("audio/pcmu", "mu"), ("audio/pcma", "a")])
def test_a_telephone(server: Running, kind: str, law: Law) -> None:
    async def what(talking: Talking) -> None:
        form: Any = {"type": kind}
        given: Any = {
            "type": "realtime",
            "audio": {"input": {"turn_detection": None, "format": form}, "output": {"format": form}},
        }
        await talking.connection.session.update(session=given)
        assert (await talking.until("session.updated"))[-1]["session"]["audio"]["output"]["format"] == form
        tone = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000).astype(np.float32) / 2
        await talking.connection.input_audio_buffer.append(audio=base64.b64encode(encoded(tone, law)).decode())
        await talking.connection.input_audio_buffer.commit()
        await talking.connection.response.create()
        heard = decoded(unpacked(await talking.until("response.done")), law)
        assert len(heard) >= 8000
        spectrum = np.abs(np.fft.rfft(heard[:8000] * np.hanning(8000)))
        assert abs(int(spectrum.argmax()) - 440) <= 1
        assert 0.4 < np.abs(heard[1000:7000]).max() < 0.6

    talk(server, what)


def test_an_answer_is_cancelled_and_truncated(server: Running) -> None:
    async def what(talking: Talking) -> None:
        await talking.by_hand()
        await talking.says(noise(5.0, RATE))
        await talking.connection.input_audio_buffer.commit()
        await talking.connection.response.create()
        await talking.until("response.output_audio.delta")
        item = only(talking.told, "response.output_item.added")["item"]["id"]
        await talking.connection.response.cancel()
        response = (await talking.until("response.done"))[-1]["response"]
        assert (response["status"], response["status_details"]["reason"]) == ("cancelled", "client_cancelled")
        await talking.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=40)
        await talking.until("conversation.item.truncated")
        await talking.connection.conversation.item.retrieve(item_id=item)
        assert (await talking.until("conversation.item.retrieved"))[-1]["item"]["status"] == "incomplete"
        await talking.connection.response.cancel(event_id="late")
        assert (await talking.until("error"))[-1]["error"]["event_id"] == "late"

    talk(server, what)


def test_to_truncate_an_answer_that_goes_on_ends_it(server: Running) -> None:
    async def what(talking: Talking) -> None:
        await talking.by_hand()
        await talking.says(noise(5.0, RATE))
        await talking.connection.response.create()
        told = await talking.until("response.output_audio.delta")
        item = only(told, "response.output_item.added")["item"]["id"]
        await talking.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=50)
        told = await talking.until("response.done")
        assert told[-1]["response"]["status"] == "cancelled"
        assert only(told, "conversation.item.truncated")["item_id"] == item

    talk(server, what)


def test_what_is_wrong_ends_nothing(server: Running) -> None:
    async def what(talking: Talking) -> None:
        wrong: Any = {"type": "session.explode", "event_id": "e1"}
        await talking.connection.send(wrong)
        assert (await talking.until("error"))[-1]["error"]["event_id"] == "e1"
        voice: Any = {"type": "realtime", "tools": [{"type": "function", "name": "weather"}]}
        await talking.connection.session.update(session=voice, event_id="e2")
        error = (await talking.until("error"))[-1]["error"]
        assert (error["event_id"], error["code"]) == ("e2", "unsupported")
        await talking.connection.input_audio_buffer.append(audio="%%%")
        assert (await talking.until("error"))[-1]["error"]["code"] == "invalid_audio"
        await talking.connection.input_audio_buffer.clear()
        await talking.until("input_audio_buffer.cleared")

    talk(server, what)


def test_a_key_is_needed(server: Running) -> None:
    async def main() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(server, key="wrong"):
                pass
        assert refused.value.response.status_code == 401

    asyncio.run(main())


def test_one_too_many_is_told_so(server: Running) -> None:
    async def main() -> None:
        async with connected(server), connected(server):
            headers = {"Authorization": f"Bearer {KEY}"}
            async with sockets.connect(server.ws + "/v1/realtime", additional_headers=headers) as third:
                assert checked(str(await third.recv()))["error"]["code"] == "full"
                await third.wait_closed()
                assert third.close_code == 1013

    asyncio.run(main())


def test_the_beta_by_its_header(server: Running) -> None:
    async def main() -> None:
        headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "realtime=v1"}
        async with sockets.connect(
            server.ws + "/v1/realtime?model=gpt-4o-realtime", additional_headers=headers
        ) as line:
            await line.send(json.dumps({"type": "session.update", "session": {"turn_detection": None}}))
            sound = base64.b64encode(pcm16(noise(0.4, RATE))).decode()
            await line.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
            await line.send(json.dumps({"type": "input_audio_buffer.commit"}))
            await line.send(json.dumps({"type": "response.create"}))
            told: list[dict[str, Any]] = []
            async with asyncio.timeout(PATIENCE):
                while not told or told[-1]["type"] != "response.done":
                    told.append(checked(str(await line.recv()), beta=True))
        assert kinds(told)[:3] == ["session.created", "conversation.created", "session.updated"]
        assert {"conversation.item.created", "response.audio.delta", "response.audio_transcript.done"} <= set(
            kinds(told)
        )
        assert len(unpacked(told)) >= 2 * 0.4 * RATE

    asyncio.run(main())


def test_a_browser_shows_its_key_as_a_subprotocol(server: Running) -> None:
    async def main() -> None:
        offered: Any = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with sockets.connect(server.ws + "/v1/realtime", subprotocols=offered) as line:
            assert line.subprotocol == "realtime"
            assert checked(str(await line.recv()))["type"] == "session.created"

    asyncio.run(main())
