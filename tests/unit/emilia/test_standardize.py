"""Standardise: every format, level, rate and kind of damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyloudnorm
import pytest
import soundfile as sf
import soxr
from scipy.signal import correlate

from Emilia.config import load_config
from Emilia.errors import BadAudio
from Emilia.recording import Recording
from Emilia.stages.standardize import Standardize
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush

Make = Callable[[Path], Recording]


def run(recording: Recording, **overrides: object) -> Recording:
    stage = Standardize(load_config(None, overrides={f"standardize.{k}": v for k, v in overrides.items()}))
    stage.load("cpu")
    stage.run(recording, hush)
    return recording


def stored(recording: Recording) -> Samples:
    """The 24 kHz samples before level and offset."""
    wave = recording.full_rate()
    return np.fromfile(wave.path, "<f4")


def encoded(path: Path, samples: Samples, rate: int, *, codec: str, layout: str, sample_format: str) -> None:
    """Write ``samples`` (channels, n) with PyAV; the container follows the suffix."""
    if codec == "vorbis":
        # PyAV brings FFmpeg's own Vorbis encoder only, which it calls experimental.
        sf.write(path, samples.T, rate, format="OGG", subtype="VORBIS")
        return
    kind = {"m4a": "mp4", "wma": "asf"}.get(path.suffix[1:], path.suffix[1:])
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.format = sample_format
        stream.bit_rate = 64000
        whole = np.ascontiguousarray(samples, np.float32)
        resampler = av.AudioResampler(sample_format, layout, rate, stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(whole, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


FORMATS = [
    ("a.mp3", "libmp3lame", 44100, "stereo", "fltp"),
    ("a.m4a", "aac", 44100, "stereo", "fltp"),
    ("a.flac", "flac", 48000, "mono", "s16"),
    ("a.ogg", "vorbis", 32000, "stereo", "fltp"),
    ("a.opus", "libopus", 48000, "mono", "flt"),
    ("a.webm", "libopus", 48000, "stereo", "flt"),
    ("a.wma", "wmav2", 22050, "mono", "fltp"),
    ("a.wav", "pcm_u8", 11025, "mono", "u8"),
    ("a.wav", "pcm_s24le", 96000, "stereo", "s32"),
    ("a.wav", "pcm_f32le", 8000, "mono", "flt"),
    ("a.m4a", "aac", 48000, "5.1", "fltp"),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout", "sample_format"), FORMATS)
def test_every_format_gives_the_same_sound(
    tmp_path: Path, recording: Make, name: str, codec: str, rate: int, layout: str, sample_format: str
) -> None:
    mono = soxr.resample(synth.speech(2.0), synth.RATE, rate)
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    encoded(
        tmp_path / name, np.tile(mono, (channels, 1)), rate, codec=codec, layout=layout, sample_format=sample_format
    )
    done = run(recording(tmp_path / name))
    assert done.outcome == "ok"
    assert done.duration == pytest.approx(2.0, abs=0.12)
    assert likeness(done.narrow_rate().read(0, 40000), synth.speech(2.0)) > 0.9
    assert done.facts["sample_rate"] == rate
    assert done.facts["channels"] == channels


def likeness(one: Samples, other: Samples) -> float:
    """Greatest correlation at any delay: codecs shift by some milliseconds."""
    both = correlate(one, other, "full")
    return float(np.abs(both).max() / np.sqrt(np.square(one).sum() * np.square(other).sum()))


def test_low_frequency_channel_is_left_out(tmp_path: Path, recording: Make) -> None:
    mono = soxr.resample(synth.speech(1.0), synth.RATE, 48000)
    rumble = np.sin(2 * np.pi * 50 * np.arange(len(mono)) / 48000).astype(np.float32)
    channels = np.stack([mono, mono, mono, rumble, mono, mono])
    encoded(tmp_path / "a.wav", channels, 48000, codec="pcm_f32le", layout="5.1", sample_format="flt")
    spectrum = np.abs(np.fft.rfft(stored(run(recording(tmp_path / "a.wav")))))
    assert spectrum[50] < 0.05 * spectrum.max()


def test_wrong_extension_is_no_matter(tmp_path: Path, recording: Make, talk: Path) -> None:
    path = tmp_path / "concat:talk|x.mp3"
    path.write_bytes(talk.read_bytes())
    assert run(recording(path)).facts["container"] == "wav"


def test_resampling_equals_soxr_on_the_whole(tmp_path: Path, recording: Make) -> None:
    samples = np.random.default_rng(1).standard_normal(44100 * 3).astype(np.float32) * 0.1
    sf.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    done = run(recording(tmp_path / "a.wav"))
    expected = soxr.resample(samples, 44100, 24000, quality="VHQ")
    assert len(stored(done)) == len(expected)
    assert np.abs(stored(done) - expected).max() < 1e-5
    narrow = np.fromfile(done.narrow_rate().path, "<f4")
    assert np.abs(narrow - soxr.resample(samples, 44100, 16000, quality="VHQ")).max() < 1e-5


def test_loudness_target_is_met(tmp_path: Path, recording: Make) -> None:
    for level in (0.02, 0.1, 1.0):
        sf.write(tmp_path / "a.wav", synth.speech(3.0) * level, 16000, subtype="FLOAT")
        wave = run(recording(tmp_path / "a.wav")).full_rate()
        assert pyloudnorm.Meter(24000).integrated_loudness(wave.read(0, wave.frames)) == pytest.approx(-20.0, abs=0.3)


def test_one_click_does_not_set_the_level(tmp_path: Path, recording: Make) -> None:
    quiet = synth.speech(12.0) * 0.2
    sf.write(tmp_path / "a.wav", quiet, 16000, subtype="FLOAT")
    without = run(recording(tmp_path / "a.wav")).full_rate().gain
    quiet[8000] = 1.0
    sf.write(tmp_path / "b.wav", quiet, 16000, subtype="FLOAT")
    clicked = run(recording(tmp_path / "b.wav")).full_rate()
    assert clicked.gain == pytest.approx(without, rel=0.1)
    assert 0.85 < np.abs(clicked.read(0, clicked.frames)).max() <= 1.0


def test_amplification_has_a_limit(tmp_path: Path, recording: Make) -> None:
    sf.write(tmp_path / "a.wav", synth.speech(1.0) * 0.01, 16000, subtype="FLOAT")
    assert run(recording(tmp_path / "a.wav"), max_gain=6.0).full_rate().gain == pytest.approx(10**0.3)


def test_inverted_channel_does_not_cancel(tmp_path: Path, recording: Make) -> None:
    mono = synth.speech(1.0)
    sf.write(tmp_path / "a.wav", np.stack([mono, -mono], axis=1), 16000)
    done = run(recording(tmp_path / "a.wav"))
    assert done.outcome == "ok"
    assert done.facts["downmix"] == "first"


def test_not_a_number_is_silence(tmp_path: Path, recording: Make) -> None:
    samples = synth.speech(1.0)
    samples[[100, 5000, 9000]] = [np.nan, np.inf, -1e30]
    sf.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    done = run(recording(tmp_path / "a.wav"))
    heard = done.full_rate().read(0, 24000)
    assert np.isfinite(heard).all()
    samples[[100, 5000, 9000]] = 0
    sf.write(tmp_path / "b.wav", samples, 16000, subtype="FLOAT")
    assert np.array_equal(heard, run(recording(tmp_path / "b.wav")).full_rate().read(0, 24000))


def test_constant_offset_is_removed(tmp_path: Path, recording: Make) -> None:
    sf.write(tmp_path / "a.wav", synth.speech(1.0) + 0.3, 16000)
    assert abs(run(recording(tmp_path / "a.wav")).full_rate().read(0, 24000).mean()) < 1e-3


def test_silence_is_no_speech(tmp_path: Path, recording: Make) -> None:
    sf.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    done = run(recording(tmp_path / "a.wav"))
    assert done.outcome == "no_speech"
    assert done.facts["loudness_lufs"] is None


def test_a_moment_is_too_short(tmp_path: Path, recording: Make) -> None:
    sf.write(tmp_path / "a.wav", synth.speech(0.05), 16000)
    done = run(recording(tmp_path / "a.wav"))
    assert done.outcome == "too_short"
    assert done.duration == 0.05


BAD = {
    "empty": (b"", "empty"),
    "one byte": (b"x", "not_audio"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>" * 50, "not_audio"),
    "noise": (np.random.default_rng(0).bytes(3000), "not_audio"),
    "header": (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
        + b"data\x00\x00\x00\x00", "corrupt"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(BAD))
def test_bad_input_is_blamed(tmp_path: Path, recording: Make, kind: str) -> None:
    content, reason = BAD[kind]
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(BadAudio) as caught:
        run(recording(tmp_path / "a.mp3"))
    assert caught.value.reason == reason
    assert "a.mp3" in str(caught.value)


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{talk}\n#EXT-X-ENDLIST\n",
    "a.mp3": "ffconcat version 1.0\nfile '{talk}'\n",
    "b.mp3": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{talk}\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", list(PLAYLISTS))
def test_playlists_do_not_open_other_files(tmp_path: Path, recording: Make, talk: Path, name: str) -> None:
    (tmp_path / talk.name).write_bytes(talk.read_bytes())
    (tmp_path / name).write_text(PLAYLISTS[name].format(talk=talk.name))
    with pytest.raises(BadAudio, match="not an audio file"):
        run(recording(tmp_path / name))


def test_concat_would_have_been_followed(tmp_path: Path, talk: Path) -> None:
    """The guard guards: FFmpeg left alone reads the file that the list names."""
    (tmp_path / talk.name).write_bytes(talk.read_bytes())
    (tmp_path / "a.mp3").write_text(PLAYLISTS["a.mp3"].format(talk=talk.name))
    with av.open(str(tmp_path / "a.mp3")) as container:
        assert container.format.name == "concat"


def test_video_without_sound_has_no_audio_stream(tmp_path: Path, recording: Make) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadAudio) as caught:
        run(recording(tmp_path / "a.mp4"))
    assert caught.value.reason == "no_audio_stream"


def test_partial_damage_is_counted(tmp_path: Path, recording: Make) -> None:
    path = tmp_path / "a.mp3"
    encoded(path, synth.speech(4.0)[None], 16000, codec="libmp3lame", layout="mono", sample_format="fltp")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(3).bytes(3000)
    path.write_bytes(content)
    done = run(recording(path))
    assert done.outcome == "ok"
    assert 2.0 < done.duration < 4.3
    assert isinstance(done.facts["decode_errors"], int)
    assert done.facts["decode_errors"] >= 1


def test_truncated_file_keeps_its_beginning(tmp_path: Path, recording: Make, talk: Path) -> None:
    content = talk.read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    assert run(recording(tmp_path / "a.wav")).duration == pytest.approx(6.0, abs=0.3)


def test_rate_may_change_on_the_way(tmp_path: Path, recording: Make) -> None:
    for name, rate in (("a.mp3", 44100), ("b.mp3", 16000)):
        samples = soxr.resample(synth.speech(2.0), synth.RATE, rate)[None]
        encoded(tmp_path / name, samples, rate, codec="libmp3lame", layout="mono", sample_format="fltp")
    (tmp_path / "c.mp3").write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    assert run(recording(tmp_path / "c.mp3")).duration == pytest.approx(4.0, abs=0.3)


def test_length_is_capped_by_header_and_by_count(tmp_path: Path, recording: Make, talk: Path) -> None:
    with pytest.raises(BadAudio) as caught:
        run(recording(talk), max_hours=10 / 3600)
    assert caught.value.reason == "too_long_declared"
    # Streamed WAV files declare nonsense and no length; they are counted while they are decoded.
    content = bytearray(talk.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.aac").write_bytes(content)
    encoded(tmp_path / "b.adts", synth.speech(4.0)[None], 16000, codec="aac", layout="mono", sample_format="fltp")
    with pytest.raises(BadAudio) as caught:
        run(recording(tmp_path / "b.adts"), max_hours=1 / 3600)
    assert caught.value.reason in {"too_long", "too_long_declared"}
    assert run(recording(tmp_path / "a.aac")).duration == pytest.approx(11.9, abs=0.5)


def published_level(mono: Samples) -> Samples:
    """The published rule on the mixed and resampled samples: towards -20 dBFS within 3 dB, clipped as integers are, and
    divided by the greatest of them.
    """
    level = 20 * np.log10(np.sqrt(np.mean(mono.astype(np.float64) ** 2)))
    moved = np.clip(mono * 10 ** (min(max(-20 - level, -3), 3) / 20), -1, 1)
    return (moved / np.max(np.abs(moved))).astype(np.float32)


@pytest.mark.parametrize("level", [0.005, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("click", [0.0, 0.99])
@pytest.mark.parametrize("offset", [0.0, 0.05])
def test_compat_levels_as_published(tmp_path: Path, recording: Make, level: float, click: float, offset: float) -> None:
    samples = synth.speech(2.0, rate=24000) * np.float32(level) + np.float32(offset)
    samples[5000] += click
    sf.write(tmp_path / "a.wav", samples, 24000, subtype="FLOAT")
    stage = Standardize(load_config(None, overrides={"pipeline.compat": True}))
    stage.load("cpu")
    done = recording(tmp_path / "a.wav")
    stage.run(done, hush)
    wave = done.full_rate()
    assert np.abs(wave.read(0, wave.frames) - published_level(stored(done))).max() < 1e-6
    assert np.abs(wave.read(0, wave.frames)).max() == pytest.approx(1.0, abs=1e-6)
    assert (wave.bias, wave.ceiling) == (0.0, 1.0)
    assert done.narrow_rate().gain == wave.gain


def test_compat_level_of_silence(tmp_path: Path, recording: Make) -> None:
    sf.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    stage = Standardize(load_config(None, overrides={"pipeline.compat": True}))
    stage.load("cpu")
    done = recording(tmp_path / "a.wav")
    stage.run(done, hush)
    assert done.outcome == "no_speech"
    assert not done.full_rate().read(0, 24000).any()


def test_progress_may_stop_it(recording: Make, talk: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_share: float) -> None:
        raise Enough

    stage = Standardize(load_config(None))
    stage.load("cpu")
    with pytest.raises(Enough):
        stage.run(recording(talk), stop)
