"""The server that one would write first, for serve_capacity.py: a thread for each session, one lock round the model.

It speaks ``/ws/pcm16`` and does with the same parts what the echo behind the real server does for a chunk: Silero over its
windows, a step of the backend for each of its frames. It knows no turns, limits or events.
"""

from __future__ import annotations

import json
import sys
import threading
from itertools import count

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from duplexforge.serving import vad
from duplexforge.serving.backends import Given, Manner
from duplexforge.serving.backends.echo import FRAME, RATE, Echo
from duplexforge.serving.packets import AudioInput, samples_of

CHUNK = 4 * FRAME
_SLOTS = 4096


class Peer:
    """The model, and the lock."""

    def __init__(self) -> None:
        self._lock, self._numbers = threading.Lock(), count()
        self._network, self._echo = vad.silero(), Echo()
        self._echo.load(_SLOTS)

    def session(self, socket: ServerConnection) -> None:
        """One client, in its own thread."""
        slot, listener, rest = next(self._numbers) % _SLOTS, vad.Listener(self._network), np.zeros(0, np.float32)
        self._echo.open(slot, Manner())
        answer = json.dumps({"text": "", "chunk_ms": 320.0, "frames_per_chunk": 4, "frame_hz": 12.5})
        try:
            for message in socket:
                assert isinstance(message, bytes)
                rest = np.concatenate([rest, samples_of(message)])
                while len(rest) >= CHUNK:
                    self._hear(slot, listener, rest[:CHUNK])
                    rest = rest[CHUNK:]
                    socket.send(answer)
        except ConnectionClosed:
            return

    def _hear(self, slot: int, listener: vad.Listener, chunk: np.ndarray) -> None:
        with self._lock:
            listener.listen(chunk.reshape(-1, vad.WINDOW))
            for frame in chunk.reshape(-1, FRAME):
                self._echo.step({slot: Given(AudioInput(frame), True)})


def main() -> None:
    assert vad.RATE == RATE
    peer = Peer()
    with serve(peer.session, "127.0.0.1", 0, compression=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
    sys.exit(0)


if __name__ == "__main__":
    main()
