"""G.711 against the values of the recommendation, and against libsndfile."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.serving.packets import pcm16
from duplexforge.serving.protocols.g711 import Law, decoded, encoded

ALL = bytes(range(256))
LAWS: list[Law] = ["mu", "a"]
SUBTYPES = {"mu": "ULAW", "a": "ALAW"}


def whole(codes: bytes, law: Law) -> list[int]:
    return [round(float(sample) * 32768) for sample in decoded(codes, law)]


@pytest.mark.parametrize(
    ("law", "code", "level"),
    [
        # The ends of both scales, both zeros, and the first level of each of the upper segments.
        ("mu", 0x80, 32124),
        ("mu", 0x00, -32124),
        ("mu", 0xFF, 0),
        ("mu", 0x7F, 0),
        ("mu", 0xFE, 8),
        ("mu", 0xEF, 132),
        ("mu", 0x8F, 16764),
        ("a", 0xAA, 32256),
        ("a", 0x2A, -32256),
        ("a", 0xD5, 8),
        ("a", 0x55, -8),
        ("a", 0xC5, 264),
        ("a", 0xA5, 16896),
    ],
)
def test_levels_of_the_recommendation(law: Law, code: int, level: int) -> None:
    assert whole(bytes([code]), law) == [level]


@pytest.mark.parametrize("law", LAWS)
def test_every_level_is_libsndfiles(law: Law) -> None:
    sound, _ = sf.read(io.BytesIO(ALL), samplerate=8000, channels=1, subtype=SUBTYPES[law], format="RAW", dtype="int16")
    assert whole(ALL, law) == sound.tolist()


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_gets_a_level_as_near_as_libsndfiles(law: Law) -> None:
    samples = np.arange(-32767, 32768, dtype=np.int16)
    theirs = io.BytesIO()
    sf.write(theirs, samples, 8000, subtype=SUBTYPES[law], format="RAW")
    mine = encoded((samples / 32767).astype(np.float32), law)
    ours = np.abs(np.array(whole(mine, law)) - samples)
    other = np.abs(np.array(whole(theirs.getvalue(), law)) - samples)
    assert np.all(ours <= other)
    if law == "mu":
        assert mine == theirs.getvalue()


@pytest.mark.parametrize("law", LAWS)
def test_a_level_keeps_its_code(law: Law) -> None:
    again = encoded(decoded(ALL, law), law)
    # µ-law has two zeros, of which the positive one is said.
    assert again == (ALL.replace(b"\x7f", b"\xff") if law == "mu" else ALL)


@pytest.mark.parametrize("law", LAWS)
@given(sample=st.floats(allow_subnormal=False, width=32))
def test_any_number_is_a_sample(law: Law, sample: float) -> None:
    samples = np.array([sample], np.float32)
    (level,) = whole(encoded(samples, law), law)
    (wanted,) = np.frombuffer(pcm16(samples), "<i2").tolist()
    # A step is a sixteenth of its segment, so that half a step is at most a 32nd of the sample; the smallest is 16 wide.
    assert abs(level - min(max(wanted, -32635), 32635)) <= max(8, abs(wanted) / 32 + 8)
