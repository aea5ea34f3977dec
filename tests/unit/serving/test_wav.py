"""WAV files from strangers."""

from __future__ import annotations

import io
import wave
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.serving import wav

RNG = np.random.default_rng(3)


def made(subtype: str, channels: int, kind: str = "WAV") -> tuple[bytes, np.ndarray]:
    """A file that another library wrote, and what is in it."""
    samples = RNG.uniform(-0.9, 0.9, (1001, channels))
    file = io.BytesIO()
    soundfile.write(file, samples, 22050, subtype=subtype, format=kind)
    return file.getvalue(), samples


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("subtype", "kind", "error"),
    [
        ("PCM_U8", "WAV", 0.01),
        ("PCM_16", "WAV", 1e-4),
        ("PCM_24", "WAV", 1e-6),
        ("PCM_32", "WAV", 1e-6),
        ("FLOAT", "WAV", 1e-6),
        ("DOUBLE", "WAV", 1e-6),
        ("PCM_16", "WAVEX", 1e-4),
        ("FLOAT", "WAVEX", 1e-6),
    ],
)
def test_what_others_wrote(subtype: str, kind: str, error: float, channels: int) -> None:
    data, samples = made(subtype, channels, kind)
    found = wav.read(data)
    assert (found.rate, found.channels) == (22050, channels)
    assert found.samples.dtype == np.float32
    np.testing.assert_allclose(found.samples, samples.mean(axis=1), atol=error)


@given(st.binary(min_size=2, max_size=400).filter(lambda data: len(data) % 2 == 0), st.integers(8000, 48000))
def test_what_we_write_others_read(pcm: bytes, rate: int) -> None:
    data = wav.written(pcm, rate)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        assert file.readframes(file.getnframes()) == pcm
    assert len(wav.read(data).samples) == len(pcm) // 2


def test_a_file_that_breaks_off_gives_what_is_there() -> None:
    data = wav.written(bytes(1000), 16000)
    assert len(wav.read(data[:-501]).samples) == (1000 - 501) // 2


def test_sizes_that_were_never_filled_in() -> None:
    data = bytearray(wav.written(bytes(1000), 16000))
    data[40:44] = b"\xff\xff\xff\xff"
    assert len(wav.read(bytes(data)).samples) == 500


def test_no_number_is_silence() -> None:
    data = bytearray(made("FLOAT", 1)[0])
    at = data.index(b"data") + 8
    data[at : at + 8] = np.array([np.nan, np.inf], "<f4").tobytes()
    assert list(wav.read(bytes(data)).samples[:2]) == [0.0, 1.0]


@pytest.mark.parametrize(("size", "rate"), [(0, 16000), (1, 16000), (2 * 16002, 16000), (200, 100), (200, 96000)])
def test_lengths_and_rates_are_bounded(size: int, rate: int) -> None:
    with pytest.raises(InputError):
        wav.read(wav.written(bytes(size), rate), longest=1.0)
    assert len(wav.read(wav.written(bytes(2 * 16000), 16000), longest=1.0).samples) == 16000


@pytest.mark.parametrize("kind", ["ULAW", "IMA_ADPCM"])
def test_what_is_compressed_is_refused(kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, RNG.uniform(-0.5, 0.5, 500), 16000, subtype=kind, format="WAV")
    with pytest.raises(InputError, match="not taken"):
        wav.read(file.getvalue())


@given(st.binary(max_size=200), st.integers(0, 43), st.integers(0, 255))
def test_anything_ends_in_sound_or_one_error(tail: bytes, place: int, value: int) -> None:
    data = bytearray(wav.written(tail, 16000))
    data[place] = value
    for one in (bytes(data), tail, b"RIFF" + tail, b"RIFF\0\0\0\0WAVE" + tail):
        with suppress(InputError):
            assert np.isfinite(wav.read(one).samples).all()
