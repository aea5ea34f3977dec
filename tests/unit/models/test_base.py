"""The mode base: rows and packets, streams that equal the whole, causality, slots, losses, damage, controls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.models import base, whole
from duplexforge.models.base import BaseCodec
from duplexforge.models.base_pitch import pitches_of
from duplexforge.models.codec import MODES, decode, encode, open_codec
from duplexforge.models.quality import f0_track
from tests.unit.models.vowels import vowel
from tests.unit.training.made import voice

RATE = 16_000


@pytest.fixture(scope="module")
def codec() -> BaseCodec:
    assert MODES["base"] == "duplexforge.models.base"
    found = open_codec("base")
    assert isinstance(found, BaseCodec)
    return found


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return voice(0.7, 120, seed=1)


def heard(codec: BaseCodec, wave: np.ndarray) -> np.ndarray:
    return codec.decoder().push_tokens(codec.tokens(wave)[None])[0]


def test_what_the_mode_says_of_itself(codec: BaseCodec) -> None:
    assert (codec.rate, codec.hop, codec.packet, codec.entries) == (16_000, 640, 640, 1024)
    assert (codec.books, codec.kbps) == (6, 1.5)
    # 40 ms of look-ahead beyond the frame are the most that the language model can wait for.
    assert codec.delay - codec.hop <= 640
    assert base.open_mode("base", 1.5).weights == codec.weights
    with pytest.raises(UsageError, match=r"1\.5 kbps; 2 is none"):
        base.open_mode("base", 2.0)


def test_a_row_is_a_packet(codec: BaseCodec, wave: np.ndarray) -> None:
    tokens = codec.tokens(wave)
    assert (tokens.dtype, tokens.shape) == (np.int16, (-(-len(wave) // 640), 6))
    packets = encode(codec, wave).packets
    assert [codec.packet_of(row) for row in tokens] == list(packets)
    assert np.array_equal([codec.tokens_of(packet or b"") for packet in packets], tokens)
    assert {len(packet or b"") for packet in packets} == {8}
    with pytest.raises(InputError, match="8 bytes, not 3"):
        codec.tokens_of(b"abc")


@given(row=st.lists(st.integers(0, 1023), min_size=6, max_size=6))
def test_packing_is_exact(row: list[int]) -> None:
    assert base.unpack(base.pack(np.array(row), 6), 6).tolist() == row


@pytest.mark.parametrize("row", [[1, 2, 3], [1, 2, 3, 4, 5, 1024], [1, 2, 3, 4, 5, -1]])
def test_what_is_no_row_is_not_packed(codec: BaseCodec, row: list[int]) -> None:
    with pytest.raises(InputError, match="6 whole numbers from 0 to 1023"):
        codec.packet_of(row)


def test_tokens_and_packets_sound_the_same(codec: BaseCodec, wave: np.ndarray) -> None:
    assert np.array_equal(heard(codec, wave)[: len(wave)], decode(codec, encode(codec, wave)))


def test_it_goes_through_a_file(codec: BaseCodec, wave: np.ndarray) -> None:
    found = whole.unpack(whole.pack(codec, wave))
    assert (found.damaged, found.concealed) == (0, 0)
    assert np.array_equal(found.wave, decode(codec, encode(codec, wave)))


@given(cuts=st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=5, deadline=None)
def test_any_cutting_gives_the_same(cuts: list[int]) -> None:
    codec, wave = open_codec("base"), voice(0.3, 150, seed=2)
    expected = encode(codec, wave)
    encoder, decoder = codec.encoder(), codec.decoder()
    rows: list[list[bytes]] = []
    at = 0
    for cut in [*cuts, len(wave)]:
        rows += encoder.push(wave[None, at : at + cut])
        at += cut
    rows += encoder.flush()
    assert [row[0] for row in rows] == list(expected.packets)
    sound = np.concatenate([decoder.push([row])[0] for row in rows])
    assert np.array_equal(sound[: len(wave)], decode(codec, expected))


def test_the_future_never_changes_the_past(codec: BaseCodec, wave: np.ndarray) -> None:
    at = 6000
    other = wave.copy()
    other[at:] = np.random.default_rng(1).uniform(-1, 1, len(wave) - at)
    first, second = codec.tokens(wave), codec.tokens(other)
    # Frame k says nothing of samples from 640·k + 640 + 25 ms on.
    same = (at - codec.delay) // 640 + 1
    assert np.array_equal(first[:same], second[:same])
    assert not np.array_equal(first[same : same + 3], second[same : same + 3])
    # The decoder waits for nothing: each row's sound is there with the row.
    decoder = codec.decoder()
    stepwise = np.concatenate([decoder.push_tokens(row[None, None])[0] for row in first])
    assert np.array_equal(stepwise, codec.decoder().push_tokens(first[None])[0])


def test_the_delay_is_what_it_says(codec: BaseCodec, wave: np.ndarray) -> None:
    encoder, decoder = codec.encoder(), codec.decoder()
    came, most = 0, 0
    for at in range(0, len(wave), 40):
        came += decoder.push(encoder.push(wave[None, at : at + 40])).shape[1]
        most = max(most, at + 40 - came)
    assert most <= codec.delay
    assert most > codec.delay - 80


def test_slots_share_a_clock_and_nothing_else(codec: BaseCodec, wave: np.ndarray) -> None:
    both = np.stack([wave, voice(0.7, 210, seed=3)])
    encoder, decoder = codec.encoder(2), codec.decoder(2)
    rows = encoder.push(both) + encoder.flush()
    assert [list(one) for one in zip(*rows, strict=True)] == [list(encode(codec, one).packets) for one in both]
    decoder.set_controls(0, pitch=1.3)
    sound = decoder.push(rows)
    assert np.array_equal(sound[1], heard(codec, both[1]))
    assert not np.array_equal(sound[0], heard(codec, both[0]))


def test_reset_starts_some_slots_afresh(codec: BaseCodec, wave: np.ndarray) -> None:
    pair = np.stack([wave, wave])
    mask = np.array([False, True])
    encoder, decoder = codec.encoder(2), codec.decoder(2)
    decoder.set_controls(1, energy=0.5)
    decoder.push(encoder.push(pair))
    encoder.reset(mask)
    decoder.reset(mask)
    rows = encoder.push(pair) + encoder.flush()
    undisturbed = codec.encoder()
    undisturbed.push(wave[None])
    assert [row[:1] for row in rows] == undisturbed.push(wave[None]) + undisturbed.flush()
    alone = codec.decoder().push([row[1:] for row in rows])
    assert np.array_equal(decoder.push(rows)[1], alone[0])
    encoder.reset()
    assert encoder.push(pair) == codec.encoder(2).push(pair)


def test_flush_leaves_a_new_encoder(codec: BaseCodec, wave: np.ndarray) -> None:
    encoder = codec.encoder()
    assert encoder.flush() == []
    first = encoder.push(wave[None]) + encoder.flush()
    assert encoder.push(wave[None]) + encoder.flush() == first
    assert codec.tokens(np.zeros(0, np.float32)).shape == (0, 6)


@pytest.mark.parametrize("pitch", [70, 100, 160, 220, 330])
def test_the_pitch_of_a_vowel_comes_back(codec: BaseCodec, pitch: int) -> None:
    wave = vowel(pitch, 0.6)
    said = np.concatenate([pitches_of(row[0]) for row in codec.tokens(wave)])[4:-4]
    assert np.abs(said / pitch - 1).max() < 0.02
    track = f0_track(heard(codec, wave), RATE)[8:-8]
    assert abs(np.median(track[track > 0]) / pitch - 1) < 0.05


@pytest.mark.parametrize("level", [0.3, 0.03])
def test_loudness_comes_back(codec: BaseCodec, level: float) -> None:
    wave = vowel(140, 0.6) * np.float32(level)
    inner = slice(1600, -1600)
    change = 10 * np.log10(np.mean(heard(codec, wave)[: len(wave)][inner] ** 2) / np.mean(wave[inner] ** 2))
    assert abs(change) < 4


def test_silence_stays_silent(codec: BaseCodec) -> None:
    assert np.abs(heard(codec, np.zeros(RATE, np.float32))).max() < 1e-6
    # After a voice, too: what the last row left is gone two rows later.
    wave = np.concatenate([vowel(140, 0.4), np.zeros(8000, np.float32)])
    assert np.abs(heard(codec, wave)[-4800:]).max() < 1e-4


def test_noise_has_no_pitch(codec: BaseCodec) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.05
    assert np.mean([pitches_of(row[0]).any() for row in codec.tokens(noise)]) < 0.1


def test_a_wrong_row_is_forgotten(codec: BaseCodec, wave: np.ndarray) -> None:
    right = codec.tokens(wave)
    wrong = right.copy()
    wrong[8] = (right[8] + 517) % 1009
    first, second = (codec.decoder().push_tokens(one[None])[0] for one in (right, wrong))
    assert np.array_equal(first[: 8 * 640], second[: 8 * 640])
    # The phases go on otherwise for good; how loud it is does not.
    later = slice(11 * 640, None)
    assert abs(20 * np.log10(first[later].std() / second[later].std())) < 1


def test_what_is_lost_is_concealed_and_counted(codec: BaseCodec, wave: np.ndarray) -> None:
    packets = list(encode(codec, wave).packets)
    packets[4] = None
    packets[7] = b"short"
    decoder = codec.decoder()
    sound = decoder.push([[packet] for packet in packets])
    assert decoder.concealed == 2
    assert sound.shape == (1, len(packets) * 640)
    gone = decoder.push([[None]] * 14)[0]
    assert np.abs(gone[-640:]).max() < 1e-4


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=8, deadline=None)
def test_any_tokens_decode_to_bounded_sound(seed: int) -> None:
    codec = open_codec("base")
    assert isinstance(codec, BaseCodec)
    tokens = np.random.default_rng(seed).integers(0, 1024, (1, 6, 6))
    sound = codec.decoder().push_tokens(tokens)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1
    loud = codec.decoder()
    loud.set_controls(0, pitch=4.0, energy=4.0)
    assert np.abs(loud.push_tokens(tokens)).max() <= 1


def test_a_row_that_is_decoded_already_sounds_the_same(codec: BaseCodec, wave: np.ndarray) -> None:
    tokens, decoder = codec.tokens(wave), codec.decoder(2)
    decoder.set_controls(1, pitch=1.2, energy=0.5)
    said = np.concatenate([decoder.speak(1, codec.heard(row)) for row in tokens])
    other = codec.decoder()
    other.set_controls(0, pitch=1.2, energy=0.5)
    assert np.array_equal(said, other.push_tokens(tokens[None])[0])
    # The slot beside it has said nothing yet.
    assert np.array_equal(decoder.speak(0, codec.heard(tokens[0])), codec.decoder().push_tokens(tokens[None, :1])[0])
    for row in (tokens[0, :5], tokens[:1], np.full(6, 1024), np.full(6, -1)):
        with pytest.raises(InputError, match="a row of the mode base is 6 whole numbers"):
            codec.heard(row)


def test_tokens_of_another_shape_are_refused(codec: BaseCodec) -> None:
    decoder = codec.decoder()
    with pytest.raises(InputError, match=r"1 × frames × 6, not \(1, 2, 5\)"):
        decoder.push_tokens(np.zeros((1, 2, 5), np.int64))
    with pytest.raises(InputError, match="from 0 to 1023"):
        decoder.push_tokens(np.full((1, 1, 6), 1024))
    assert decoder.push_tokens(np.zeros((1, 0, 6), np.int16)).shape == (1, 0)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_controls_reach_the_sound(codec: BaseCodec, factor: float) -> None:
    wave = vowel(150, 0.8)
    tokens = codec.tokens(wave)[None]
    plain = codec.decoder().push_tokens(tokens)[0]
    decoder = codec.decoder()
    decoder.set_controls(0, pitch=factor, energy=factor)
    moved = decoder.push_tokens(tokens)[0]
    first, second = (np.median(track[track > 0]) for track in (f0_track(plain, RATE), f0_track(moved, RATE)))
    assert second / first == pytest.approx(factor, rel=0.03)
    decoder = codec.decoder()
    decoder.set_controls(0, energy=factor)
    assert np.allclose(decoder.push_tokens(tokens)[0], plain * factor, atol=1e-6)


def test_a_control_in_the_middle_makes_no_click(codec: BaseCodec) -> None:
    tokens = codec.tokens(vowel(150, 0.8))[None]
    decoder = codec.decoder()
    first = decoder.push_tokens(tokens[:, :10])[0]
    decoder.set_controls(0, energy=0.25)
    both = np.concatenate([first, decoder.push_tokens(tokens[:, 10:])[0]])
    plain = codec.decoder().push_tokens(tokens)[0]
    assert np.abs(np.diff(both)).max() <= np.abs(np.diff(plain)).max()
    assert np.allclose(both[11 * 640 :], plain[11 * 640 :] / 4, atol=1e-6)


@pytest.mark.parametrize(("pitch", "energy"), [(0, 1), (1, -1), (5, 1), (1, float("nan"))])
def test_controls_that_are_none_are_refused(codec: BaseCodec, pitch: float, energy: float) -> None:
    with pytest.raises(UsageError, match="factors above 0 and up to 4"):
        codec.decoder().set_controls(0, pitch, energy)
