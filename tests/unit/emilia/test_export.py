"""Export: exact length, faithful sound, clipped peaks, the same bytes every time; and the published rule."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf
import soxr
from av.codec import Codec
from av.packet import Packet

from Emilia.config import load_config
from Emilia.models import encode as encoders
from Emilia.models.encode import encode
from Emilia.recording import Recording, Segment, Waveform
from Emilia.stages.export import Export
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

RATE = 24000
CODECS = ("mp3", "flac", "opus")
# LAME refuses less than a frame of sound; the shortest segment there can be is 100 ms.
LENGTHS = [
    *(("mp3", frames) for frames in (600, 1736, 2400, 24000, 31693, 31727, 71993)),
    *((codec, frames) for codec in ("flac", "opus") for frames in (1, 575, 1440, 2400, 31693, 71993)),
]


def decoded(data: bytes) -> tuple[Samples, int]:
    """Samples as float and their rate, which for Opus is 48 kHz whatever went in."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        samples = np.concatenate(frames)
        return (samples / 32768 if samples.dtype == np.int16 else samples).astype(np.float32), stream.rate


def tone(seconds: float) -> Samples:
    return soxr.resample(synth.speech(seconds), synth.RATE, RATE).astype(np.float32)


@pytest.mark.parametrize(("codec", "frames"), LENGTHS)
def test_length_is_exact(codec: str, frames: int) -> None:
    data = encode(tone(3.1)[:frames], RATE, codec=codec, bitrate=96000)
    samples, rate = decoded(data)
    assert len(samples) * RATE == frames * rate
    # libsndfile is the second opinion.
    assert sf.info(io.BytesIO(data)).frames == frames


@pytest.mark.parametrize(("codec", "least"), [("mp3", 15.0), ("opus", 15.0), ("flac", 70.0)])
def test_sound_is_faithful_and_in_its_place(codec: str, least: float) -> None:
    samples = tone(3.0)
    heard, rate = decoded(encode(samples, RATE, codec=codec, bitrate=96000))
    # A wrong pre-skip would shift the sound, and one sample of shift already costs more than this allows.
    heard = soxr.resample(heard, rate, RATE, quality="VHQ")
    noise = heard - samples
    assert 10 * np.log10(np.square(samples).sum() / np.square(noise).sum()) > least


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_the_bit_rate_is_kept(codec: str) -> None:
    # Eight bytes a millisecond for three seconds, plus headers; Opus may vary around its rate.
    assert len(encode(tone(3.0), RATE, codec=codec, bitrate=64000)) == pytest.approx(24000, rel=0.08)


def test_flac_is_sixteen_bit_exact() -> None:
    samples = tone(1.0)
    read, rate = sf.read(io.BytesIO(encode(samples, RATE, codec="flac", bitrate=0)), dtype="int16")
    assert rate == RATE
    assert np.array_equal(read, np.rint(samples.astype(np.float64) * 32767).astype(np.int16))


