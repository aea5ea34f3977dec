"""Speaker embeddings: the filter bank against plain restatements, the network's contract, and whose voice is heard."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.duplex.corpus import Samples, Track, Utterance
from duplexforge.duplex.fbank import Taper, fbank
from duplexforge.duplex.speakers import embed_track, load_embedder, voice_of
from duplexforge.errors import ConfigError, ModelError
from duplexforge.models import weights_file
from tests.duplex.network import speaker_network, weights
from tests.unit.models.speakers_made import encoder, written

RATE = 16_000


def speech(seconds: float, seed: int = 0, pitch: float = 140.0) -> Samples:
    """A buzz with a formant and some noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * pitch * order * at) / (1 + abs(order * pitch - 700) / 200) for order in range(1, 30))
    return (0.05 * sound + 0.01 * rng.standard_normal(len(at))).astype(np.float32)


@dataclass(frozen=True)
class Held:
    """A track in memory that counts what was read of it."""

    samples: Samples
    block: int
    read: list[int]

    def blocks(self, rate: int) -> Iterator[Samples]:
        """The samples, which must be wanted at their own rate."""
        assert rate == RATE
        for start in range(0, len(self.samples), self.block):
            self.read.append(start)
            yield self.samples[start : start + self.block]


def held(samples: Samples, block: int = 5_000) -> Held:
    return Held(samples, block, [])


def restated(samples: Samples, window: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Kaldi's filter bank in plain loops over frames, bins and bands, with the Fourier sum written out."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    turns = np.exp(-2j * np.pi * np.outer(np.arange(256), np.arange(400)) / 512)
    step = (mel(8000.0) - mel(20.0)) / 81
    rows = []
    for first in range(0, len(samples) - 399, 160):
        frame = samples[first : first + 400].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.array([frame[k] - 0.97 * frame[max(k - 1, 0)] for k in range(400)]) * window
        power = np.abs(turns @ frame) ** 2
        row = []
        for band in range(80):
            left, middle, right = (mel(20.0) + step * (band + edge) for edge in range(3))
            energy = 0.0
            for number in range(256):
                here = mel(number * 8000.0 / 256)
                if left < here < right:
                    energy += power[number] * ((here - left) if here <= middle else (right - here)) / step
            row.append(math.log(max(energy, 1.1920928955078125e-07)))
        rows.append(row)
    return np.array(rows)


def hamming() -> npt.NDArray[np.float64]:
    return np.array([0.54 - 0.46 * math.cos(2 * math.pi * k / 399) for k in range(400)])


def povey() -> npt.NDArray[np.float64]:
    return np.array([(0.5 - 0.5 * math.cos(2 * math.pi * k / 399)) ** 0.85 for k in range(400)])


def test_the_filter_bank_is_kaldis_in_plain_loops() -> None:
    for scale in (1.0, 32768.0):
        sound = speech(0.05) * np.float32(scale)
        np.testing.assert_allclose(fbank(sound, "hamming"), restated(sound, hamming()), atol=2e-3)
        np.testing.assert_allclose(fbank(sound, "povey"), restated(sound, povey()), atol=2e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("taper", ["hamming", "povey"])
def test_the_filter_bank_is_torchaudios(taper: Taper) -> None:
    import torch
    from torchaudio.compliance import kaldi

    sound = speech(3.0) * np.float32(32768.0)
    theirs = kaldi.fbank(
        torch.from_numpy(sound)[None], num_mel_bins=80, sample_frequency=RATE, window_type=taper, dither=0.0
    ).numpy()
    ours = fbank(sound, taper)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_only_whole_frames(samples: int, frames: int) -> None:
    assert fbank(np.zeros(samples, np.float32), "povey").shape == (frames, 80)


@pytest.mark.parametrize(("name", "scale", "taper"), [("feats", 32768.0, "hamming"), ("feature", 1.0, "povey")])
def test_a_network_hears_its_own_kind_of_bank(tmp_path: Path, name: str, scale: float, taper: Taper) -> None:
    embedder = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx', name=name)}")
    sound = speech(2.0)
    found = embedder.embed(sound)
    assert found is not None
    assert (found.dtype, found.shape) == (np.float32, (192,))
    bank = fbank(sound * np.float32(scale), taper).astype(np.float64)
    bank -= bank.mean(axis=0)
    expected = (bank**2).mean(axis=0) @ weights()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)
    assert float(np.linalg.norm(found)) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(found, embedder.embed(sound.copy()))


def test_the_name_tells_the_weights_and_no_place(tmp_path: Path) -> None:
    one = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx')}").name
    (tmp_path / "elsewhere").mkdir()
    same = load_embedder(f"onnx:{speaker_network(tmp_path / 'elsewhere' / 'net.onnx')}").name
    other = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx', zero=True)}").name
    assert one == same != other
    assert one.startswith("onnx:net.onnx@")
    assert str(tmp_path) not in one


def test_what_cannot_be_heard_is_none(tmp_path: Path) -> None:
    embedder = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx')}")
    assert embedder.embed(speech(0.99)) is None
    assert embedder.embed(np.zeros(0, np.float32)) is None
    assert embedder.embed(np.full(RATE * 2, 1e-6, np.float32)) is None
    assert embedder.embed(np.full(RATE * 2, np.nan, np.float32)) is None
    broken = speech(2.0)
    broken[5] = np.nan
    assert embedder.embed(broken) is not None
    silent = load_embedder(f"onnx:{speaker_network(tmp_path / 'zero.onnx', zero=True)}")
    assert silent.embed(speech(2.0)) is None, "zeros would look like a voice"


def test_an_encoder_of_our_own_is_an_engine(tmp_path: Path) -> None:
    path = written(tmp_path / "speakers.safetensors", 4)
    embedder = load_embedder(str(path))
    sound = speech(2.0)
    found = embedder.embed(sound)
    assert found is not None
    assert (found.dtype, found.shape) == (np.float32, (192,))
    assert float(np.linalg.norm(found)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, encoder(4).embed(sound), atol=1e-6)
    assert embedder.embed(speech(0.99)) is None
    assert embedder.embed(np.full(RATE * 2, 1e-6, np.float32)) is None
    sound[5] = np.nan
    assert embedder.embed(sound) is not None


def test_its_name_tells_the_weights_and_no_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, same, other = (
        load_embedder(str(written(tmp_path / place / "speakers.safetensors", seed))).name
        for place, seed in ((".", 1), ("elsewhere", 1), (".", 2))
    )
    assert one == same != other
    digest = hashlib.sha256((tmp_path / "elsewhere" / "speakers.safetensors").read_bytes()).hexdigest()
    assert one == f"speakers:speakers.safetensors@{digest[:12]}"


def test_weights_that_are_no_speaker_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no speaker encoder at .*none\.safetensors"):
        load_embedder(str(tmp_path / "none.safetensors"))
    (tmp_path / "x.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match=r"x\.safetensors is no safetensors file"):
        load_embedder(str(tmp_path / "x.safetensors"))
    with pytest.raises(ModelError, match="holds no speaker encoder"):
        load_embedder(str(weights_file.FOLDER / "base.safetensors"))


def test_none_measures_nothing_and_reads_nothing() -> None:
    embedder = load_embedder("none")
    track = Track("A", held(speech(2.0)), (Utterance(0.0, 2.0, "hello"),))
    assert embedder.name == "none"
    assert embedder.embed(speech(2.0)) is None
    assert embed_track(embedder, track) is None
    assert track.audio.read == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "onnx", "onnx:", "none:x", "ecapa", "torch:model.pt"])
