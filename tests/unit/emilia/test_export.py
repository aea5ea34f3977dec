"""Export: exact length, faithful sound, clipped peaks, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
import soxr

from Emilia.config import load_config
from Emilia.models.media import encode
from Emilia.recording import Recording, Segment, Waveform
from Emilia.stages.export import Export
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

RATE = 24000


def decoded(path: Path) -> Samples:
    with av.open(str(path)) as container:
        assert container.streams.audio[0].rate == RATE
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


def tone(seconds: float) -> Samples:
    return soxr.resample(synth.speech(seconds), synth.RATE, RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("codec", "frames"),
    [
        ("mp3", 600),
        ("mp3", 1736),
        ("mp3", 31693),
        ("mp3", 31727),
        ("mp3", 24000),
        ("mp3", 71993),
        ("flac", 1),
        ("flac", 575),
        ("flac", 71993),
    ],
)
def test_length_is_exact(tmp_path: Path, codec: str, frames: int) -> None:
    path = tmp_path / f"a.{codec}"
    encode(path, tone(3.1)[:frames], RATE, codec=codec, bitrate=96000)
    assert len(decoded(path)) == frames


def test_mp3_is_faithful(tmp_path: Path) -> None:
    samples = tone(3.0)
    encode(tmp_path / "a.mp3", samples, RATE, codec="mp3", bitrate=96000)
    heard = decoded(tmp_path / "a.mp3")
    noise = heard - samples
    assert 10 * np.log10(np.square(samples).sum() / np.square(noise).sum()) > 15
    # Twelve bytes a millisecond, plus a header.
    assert (tmp_path / "a.mp3").stat().st_size == pytest.approx(36000, rel=0.05)


def test_flac_is_sixteen_bit_exact(tmp_path: Path) -> None:
    samples = tone(1.0)
    encode(tmp_path / "a.flac", samples, RATE, codec="flac", bitrate=0)
    read, rate = sf.read(tmp_path / "a.flac", dtype="int16")
    assert rate == RATE
    assert np.array_equal(read, np.rint(samples.astype(np.float64) * 32767).astype(np.int16))


def test_peaks_are_clipped_not_wrapped(tmp_path: Path) -> None:
    samples = np.array([1.5, -1.5, 1.0, -1.0, 0.0] * 500, np.float32)
    encode(tmp_path / "a.flac", samples, RATE, codec="flac", bitrate=0)
    read, _ = sf.read(tmp_path / "a.flac", dtype="int16")
    assert read[:5].tolist() == [32767, -32767, 32767, -32767, 0]


@pytest.mark.parametrize("engine", ["mp3", "flac"])
def test_stage_writes_named_and_hashed_files(tmp_path: Path, wave: Callable[..., Waveform], engine: str) -> None:
    made = wave(tone(3.0), RATE)
    stage = Export(load_config(None, overrides={"export.engine": engine}))
    stage.load("cpu")
    hashes = []
    for attempt in ("first", "second"):
        out = tmp_path / attempt
        out.mkdir()
        recording = Recording(tmp_path, "ep", out, tmp_path, wave=made)
        recording.segments = [
            Segment(0.0, 1.0, "S", 0, "ep_000000"),
            Segment(1.25, 2.9995, "S", 1, "ep_000001"),
        ]
        stage.run(recording, hush)
        assert recording.files == [out / f"ep_00000{n}.{engine}" for n in (0, 1)]
        for segment, path in zip(recording.segments, recording.files, strict=True):
            assert segment.audio == path.name
            assert segment.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(decoded(recording.files[1])) == round(2.9995 * RATE) - round(1.25 * RATE)
        hashes.append([segment.sha256 for segment in recording.segments])
    assert hashes[0] == hashes[1]