@pytest.mark.parametrize("codec", CODECS)
def test_peaks_are_clipped_not_wrapped(codec: str) -> None:
    loud = np.clip(4 * np.sin(np.arange(24000) / 40), -1.5, 1.5).astype(np.float32)
    heard, rate = decoded(encode(loud, RATE, codec=codec, bitrate=96000))
    heard = soxr.resample(heard, rate, RATE)
    # A wrapped plateau of 1.5 would lie at -0.5.
    assert (heard[loud == 1.5] > 0.8).all()
    assert (heard[loud == -1.5] < -0.8).all()
    if codec == "flac":
        assert heard.max() == pytest.approx(32767 / 32768)


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_depend_on_the_arguments_alone(codec: str) -> None:
    first = encode(tone(1.0), RATE, codec=codec, bitrate=96000)
    # An Ogg stream number or a time stamp drawn from the clock would differ by now.
    time.sleep(1.1)
    encode(tone(0.5), RATE, codec=codec, bitrate=96000)
    assert encode(tone(1.0), RATE, codec=codec, bitrate=96000) == first


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_one_thread_encodes(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    real = encoders._trimmed

    def watch(packets: list[Packet[Any]]) -> list[Packet[Any]]:
        counts.extend(packet.stream.codec_context.thread_count for packet in packets)
        return real(packets)

    monkeypatch.setattr(encoders, "_trimmed", watch)
    encode(tone(0.5), RATE, codec=codec, bitrate=96000)
    assert set(counts) == {1}


def published_samples(audio: Samples) -> np.ndarray:
    """One sample at a time: times 32767, cut off towards zero, the lowest sixteen bits read as a signed number."""
    cast = []
    for value in audio:
        whole = int(np.float32(value) * np.float32(32767))
        cast.append((whole + 32768) % 65536 - 32768)
    return np.array(cast, np.int16)


def test_compat_wraps_what_is_beyond_full_scale() -> None:
    rng = np.random.default_rng(0)
    audio = np.concatenate([rng.uniform(-3, 3, 2000), [1.0, -1.0, 1.00005, -1.0001, 1.5, 0.0]]).astype(np.float32)
    read, _ = sf.read(io.BytesIO(encode(audio, RATE, codec="flac", bitrate=0, compat=True)), dtype="int16")
    assert np.array_equal(read, published_samples(audio))
    assert read[-2] == -16386


def by_one_ffmpeg(program: str, audio: Samples, path: Path) -> bytes:
    """The published way: samples into a program that is told nothing but the format."""
    command = [program, "-v", "error", "-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-", "-f", "mp3", str(path)]
    subprocess.run(command, input=published_samples(audio).tobytes(), check=True)
    return path.read_bytes()


def test_compat_mp3_is_what_the_encoder_does_by_itself(tmp_path: Path) -> None:
    samples = tone(3.0)
    data = encode(samples, RATE, codec="mp3", bitrate=96000, compat=True)
    peer = by_one_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe(), samples, tmp_path / "published.mp3")
    for file in (data, peer):
        with av.open(io.BytesIO(file)) as container:
            sizes = [packet.size for packet in container.demux(audio=0) if packet.size]
        assert {size * 8 * RATE // 576 // 1000 for size in sizes} == {32}
    ours, theirs = decoded(data)[0], decoded(peer)[0]
    assert len(ours) == len(theirs)
    # Another build of LAME rounds otherwise.
    assert np.square(ours).sum() > 50 * np.square(ours - theirs).sum()


@pytest.mark.system
def test_compat_mp3_sounds_exactly_as_by_debians_ffmpeg(tmp_path: Path) -> None:
    samples = tone(3.0)
    program = shutil.which("ffmpeg")
    assert program, "tests/system-packages.sh installs it"
    peer = by_one_ffmpeg(program, samples, tmp_path / "published.mp3")
    data = encode(samples, RATE, codec="mp3", bitrate=96000, compat=True)
    assert np.array_equal(decoded(data)[0], decoded(peer)[0])


def staged(out: Path, made: Waveform, overrides: dict[str, object]) -> Recording:
    stage = Export(load_config(None, overrides=overrides))
    stage.load("cpu")
    out.mkdir()
    recording = Recording(out, "ep", out, out, wave=made)
    recording.segments = [Segment(0.0, 1.0, "S", 0, "ep_000000"), Segment(1.25, 2.9995, "S", 1, "ep_000001")]
    stage.run(recording, hush)
    return recording


@pytest.mark.parametrize("engine", CODECS)
def test_stage_writes_named_and_hashed_files(tmp_path: Path, wave: Callable[..., Waveform], engine: str) -> None:
    made = wave(tone(3.0), RATE)
    hashes = []
    for attempt in ("first", "second"):
        recording = staged(tmp_path / attempt, made, {"export.engine": engine})
        assert recording.files == [tmp_path / attempt / f"ep_00000{n}.{engine}" for n in (0, 1)]
        for segment, path in zip(recording.pieces(), recording.files, strict=True):
            assert segment.audio == path.name
            assert segment.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        samples, rate = decoded(recording.files[1].read_bytes())
        assert len(samples) * RATE == (round(2.9995 * RATE) - round(1.25 * RATE)) * rate
        hashes.append([segment.sha256 for segment in recording.pieces()])
    assert hashes[0] == hashes[1]


def test_every_segment_is_read_once(tmp_path: Path, wave: Callable[..., Waveform], monkeypatch: object) -> None:
    made = wave(tone(3.0), RATE)
    reads: list[tuple[int, int]] = []

    class Watched(Waveform):
        def read(self, start: int, stop: int) -> Samples:
            reads.append((start, stop))
            return super().read(start, stop)

    staged(tmp_path / "out", Watched(made.path, made.rate, made.frames), {"export.engine": "flac"})
    assert reads == [(0, 24000), (30000, 71988)]


def test_compat_cuts_times_down_to_samples(tmp_path: Path, wave: Callable[..., Waveform]) -> None:
    overrides: dict[str, object] = {"export.engine": "flac", "pipeline.compat": True}
    recording = staged(tmp_path / "out", wave(tone(3.0), RATE), overrides)
    assert recording.files is not None
    assert sf.info(recording.files[1]).frames == int(2.9995 * RATE) - int(1.25 * RATE)


def test_the_encoders_are_in_this_build() -> None:
    assert {Codec(name, "w").name for name in ("libmp3lame", "libopus")} == {"libmp3lame", "libopus"}
    assert "FLAC" in sf.available_formats()
