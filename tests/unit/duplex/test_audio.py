"""Recordings as streams: any form, any rate, exact lengths, no delay, nothing wrapped, holes at their place."""

from __future__ import annotations

import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from duplexforge.duplex import audio as module
from duplexforge.duplex.audio import FileAudio, header_of, not_numbers, resampled, to_pcm
from duplexforge.duplex.corpus import Samples
from duplexforge.errors import InputError

RATES = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def tone(seconds: float, rate: int, hertz: float = 440.0) -> Samples:
    """A tone that swells, so that a delay shows."""
    at = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at) * np.sin(np.pi * at / seconds)).astype(np.float32)


def whole(audio: FileAudio, rate: int) -> Samples:
    return np.concatenate([*audio.blocks(rate)])


def test_every_form_is_heard_alike(tmp_path: Path) -> None:
    for rate in (16_000, 44_100, 48_000):
        for channels in (1, 2):
            for name, subtype in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("c.flac", "PCM_24"), ("d.wav", "PCM_U8")):
                path = tmp_path / f"{rate}-{channels}-{name}"
                sf.write(path, np.repeat(tone(1.3, rate)[:, None], channels, axis=1), rate, subtype=subtype)
                for wanted in (16_000, 24_000):
                    found = whole(FileAudio(str(path)), wanted)
                    assert found.dtype == np.float32
                    assert len(found) == round(Fraction(round(1.3 * rate) * wanted, rate))
                    quiet = 0.02 if subtype == "PCM_U8" else 2e-3
                    np.testing.assert_allclose(found, tone(1.3, wanted)[: len(found)], atol=quiet)


