"""Transcoding: lengths, rates, channels and sound, told by another reader than the one that wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.converting.media import Shape, _weights, stamp_of, transcode
from duplexforge.errors import InputError
from tests.unit.converting.made import tone, write_av, write_wav

STAMP = "duplexforge 00 flac 16000 1"
SOUNDFILE = {"flac": "FLAC", "wav": "WAV"}


def level(samples: np.ndarray, hertz: float, rate: int) -> float:
    """Amplitude of a frequency."""
    times = np.arange(len(samples)) / rate
    return float(2 * np.abs(np.mean(samples * np.exp(-2j * np.pi * hertz * times))))


@pytest.mark.parametrize("kind", ["flac", "wav"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (24000, 2), (48000, 1), (None, None), (44100, 2)])
def test_length_rate_channels_and_sound(tmp_path: Path, kind: str, rate: int | None, channels: int | None) -> None:
    source = write_wav(tmp_path / "a.wav", tone(12.5))
    done = transcode(source, tmp_path / "out", Shape(kind, rate, channels), STAMP)
    info = sf.info(tmp_path / "out")
    wanted = rate or 44100
    assert (info.format, info.subtype) == (SOUNDFILE[kind], "PCM_16")
    assert (info.samplerate, info.channels, info.frames) == (wanted, channels or 2, round(12.5 * wanted))
    assert (done.rate, done.channels, done.seconds, done.damaged) == (wanted, channels or 2, 12.5, 0)
    samples, _ = sf.read(tmp_path / "out", always_2d=True)
    levels = [0.375] if channels == 1 else [0.5, 0.25]
    for channel, expected in enumerate(levels):
        inner = samples[1000:-1000, channel]
        assert level(inner, 440.0, wanted) == pytest.approx(expected, rel=2e-3)
        # Nothing else is heard: the rest is rounding to 16 bits.
        assert np.sqrt(np.mean(inner**2)) == pytest.approx(expected / np.sqrt(2), rel=2e-3)


def test_without_a_change_every_sample_stays(tmp_path: Path) -> None:
    samples = (np.random.default_rng(0).uniform(-1, 1, (30000, 2)) * 32767).astype(np.int16)
    sf.write(tmp_path / "a.wav", samples, 44100, subtype="PCM_16")
    for kind in ("flac", "wav"):
        transcode(tmp_path / "a.wav", tmp_path / kind, Shape(kind), STAMP)
        found, _ = sf.read(tmp_path / kind, dtype="int16")
        assert np.array_equal(found, samples)


def test_what_the_new_rate_cannot_hold_is_filtered_away(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(3.0, channels=1, hertz=9000.0))
    transcode(tmp_path / "a.wav", tmp_path / "out", Shape("flac", 16000), STAMP)
    samples, _ = sf.read(tmp_path / "out")
    assert np.abs(samples[800:-800]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.webm", "libopus"), ("a.ogg", "libopus"), ("a.mp3", "mp3"), ("a.m4a", "aac"), ("a.mkv", "aac")],
)
def test_the_formats_that_recordings_come_in(tmp_path: Path, name: str, codec: str) -> None:
    source = write_av(tmp_path / name, tone(5.0, 48000), codec)
    done = transcode(source, tmp_path / "out", Shape("flac", 24000, 1), STAMP)
    samples, rate = sf.read(tmp_path / "out")
    assert (rate, done.damaged) == (24000, 0)
    assert len(samples) / rate == pytest.approx(5.0, abs=0.08)
    assert level(samples[2400:-2400], 440.0, rate) == pytest.approx(0.375, rel=0.1)


def test_the_wrong_name_does_not_matter(tmp_path: Path) -> None:
    source = write_av(tmp_path / "a.webm", tone(1.0, 48000), "libopus").rename(tmp_path / "b.mp3")
    assert transcode(source, tmp_path / "out", Shape("flac"), STAMP).seconds == pytest.approx(1.0, abs=0.02)


def test_a_loud_sum_is_not_wrapped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.full((44100, 2), 1.5, np.float32))
    transcode(tmp_path / "a.wav", tmp_path / "out", Shape("wav", None, 1), STAMP)
    samples, _ = sf.read(tmp_path / "out", dtype="int16")
    assert samples.min() == samples.max() == 32767


def test_no_numbers_are_silence(tmp_path: Path) -> None:
    samples = tone(1.0, channels=1)
    samples[100:200], samples[300:310] = np.nan, np.inf
    write_wav(tmp_path / "a.wav", samples)
    transcode(tmp_path / "a.wav", tmp_path / "out", Shape("wav"), STAMP)
    found, _ = sf.read(tmp_path / "out")
    assert np.all(found[100:200] == 0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_the_stamp_is_inside_and_a_foreign_file_has_none(tmp_path: Path, kind: str) -> None:
    source = write_wav(tmp_path / "a.wav", tone(0.5))
    transcode(source, tmp_path / "out", Shape(kind), STAMP)
    assert stamp_of(tmp_path / "out") == STAMP
    assert stamp_of(source) is None
    (tmp_path / "text").write_text("no audio")
    assert stamp_of(tmp_path / "text") is None


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_av(tmp_path / "a.webm", tone(2.0, 48000), "libopus")
    for name in ("one", "two"):
        transcode(source, tmp_path / name, Shape("flac", 16000, 1), STAMP)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "empty"), (b"<html>no audio here</html>" * 20, "not_audio"), (bytes(4000), "not_audio")],
)
def test_what_is_no_audio_has_a_reason(tmp_path: Path, body: bytes, reason: str) -> None:
    (tmp_path / "a.mp3").write_bytes(body)
    with pytest.raises(InputError) as caught:
        transcode(tmp_path / "a.mp3", tmp_path / "out", Shape("flac"), STAMP)
    assert caught.value.reason == reason
    assert "a.mp3" in str(caught.value)


def test_a_video_without_sound_has_a_reason(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no audio stream"):
        transcode(tmp_path / "a.mkv", tmp_path / "out", Shape("flac"), STAMP)


def test_a_header_without_audio_has_a_reason(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((0, 1), np.float32))
    with pytest.raises(InputError) as caught:
        transcode(tmp_path / "a.wav", tmp_path / "out", Shape("flac"), STAMP)
    assert caught.value.reason in ("corrupt", "not_audio")


def test_damage_in_the_middle_costs_what_is_damaged(tmp_path: Path) -> None:
    source = write_av(tmp_path / "a.mp3", tone(20.0, 48000), "mp3")
    body = bytearray(source.read_bytes())
    body[40_000:41_000] = np.random.default_rng(3).bytes(1000)
    source.write_bytes(bytes(body))
    done = transcode(source, tmp_path / "out", Shape("flac", 16000, 1), STAMP)
    assert 19.0 < done.seconds <= 20.1


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_no_bytes_are_more_than_an_input_error(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.mp3").write_bytes(body)
    with pytest.raises(InputError):
        transcode(folder / "a.mp3", folder / "out", Shape("flac"), STAMP)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    write_wav(tmp_path / "secret.wav", tone(1.0))
    for text in (
        f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    ):
        (tmp_path / "a.mp3").write_text(text)
        with pytest.raises(InputError):
            transcode(tmp_path / "a.mp3", tmp_path / "out", Shape("flac"), STAMP)


# -- channels ----------------------------------------------------------------------------------------------------------

SIDES = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")


@settings(deadline=None)
@given(st.lists(st.sampled_from(SIDES), min_size=1, max_size=8, unique=True), st.sampled_from((1, 2)))
def test_weights_are_means(names: list[str], channels: int) -> None:
    table = _weights(tuple(names), channels)
    assert table.shape == (channels, len(names))
    assert np.all(table >= 0)
    assert np.allclose(table.sum(axis=1), 1.0)
    if names != ["LFE"]:
        assert all(weight == 0 for weight, name in zip(table[0], names, strict=True) if name == "LFE")


def test_sides_stay_on_their_side(tmp_path: Path) -> None:
    samples = np.zeros((44100, 6), np.float32)
    for channel, hertz in enumerate((300.0, 500.0, 700.0, 60.0, 900.0, 1100.0)):
        samples[:, channel] = tone(1.0, channels=1, hertz=hertz)[:, 0]
    write_wav(tmp_path / "a.wav", samples)
    transcode(tmp_path / "a.wav", tmp_path / "out", Shape("flac"), STAMP)
    found, rate = sf.read(tmp_path / "out")
    assert found.shape == (44100, 2)
    third = pytest.approx(0.5 / 3, rel=0.01)
    silent = pytest.approx(0.0, abs=1e-3)
    for side, heard in ((0, (300.0, 700.0, 900.0)), (1, (500.0, 700.0, 1100.0))):
        for hertz in (300.0, 500.0, 700.0, 60.0, 900.0, 1100.0):
            assert level(found[:, side], hertz, rate) == (third if hertz in heard else silent), (side, hertz)


# -- length ------------------------------------------------------------------------------------------------------------

LONG = """
import resource, sys
from duplexforge.converting.media import Shape, transcode
from pathlib import Path
transcode(Path(sys.argv[1]), Path(sys.argv[2]), Shape("flac", 16000, 1), "x")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_hours_take_no_more_memory_than_minutes(tmp_path: Path) -> None:
    block = (tone(60.0, 22050, 1)[:, 0] * 32767).astype(np.int16)
    used = []
    for name, minutes in (("short.wav", 2), ("long.wav", 240)):
        with sf.SoundFile(tmp_path / name, "w", 22050, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(block)
        command = [sys.executable, "-c", LONG, str(tmp_path / name), str(tmp_path / f"{name}.flac")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        used.append(int(done.stdout))
        assert sf.info(tmp_path / f"{name}.flac").frames == minutes * 60 * 16000
    assert used[1] - used[0] < 60, used
