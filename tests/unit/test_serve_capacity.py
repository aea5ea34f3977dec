"""The crowd and the peer of `benchmarks/serve_capacity.py`: what they count is what happened."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import serve_capacity  # noqa: E402
from serve_clients import SIZE, Found, chunks, crowd  # noqa: E402
from serve_peer import Peer  # noqa: E402

CHUNK = json.dumps({"text": "", "chunk_ms": 320.0})


@contextmanager
def listening(session: Callable[[ServerConnection], None]) -> Iterator[str]:
    with serve(session, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def sound(tmp_path: Path) -> list[bytes]:
    np.save(tmp_path / "sound.npy", np.linspace(-2, 2, 3 * SIZE + 5).astype(np.float32))
    return chunks(tmp_path / "sound.npy")


def run(url: str, sound: list[bytes], sessions: int, count: int, tries: int = 0) -> Found:
    return asyncio.run(crowd(url, sound, sessions, count * 0.32, tries))


def test_a_recording_is_cut_in_whole_chunks_and_clipped(sound: list[bytes]) -> None:
    assert [len(one) for one in sound] == [2 * SIZE] * 3
    assert np.frombuffer(sound[0], "<i2")[0] == -32767


def test_the_peer_answers_every_chunk_of_everybody(sound: list[bytes]) -> None:
    with listening(Peer().session) as url:
        found = run(url, sound, sessions=3, count=3)
    assert (len(found.answers), len(found.slips), found.lost, found.closed) == (9, 9, 0, [])
    assert all(one > 0 for one in found.answers)


def test_chunks_without_an_answer_are_lost_and_told(sound: list[bytes]) -> None:
    def deaf(socket: ServerConnection) -> None:
        socket.send(json.dumps({"error": "no"}))
        socket.recv()
        socket.send(CHUNK)

    with listening(deaf) as url:
        found = run(url, sound, sessions=2, count=2)
    assert (len(found.answers), found.lost) == (2, 2)
    assert len([one for one in found.closed if "no" in one]) == 2
    assert len([one for one in found.closed if "ConnectionClosed" in one]) == 2


def test_refusals_are_told_from_being_taken_in(sound: list[bytes]) -> None:
    codes = iter([1000, 1013, 1000])

    def full(socket: ServerConnection) -> None:
        if (code := next(codes)) == 1000:
            socket.recv()
            socket.send(CHUNK)
        else:
            socket.send(json.dumps({"error": "full"}))
        socket.close(code)

    with listening(full) as url:
        found = run(url, sound, sessions=1, count=1, tries=1)
    assert len(found.refusals) == 1
    assert (found.taken_in, found.lost) == (0, 0)


def test_the_table_says_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    def seen(p99: float, cpu: float) -> serve_capacity.Run:
        return serve_capacity.Run(10, 2.0, cpu, np.full(60, p99), 0.001, 0, [0.01], 0, [], [50.0, 60.0])

    mine, theirs = [seen(0.01, 1.0), seen(0.02, 1.0)], [seen(0.02, 3.0), seen(0.06, 3.0)]
    one = serve_capacity.compared(mine, theirs, "p99", "p99")
    assert one.ratio.median == pytest.approx(0.04 / 0.015)
    assert (one.ratio.least, one.ratio.most) == pytest.approx((2.0, 3.0))
    assert serve_capacity.compared(mine, theirs, "cpu", "share").ratio.median == pytest.approx(3.0)
    assert one.checked == "240 chunks answered, 0 lost"
    figures = {figure.name: figure for figure in serve_capacity._figures(mine, base=55.0)}
    assert figures["memory of a session"].value == pytest.approx(0.5)
    assert figures["p99"].value == pytest.approx(15.0)
    assert figures["refusal of one too many, slowest"].met
    assert not figures["taken in beyond capacity"].value
