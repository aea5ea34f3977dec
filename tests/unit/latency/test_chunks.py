"""The codec's chunks: counted, named, timed by the clock that is given."""

from __future__ import annotations

import numpy as np

from duplexforge.latency import chunks
from duplexforge.latency.report import known
from duplexforge.models.codec import open_codec
from tests.unit.latency.made import CODEC, Ticking


def test_every_chunk_is_timed_both_ways() -> None:
    coded, decoded = chunks.chunk_times(CODEC, np.zeros(1000, np.float32), 320, Ticking())
    assert coded == decoded == [1000.0] * 4


def test_modes_and_sizes_are_all_measured() -> None:
    wave = np.zeros(640, np.float32)
    found = chunks.streams(wave, 2, Ticking())
    assert set(found) == set(chunks.measures())
    assert {name: len(values) for name, values in found.items()} == {
        name: 2 * (2 if "20ms" in name else 1) for name in found
    }
    assert set(found) <= set(known())


def test_a_chunk_that_completes_no_packet_is_timed_too() -> None:
    coded, decoded = chunks.chunk_times(CODEC, np.zeros(320, np.float32), 160, Ticking())
    assert len(coded) == len(decoded) == 2


def test_names_say_mode_way_and_size() -> None:
    assert chunks.names("token", 40) == ("token_encode_40ms", "token_decode_40ms")
    told = chunks.measures()["token_encode_40ms"]
    assert (told.title, told.goal, told.unit) == ("token: encode 40 ms", 10.0, "ms")


def test_they_are_modes_of_the_codec() -> None:
    assert [open_codec(mode).rate for mode in chunks.MODES] == [16_000, 16_000]
