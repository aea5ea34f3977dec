"""The codec against the clock: encode and decode a stream in chunks of 20 and 40 ms."""

from __future__ import annotations

import time

import numpy as np

from duplexforge.latency.figures import Measure, Times
from duplexforge.latency.turn import Clock, Wave
from duplexforge.models.codec import Codec, open_codec

__all__ = ["CHUNKS_MS", "MODES", "chunk_times", "measures", "names", "streams"]

MODES = ("base", "token")
"""What a conversation runs through: the mode that the model speaks, and the one that goes over the line."""
CHUNKS_MS = (20, 40)
_GOAL = 10.0


def names(mode: str, chunk_ms: int) -> tuple[str, str]:
    """The names of encoding and decoding in the report."""
    return f"{mode}_encode_{chunk_ms}ms", f"{mode}_decode_{chunk_ms}ms"


def measures() -> dict[str, Measure]:
    """What is measured of the codec, by its name in the report."""
    told = "from a chunk's samples to what it completes; a packet of several chunks falls on the last of them"
    found = {}
    for mode in MODES:
        for size in CHUNKS_MS:
            for name, way in zip(names(mode, size), ("encode", "decode"), strict=True):
                found[name] = Measure(f"{mode}: {way} {size} ms", told, _GOAL)
    return found


def streams(wave: Wave, repeat: int, clock: Clock = time.perf_counter) -> Times:
    """Milliseconds of every chunk of ``wave`` said ``repeat`` times, by mode and size; once before it is left out."""
    times: Times = {}
    for mode in MODES:
        codec = open_codec(mode)
        for size in CHUNKS_MS:
            chunk_times(codec, wave, size * codec.rate // 1000, clock)
            for _ in range(repeat):
                both = chunk_times(codec, wave, size * codec.rate // 1000, clock)
                for name, taken in zip(names(mode, size), both, strict=True):
                    times.setdefault(name, []).extend(taken)
    return times


def chunk_times(codec: Codec, wave: Wave, chunk: int, clock: Clock) -> tuple[list[float], list[float]]:
    """Milliseconds of encoding and of decoding each ``chunk`` samples of ``wave``, filled up to whole chunks."""
    filled = np.concatenate([wave, np.zeros(-len(wave) % chunk, np.float32)])
    encoder, decoder = codec.encoder(), codec.decoder()
    coded: list[float] = []
    decoded: list[float] = []
    for part in filled.reshape(-1, 1, chunk):
        began = clock()
        rows = encoder.push(part)
        between = clock()
        decoder.push(rows)
        coded.append(1000 * (between - began))
        decoded.append(1000 * (clock() - between))
    return coded, decoded
