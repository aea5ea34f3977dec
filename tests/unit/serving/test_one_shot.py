"""``POST /infer_wav``: a recording in, an answer out."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib import error, request

import numpy as np
import pytest
import soundfile
import soxr
import websockets.sync.client as sockets

from duplexforge.serving import wav
from duplexforge.serving.packets import Floats, pcm16
from tests.unit.serving.running import PATIENCE, Running, noise, running

NOVEL = Path(__file__).resolve().parents[3] / "examples/demo/novel.flac"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(sca_slots=1, sca_upload_seconds=4.0, sca_upload_bytes=400_000) as found:
        yield found


@pytest.fixture(scope="module")
def speech() -> Floats:
    """Three seconds of a reading, 16 kHz."""
    samples, rate = soundfile.read(NOVEL, dtype="float32", frames=3 * 24000)
    found: Floats = soxr.resample(samples, rate, 16000).astype(np.float32)
    return found


def send(url: str, data: bytes, query: str = "", *, name: str = "file", **headers: str) -> tuple[int, str, Any]:
    """As curl -F file=@… does it."""
    body = (
        f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n".encode()
        + data
        + b"\r\n--edge--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=edge", **headers}
    try:
        with request.urlopen(request.Request(f"{url}/infer_wav{query}", body, kind), timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode(), refused.headers


def test_a_recording_is_answered(server: Running, speech: Floats) -> None:
    status, body, _ = send(server.url, wav.written(pcm16(speech), 16000), "?prompt=Transcribe%20it.&audio=true")
    answer = json.loads(body)
    assert status == 200, body
    assert (answer["text"], answer["sample_rate"], answer["channels"], answer["seconds"]) == ("", 16000, 1, 3.0)
    with wave.open(io.BytesIO(base64.b64decode(answer["audio"]))) as said:
        assert said.getframerate() == 16000
        # The echo says back what it heard of the turn.
        found = np.frombuffer(said.readframes(said.getnframes()), "<i2") / 2**15
    assert len(found) > 16000
    assert max(np.correlate(found[4000:12000], speech[at : at + 8000])[0] for at in range(0, 24000, 1)) > 0


def test_sound_is_sent_when_it_is_asked_for(server: Running, speech: Floats) -> None:
    assert "audio" not in json.loads(send(server.url, wav.written(pcm16(speech), 16000))[1])


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(8000, 1, "PCM_16"), (48000, 2, "PCM_24"), (44100, 1, "FLOAT")]
)
def test_other_kinds_of_wav_are_taken(server: Running, speech: Floats, rate: int, channels: int, subtype: str) -> None:
    file = io.BytesIO()
    whole = soxr.resample(speech[:16000], 16000, rate)
    soundfile.write(file, np.stack([whole] * channels, 1), rate, subtype=subtype, format="WAV")
    status, body, _ = send(server.url, file.getvalue())
    answer = json.loads(body)
    assert status == 200, body
    assert (answer["sample_rate"], answer["channels"]) == (rate, channels)


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        (b"", 400, "no WAV"),
        (b"ID3 this is an mp3", 400, "no WAV"),
        (wav.written(b"", 16000), 400, "lasts"),
        (wav.written(bytes(2 * 16000 * 5), 16000), 400, "lasts"),
        (wav.written(bytes(200), 100), 400, "100"),
        (wav.written(bytes(500_000), 48000), 413, "bytes"),
    ],
    ids=["nothing", "mp3", "empty", "long", "rate", "large"],
)
def test_what_is_no_recording(server: Running, data: bytes, status: int, word: str) -> None:
    found, body, _ = send(server.url, data)
    assert found == status, body
    assert word in json.loads(body)["error"]
    assert server.service.engine.taken == 0


def test_a_form_without_a_file(server: Running) -> None:
    status, body, _ = send(server.url, b"x", name="other")
    assert status == 422
    assert json.loads(body)["error"].startswith("file: ")


def test_a_prompt_that_is_too_long(server: Running) -> None:
    assert send(server.url, wav.written(bytes(3200), 16000), "?prompt=" + "x" * 20_000)[0] == 422


def test_without_a_slot_it_is_told_to_come_back(server: Running, speech: Floats) -> None:
    with sockets.connect(server.ws + "/ws/me") as client:
        client.recv(PATIENCE)
        status, body, headers = send(server.url, wav.written(pcm16(speech), 16000))
    assert status == 503, body
    assert int(headers["retry-after"]) > 0


def test_an_upload_that_drips_is_given_up(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(
            b"POST /infer_wav HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
        )
        by = time.monotonic() + PATIENCE
        client.settimeout(0.1)
        got = b""
        while not got and time.monotonic() < by:
            try:
                client.sendall(b"x")
                got = client.recv(4096)
            except TimeoutError:
                continue
        assert got.startswith(b"HTTP/1.1 408")


def test_pages_of_others_may_not_use_it(server: Running) -> None:
    data = wav.written(pcm16(noise(0.5)), 16000)
    assert send(server.url, data, Origin="https://evil.example")[0] == 403
