"""Whole recordings through files, and what is measured of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from duplexforge.errors import InputError
from duplexforge.models import audio_file, container, whole
from duplexforge.models.codec import Packets, open_codec
from duplexforge.models.mdct_codec import MdctCodec
from duplexforge.models.measure import block_kbps, measure, snr, table
from tests.unit.models.voices import RATE, voice


def opened(mode: str = "fidelity", **changes: Any) -> MdctCodec:
    codec = open_codec(mode)
    assert isinstance(codec, MdctCodec)
    return replace(codec, **changes)


@pytest.mark.parametrize("mode", ["fidelity", "balanced"])
def test_a_file_holds_the_recording_within_its_rate(mode: str) -> None:
    wave = voice(0.8, 3)
    codec = whole.steadied(opened(mode, kbps=14.0), wave)
    data = whole.pack(codec, wave)
    assert 12 < whole.file_kbps(len(data), wave, RATE) <= 14
    found = whole.unpack(data)
    assert (found.damaged, found.concealed) == (0, 0)
    assert len(found.wave) == len(wave)
    assert snr(wave, found.wave) > 15


@pytest.mark.parametrize("length", [0, 1, 159, 160, 480, 481, 640, 641])
def test_any_length_comes_back(length: int) -> None:
    wave = voice(0.1)[:length]
    assert len(whole.unpack(whole.pack(whole.steadied(opened(), wave), wave)).wave) == length


def test_one_step_is_better_than_a_budget_at_the_same_rate() -> None:
    wave = np.concatenate([voice(1.5, 1, 0.2), voice(1.5, 2, 0.02)])
    stream = whole.pack(opened(), wave)
    rate = whole.file_kbps(len(stream), wave, RATE)
    steady = whole.pack(whole.steadied(opened(kbps=rate), wave), wave)
    assert len(steady) <= len(stream)
    assert snr(wave, whole.unpack(steady).wave) > snr(wave, whole.unpack(stream).wave) - 0.2


def test_damage_is_counted_and_the_rest_is_heard() -> None:
    wave = voice(1.0)
    data = bytearray(whole.pack(opened(step=300), wave))
    data[len(data) // 2] ^= 0xFF
    found = whole.unpack(bytes(data))
    assert found.damaged == 1
    # What comes after it cannot be read either, until the voice starts afresh; here the recording ends before.
    assert 10 < found.concealed < 17
    assert len(found.wave) == len(wave)
    assert np.isfinite(found.wave).all()


def test_a_file_that_lies_is_refused() -> None:
    codec = opened()
    packets = Packets("fidelity", RATE, 10**9, (b"",))
    with pytest.raises(InputError, match="cannot hold"):
        whole.unpack(container.write(packets, codec.weights))
    with pytest.raises(InputError, match="other weights"):
        whole.unpack(container.write(packets, codec.weights ^ 1))
    with pytest.raises(InputError, match="mode opus"):
        whole.unpack(container.write(replace(packets, mode="opus"), codec.weights))
    with pytest.raises(InputError, match="8000 Hz"):
        whole.unpack(container.write(replace(packets, rate=8000, samples=10), codec.weights))


def test_a_measured_row_counts_every_byte() -> None:
    wave, codec = voice(1.0), opened(step=300)
    row = measure("a.wav", codec, wave)
    assert row.kbps == whole.file_kbps(len(whole.pack(codec, wave)), wave, RATE)
    assert row.p95_kbps > 0.8 * row.kbps
    assert row.packet_ms > 0
    text = table([row, row])
    assert text.splitlines()[-1].endswith("mean")
    assert "a.wav" in text
    assert row.to_json()["name"] == "a.wav"


def test_blocks_share_out_the_bits_by_time() -> None:
    assert block_kbps([100] * 10, 0.04).tolist() == pytest.approx([20.0] * 4)
    # 5 packets of 40 ms are 2 blocks of 100 ms, and the third packet lies in both.
    assert block_kbps([0, 0, 100, 0, 0], 0.04).tolist() == pytest.approx([4.0, 4.0])
    assert len(block_kbps([], 0.04)) == 0


def test_sound_is_read_as_one_channel_at_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    wave = voice(0.5)
    sf.write(path, np.stack([wave, 0 * wave], axis=1), RATE)
    assert np.abs(audio_file.read(path, RATE) - wave / 2).max() < 1e-4
    sf.write(path, np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100), 44_100)
    found = audio_file.read(path, RATE)
    assert abs(len(found) - RATE) <= 1
    assert found.dtype == np.float32


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing")
    for path in (bad, tmp_path / "missing.wav"):
        with pytest.raises(InputError, match="cannot read"):
            audio_file.read(path, RATE)
    odd = tmp_path / "odd.wav"
    sf.write(odd, np.array([0.0, np.inf, np.nan]), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match="no numbers"):
        audio_file.read(odd, RATE)
    for path in (tmp_path / "no" / "folder.wav", tmp_path / "a.nonsense", tmp_path / "none"):
        with pytest.raises(InputError, match="cannot write"):
            audio_file.write(path, voice(0.1), RATE)