def test_engines_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="is no speaker engine"):
        load_embedder(name)


def test_networks_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no speaker network at"):
        load_embedder(f"onnx:{tmp_path / 'absent.onnx'}")
    (tmp_path / "bad.onnx").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match=r"^bad\.onnx is not an ONNX network"):
        load_embedder(f"onnx:{tmp_path / 'bad.onnx'}")
    wide = speaker_network(tmp_path / "wide.onnx", width=256)
    with pytest.raises(ConfigError, match=r"wide\.onnx makes \[1, 256\] of a voice, a data set holds \[1, 192\]"):
        load_embedder(f"onnx:{wide}")
    double = speaker_network(tmp_path / "double.onnx", second=True)
    with pytest.raises(ConfigError, match=r"double\.onnx is no speaker network: it has 2 inputs instead of one"):
        load_embedder(f"onnx:{double}")
    coarse = speaker_network(tmp_path / "coarse.onnx", bands=40)
    with pytest.raises(ConfigError, match=r"coarse\.onnx does not take a filter bank"):
        load_embedder(f"onnx:{coarse}")


def test_two_voices_are_told_apart(tmp_path: Path) -> None:
    embedder = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx')}")
    once, again, other = (
        embedder.embed(speech(3.0, seed, pitch)) for seed, pitch in ((1, 120.0), (2, 120.0), (3, 230.0))
    )
    assert once is not None
    assert again is not None
    assert other is not None
    assert float(once @ again) > float(once @ other)


def test_a_track_is_heard_where_its_speaker_speaks(tmp_path: Path) -> None:
    embedder = load_embedder(f"onnx:{speaker_network(tmp_path / 'net.onnx')}")
    sound = np.concatenate([np.zeros(RATE, np.float32), speech(2.0), speech(3.0, 9, 250.0)])
    found = embed_track(embedder, Track("A", held(sound), (Utterance(1.0, 3.0, "hello"),)))
    expected = embedder.embed(speech(2.0))
    assert found is not None
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=80, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), max_size=8),
    tenths=st.integers(1, 120),
    block=st.integers(1, 30_000),
)
def test_the_longest_utterances_in_order_of_time(spans: list[tuple[int, int]], tenths: int, block: int) -> None:
    """Each sample is its own number, so what was taken tells where from."""
    count = 10 * RATE
    track = held(np.arange(count, dtype=np.float32), block * 10)
    said = [Utterance(start / 10, (start + length) / 10, "x") for start, length in spans]
    found = voice_of(track, said, seconds=tenths / 10).astype(np.int64)
    assert len(found) <= tenths * RATE // 10
    assert np.all(np.diff(found) > 0), "in order, nothing twice"
    inside = np.zeros(count, bool)
    for start, length in spans:
        inside[start * RATE // 10 : (start + length) * RATE // 10] = True
    assert inside[found].all()
    if spans:
        longest = min(max(length for _, length in spans), tenths)
        ends = [start + length for start, length in spans]
        if max(ends) <= 100:
            assert len(found) >= longest * RATE // 10


def test_reading_ends_behind_the_last_wanted_sample() -> None:
    track = held(np.zeros(60 * RATE, np.float32), RATE)
    found = voice_of(track, [Utterance(1.0, 2.5, "x"), Utterance(4.0, 4.5, "y")])
    assert len(found) == 2 * RATE
    assert track.read[-1] == 4 * RATE
    unread = held(np.zeros(RATE, np.float32))
    assert len(voice_of(unread, [])) == 0
    assert unread.read == []


def test_what_is_held_of_a_long_track_is_what_was_wanted() -> None:
    found = voice_of(held(np.zeros(200 * RATE, np.float32)), [Utterance(10.0, 150.0, "on and on")])
    assert len(found) == 60 * RATE
