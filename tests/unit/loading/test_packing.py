"""Packed tracks: exact, the same bytes however they came, parts without the rest, and what is no track is refused."""

from __future__ import annotations

import gc
import hashlib
import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from duplexforge.errors import InputError
from duplexforge.loading.packing import Packer, Packing, Pcm, pack, pcm_sha256, unpack, unpack_part

KINDS: tuple[Packing, ...] = ("flac", "wav")


def noise(count: int, seed: int = 1) -> Pcm:
    return np.random.default_rng(seed).integers(-32768, 32768, count).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    pcm=hnp.arrays(np.int16, st.integers(1, 9000)),
    kind=st.sampled_from(KINDS),
    rate=st.sampled_from([8000, 16_000, 24_000, 44_100, 48_000]),
    data=st.data(),
)
def test_there_and_back_whole_and_in_part(pcm: Pcm, kind: Packing, rate: int, data: st.DataObject) -> None:
    body = pack(pcm, rate, kind)
    found, found_rate = unpack(body)
    assert found.dtype == np.int16
    assert found_rate == rate
    np.testing.assert_array_equal(found, pcm)
    start = data.draw(st.integers(0, len(pcm)))
    end = data.draw(st.integers(start, len(pcm)))
    part, part_rate = unpack_part(body, start, end)
    np.testing.assert_array_equal(part, pcm[start:end])
    assert part_rate == rate


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_do_not_depend_on_the_blocks(kind: Packing) -> None:
    pcm = noise(50_000)
    packer = Packer(24_000, kind)
    for start in range(0, len(pcm), 7_777):
        packer.write(pcm[start : start + 7_777])
    assert packer.finish() == pack(pcm, 24_000, kind) == pack(pcm.copy(), 24_000, kind)


def test_a_part_far_inside_is_exact() -> None:
    pcm = noise(400_000)
    body = pack(pcm, 16_000)
    for start in (0, 4095, 4096, 4097, 399_990):
        np.testing.assert_array_equal(unpack_part(body, start, start + 10)[0], pcm[start : start + 10])


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, 101), (101, 101)])
def test_a_part_that_is_not_there(start: int, end: int) -> None:
    with pytest.raises(InputError, match="of a track of 100 were asked for"):
        unpack_part(pack(noise(100), 16_000), start, end)


def test_the_checksum_is_of_the_numbers() -> None:
    pcm = np.array([0, 1, -2, 32767, -32768], np.int16)
    plain = b"".join(int(value).to_bytes(2, "little", signed=True) for value in pcm)
    assert pcm_sha256(pcm) == hashlib.sha256(plain).hexdigest()
    assert pcm_sha256(pcm.astype(">i2")) == pcm_sha256(np.repeat(pcm, 2)[::2]) == pcm_sha256(pcm)
    assert pcm_sha256(pcm[:-1]) != pcm_sha256(pcm)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0, 3, 20, 200, -1000, -1])
def test_a_track_that_was_cut_off_is_refused(kind: Packing, left: int) -> None:
    body = pack(noise(20_000), 16_000, kind)
    with pytest.raises(InputError) as caught:
        unpack(body[:left])
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize(("channels", "subtype"), [(2, "PCM_16"), (1, "PCM_24"), (1, "FLOAT")])
def test_other_forms_are_refused(channels: int, subtype: str) -> None:
    file = io.BytesIO()
    sf.write(file, np.zeros((10, channels)), 16_000, format="WAV", subtype=subtype)
    with pytest.raises(InputError, match="not 16-bit mono"):
        unpack(file.getvalue())


def test_only_int16_is_packed_and_never_nothing() -> None:
    with pytest.raises(TypeError, match="int16"):
        pack(np.zeros(4, np.float32), 16_000)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int16"):
        pack(np.zeros((4, 1), np.int16), 16_000)
    for kind in KINDS:
        with pytest.raises(InputError, match="no sample to pack"):
            pack(np.zeros(0, np.int16), 16_000, kind)


def test_a_packer_may_be_dropped_half_way() -> None:
    """An input that breaks in the middle leaves its packer behind, in a cycle with the error's traceback."""
    for kind in KINDS:
        packer = Packer(16_000, kind)
        packer.write(noise(10_000))
        cycle: list[object] = [packer]
        cycle.append(cycle)
        del packer, cycle
    # What is written into bytes that are gone would be an unraisable exception, and an error here.
    gc.collect()