@settings(max_examples=80, deadline=None)
@given(
    source=st.sampled_from(RATES),
    rate=st.sampled_from(RATES),
    blocks=st.lists(st.integers(1, 5000), max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_lengths_add_up_and_blocks_do_not_matter(source: int, rate: int, blocks: list[int], seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, sum(blocks)).astype(np.float32)
    ends = np.cumsum(blocks)
    parts = [sound[end - size : end] for size, end in zip(blocks, ends, strict=True)]
    empty = np.zeros(0, np.float32)
    found = np.concatenate([empty, *resampled(parts, source, rate)])
    once = np.concatenate([empty, *resampled([sound], source, rate)])
    assert len(found) == round(Fraction(len(sound) * rate, source))
    np.testing.assert_allclose(found, once, atol=1e-5)


def test_aliases_are_gone() -> None:
    high = tone(1.0, 48_000, hertz=9_000.0)
    low = tone(1.0, 48_000, hertz=1_000.0)
    inside = slice(2000, -2000)
    assert np.abs(np.concatenate([*resampled([high], 48_000, 16_000)])[inside]).max() < 1e-4
    assert np.abs(np.concatenate([*resampled([low], 48_000, 16_000)])[inside]).max() > 0.45


def test_one_channel_or_the_mean_of_all(tmp_path: Path) -> None:
    left, right = tone(0.5, 16_000), tone(0.5, 16_000, 700.0)
    sf.write(tmp_path / "two.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    path = str(tmp_path / "two.wav")
    np.testing.assert_array_equal(whole(FileAudio(path, 0), 16_000), left)
    np.testing.assert_array_equal(whole(FileAudio(path, 1), 16_000), right)
    np.testing.assert_allclose(whole(FileAudio(path), 16_000), (left + right) / 2, atol=1e-7)
    for channel in (2, -1):
        with pytest.raises(InputError, match=f"two.wav has 2 channels, none is number {channel}"):
            whole(FileAudio(path, channel), 16_000)


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.m4a", "aac", "fltp"), ("b.mka", "pcm_s32le", "s32"), ("c.mka", "alac", "s16p"), ("d.mka", "pcm_u8", "u8")],
)
def test_what_libsndfile_cannot_read_ffmpeg_can(tmp_path: Path, name: str, codec: str, form: str) -> None:
    rate = 44_100
    stereo = np.repeat(tone(1.0, rate)[None], 2, axis=0)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        for ready in av.AudioResampler(format=form, layout="stereo", rate=rate).resample(frame):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    header = header_of(tmp_path / name)
    assert (header.rate, header.channels) == (rate, 2)
    assert header.seconds is None or header.seconds == pytest.approx(1.0, abs=0.1)
    found = whole(FileAudio(str(tmp_path / name), 1), 16_000)
    # AAC fills its last packet up: 1,024 samples at most.
    assert 16_000 <= len(found) <= 16_400
    assert np.corrcoef(found[:15_500], tone(1.0, 16_000)[:15_500])[0, 1] > 0.99


def test_what_is_no_number_stays_at_its_place_and_spoils_nothing_else(tmp_path: Path) -> None:
    sound = tone(1.0, 48_000)
    holes = [0, 3_000, 24_000, 24_001, 47_999]
    broken = sound.copy()
    broken[holes] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    sf.write(tmp_path / "broken.wav", broken, 48_000, subtype="FLOAT")
    muted = sound.copy()
    muted[holes] = 0.0
    sf.write(tmp_path / "muted.wav", muted, 48_000, subtype="FLOAT")
    for rate in (48_000, 24_000, 16_000):
        found, expected = (whole(FileAudio(str(tmp_path / name)), rate) for name in ("broken.wav", "muted.wav"))
        places = {hole * rate // 48_000 for hole in holes}
        assert set(np.flatnonzero(~np.isfinite(found))) == places
        assert not_numbers(found) == len(places)
        good = np.isfinite(found)
        np.testing.assert_array_equal(found[good], expected[good])
        assert (to_pcm(found)[~good] == 0).all()


def test_channels_that_cancel_to_no_number_are_no_warning(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.array([[np.inf, -np.inf], [3e38, 3e38], [0.5, 0.5]]), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(to_pcm(whole(FileAudio(str(tmp_path / "a.wav")), 16_000))[::2], [0, 16384])


@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)))
def test_nothing_is_wrapped(samples: Samples) -> None:
    pcm = to_pcm(samples)
    assert pcm.dtype == np.int16
    for value, whole_value in zip(samples.tolist(), pcm.tolist(), strict=True):
        if not np.isfinite(value):
            assert whole_value == 0
        else:
            assert abs(whole_value - min(max(value * 32768.0, -32768.0), 32767.0)) <= 0.5


def test_full_scale_and_rounding() -> None:
    assert to_pcm(np.array([1.0, -1.0, 1.5, -7.0, 0.5 / 32768, 1.5 / 32768], np.float32)).tolist() == [
        *(32767, -32768, 32767, -32768, 0, 2),
    ]


@pytest.mark.parametrize("body", [b"", b"RIFF" + bytes(60), b"<html>" * 50, b"#EXTM3U\n/etc/passwd\n"])
def test_what_is_no_recording_is_refused_in_one_sentence(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(body)
    for read in (lambda: header_of(path), lambda: whole(FileAudio(str(path)), 16_000)):
        with pytest.raises(InputError, match=r"^bad\.wav is not an audio file that can be read$") as caught:
            read()
        assert caught.value.reason == "unreadable_audio"


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no audio stream"):
        header_of(tmp_path / "film.mkv")


def test_a_file_whose_end_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    sf.write(path, np.random.default_rng(0).uniform(-1, 1, 100_000), 16_000)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(InputError) as caught:
        whole(FileAudio(str(path)), 24_000)
    assert caught.value.reason == "corrupt"


def test_an_mp3_that_was_cut_off_is_not_filled_with_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    sf.write(path, tone(4.0, 16_000), 16_000)
    assert header_of(path).frames is None
    found = whole(FileAudio(str(path)), 16_000)
    assert len(found) == pytest.approx(64_000, abs=1200)
    assert np.corrcoef(found[:60_000], tone(4.0, 16_000)[:60_000])[0, 1] > 0.99
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(whole(FileAudio(str(path)), 16_000)) < 40_000


def test_it_travels_to_other_processes(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)
    audio = FileAudio(str(tmp_path / "a.wav"), 0)
    body = pickle.dumps(audio)
    assert pickle.loads(body) == audio
    assert len(body) < 500


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_the_mean_is_numpys(tmp_path: Path, channels: int) -> None:
    sound = np.random.default_rng(5).uniform(-1, 1, (5000, channels)).astype(np.float32)
    sf.write(tmp_path / "it.wav", sound, 16_000, subtype="FLOAT")
    heard = np.concatenate(list(FileAudio(str(tmp_path / "it.wav")).blocks(16_000)))
    np.testing.assert_array_equal(heard, sound.mean(axis=1))


@pytest.mark.parametrize(
    ("rate", "known"), [(1, False), (3_999, False), (4_000, True), (768_000, True), (10**7, False)]
)
def test_a_rate_that_no_recorder_has_is_a_broken_header(tmp_path: Path, rate: int, known: bool) -> None:
    sf.write(tmp_path / "it.wav", np.zeros(4000), rate)
    if known:
        assert header_of(tmp_path / "it.wav").rate == rate
        return
    with pytest.raises(InputError, match=f"it.wav says that it has {rate} samples a second") as caught:
        next(FileAudio(str(tmp_path / "it.wav")).blocks(16_000))
    assert caught.value.reason == "unreadable_audio"


@pytest.mark.parametrize("name", ["it.flac", "it.mp3"])
def test_days_of_silence_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    sf.write(tmp_path / name, np.zeros(16_000 * 30), 16_000)
    monkeypatch.setattr(module, "_MOST_HOURS", 20 / 3600)
    taken: list[int] = []
    with pytest.raises(InputError, match=f"{name} is longer than .* hours: cut it") as caught:
        taken.extend(len(block) for block in FileAudio(str(tmp_path / name)).blocks(16_000))
    assert caught.value.reason == "too_long"
    # Told by the header where that can be trusted, else when it is over.
    assert taken == [] if name.endswith("flac") else sum(taken) < 21 * 16_000


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Ten minutes in stereo are 230 MB of float32; of that only some seconds may be held."""
    with sf.SoundFile(tmp_path / "long.wav", "w", 48_000, 2, "PCM_16") as file:
        minute = np.zeros((48_000 * 60, 2), np.int16)
        for _ in range(10):
            file.write(minute)
    tracemalloc.start()
    try:
        count = sum(len(block) for block in FileAudio(str(tmp_path / "long.wav")).blocks(24_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 600 * 24_000
    assert peak < 40e6
