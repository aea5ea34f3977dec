"""People who talk to a server in real time over WebSockets, and what they wait for: a process of its own, see serve_capacity.py.

Each sends chunks of 320 ms to ``/ws/pcm16`` when they have been spoken, and notes when the JSON of each comes. Prints one JSON
object: seconds of every answer, how late it was itself in sending, what was lost, how long one too many waited to be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE = 16_000
CHUNK = 0.32
SIZE = int(RATE * CHUNK)
_GRACE = 5.0
"""Seconds that the last answers may take."""


@dataclass
class Found:
    """What all of them saw."""

    answers: list[float] = field(default_factory=list)
    slips: list[float] = field(default_factory=list)
    lost: int = 0
    closed: list[str] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    taken_in: int = 0
    """Of those that were to be refused."""


def chunks(path: Path) -> list[bytes]:
    """The recording at ``path`` (float32 of 16 kHz) in chunks of PCM16."""
    wave = np.load(path)
    whole = wave[: len(wave) // SIZE * SIZE].reshape(-1, SIZE)
    return [(one.clip(-1, 1) * 32767).astype("<i2").tobytes() for one in whole]


async def talk(
    socket: ClientConnection, sound: list[bytes], start: float, count: int, found: Found, *, number: int
) -> None:
    """One of them: ``count`` chunks from ``start`` on."""
    sent: list[float] = []
    told: list[float] = []
    reader = asyncio.create_task(_read(socket, sent, told, count, found))
    try:
        for turn in range(count):
            due = start + turn * CHUNK
            await asyncio.sleep(max(due - time.monotonic(), 0))
            now = time.monotonic()
            found.slips.append(now - due)
            sent.append(now)
            # Everybody is somewhere else in the recording, or all would begin to speak at once.
            await socket.send(sound[(turn + 7 * number) % len(sound)])
        await asyncio.wait_for(reader, _GRACE)
    except (TimeoutError, ConnectionClosed) as error:
        found.closed.append(f"{type(error).__name__}: {error}")
    finally:
        reader.cancel()
        found.answers += told
        found.lost += count - len(told)


async def _read(socket: ClientConnection, sent: list[float], told: list[float], count: int, found: Found) -> None:
    while len(told) < count:
        message = json.loads(await socket.recv())
        now = time.monotonic()
        if "chunk_ms" in message:
            told.append(now - sent[len(told)])
        else:
            found.closed.append(str(message))


async def _connected(url: str) -> ClientConnection:
    return await connect(url, compression=None, open_timeout=60, ping_interval=None)


async def refused(url: str, found: Found) -> None:
    """One too many: how long until it knows; who is told nothing was taken in."""
    began, code = time.monotonic(), None
    try:
        async with asyncio.timeout(_GRACE), connect(url, compression=None, open_timeout=60) as socket:
            async for _ in socket:
                continue
            code = socket.close_code
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd else None
    except TimeoutError:
        code = None
    if code == 1013:
        found.refusals.append(time.monotonic() - began)
    else:
        found.taken_in += 1


async def crowd(url: str, sound: list[bytes], sessions: int, seconds: float, tries: int) -> Found:
    """All of them at once, each a little later than the one before."""
    found, count = Found(), round(seconds / CHUNK)
    sockets = await asyncio.gather(*[_connected(url) for _ in range(sessions)])
    start = time.monotonic() + 0.5
    people = [
        asyncio.create_task(talk(socket, sound, start + CHUNK * number / sessions, count, found, number=number))
        for number, socket in enumerate(sockets)
    ]
    await asyncio.sleep(0.5 + min(1.0, seconds / 2))
    for _ in range(tries):
        await refused(url, found)
        await asyncio.sleep(0.05)
    await asyncio.gather(*people)
    # Nobody goes before the last try: one who has gone leaves room.
    await asyncio.gather(*[socket.close() for socket in sockets])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("sound", type=Path, help="a .npy of float32 at 16 kHz")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--refusals", type=int, default=0, help="tries of one too many")
    parser.add_argument("--core", type=int, default=None)
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    found = asyncio.run(crowd(given.url, chunks(given.sound), given.sessions, given.seconds, given.refusals))
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main()
