"""The mode token: exact bits, streams that equal the whole, causality, slots, losses, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, ModelError, UsageError
from duplexforge.models import rvq, token_weights
from duplexforge.models.codec import MODES, Packets, decode, encode, open_codec
from duplexforge.models.rvq import TokenCodec, codes_of, pack, unpack
from tests.unit.models import token_made
from tests.unit.training.made import voice

SECONDS = 0.35


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> TokenCodec:
    return TokenCodec(token_made.weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return voice(SECONDS, 120, seed=1)


def test_the_rate_is_sixteen_whatever_is_said(codec: TokenCodec, wave: np.ndarray) -> None:
    for one in (wave, np.zeros_like(wave), np.random.default_rng(0).uniform(-1, 1, len(wave)).astype(np.float32)):
        packets = encode(codec, one)
        assert {len(packet or b"") for packet in packets.packets} == {40}
        assert packets.bits == 320 * len(packets.packets)
        # 16 kbps for the sound; the last packet's padding and the half frame behind it come on top.
        assert packets.bits <= 16 * len(one) / 16 + 2 * 320
        assert len(decode(codec, packets)) == len(one)
    assert codec.packet * rvq.KBPS / 16 == 320


@given(cuts=st.lists(st.integers(0, 700), max_size=12))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cutting_gives_the_same(codec: TokenCodec, wave: np.ndarray, cuts: list[int]) -> None:
    whole = encode(codec, wave)
    expected = decode(codec, whole)
    encoder, decoder = codec.encoder(), codec.decoder()
    rows: list[list[bytes]] = []
    at = 0
    for cut in [*cuts, len(wave)]:
        rows += encoder.push(wave[None, at : at + cut])
        at += cut
    rows += encoder.flush()
    assert [row[0] for row in rows] == list(whole.packets)
    heard = np.concatenate([decoder.push([row])[0] for row in rows])
    assert np.abs(heard[: len(wave)] - expected).max() <= 1e-5


def test_the_future_never_changes_the_past(codec: TokenCodec, wave: np.ndarray) -> None:
    other = wave.copy()
    at = 2400
    other[at:] = np.random.default_rng(1).uniform(-1, 1, len(wave) - at)
    first, second = encode(codec, wave).packets, encode(codec, other).packets
    # A packet holds what its own samples and nothing later say.
    same = at // codec.packet
    assert first[:same] == second[:same]
    assert first != second
    # And what is heard of sample i needs no packet beyond its delay.
    heard = codec.decoder().push([[packet] for packet in first[:same]])[0]
    assert len(heard) == same * codec.packet - codec.hop
    whole = codec.decoder().push([[packet] for packet in first])[0]
    assert np.array_equal(heard, whole[: len(heard)])


def test_the_delay_is_what_it_says(codec: TokenCodec, wave: np.ndarray) -> None:
    encoder, decoder = codec.encoder(), codec.decoder()
    came = 0
    for at in range(0, len(wave), 7):
        came += decoder.push(encoder.push(wave[None, at : at + 7])).shape[1]
        # Sample `came` is not out, so no more than `delay` samples lie beyond it.
        assert min(at + 7, len(wave)) - came <= codec.delay


def test_slots_share_a_clock_and_nothing_else(codec: TokenCodec, wave: np.ndarray) -> None:
    both = np.stack([wave, voice(SECONDS, 200, seed=2)])
    encoder, decoder = codec.encoder(2), codec.decoder(2)
    rows = encoder.push(both) + encoder.flush()
    alone = [encode(codec, one).packets for one in both]
    assert [list(found) for found in zip(*rows, strict=True)] == [list(one) for one in alone]
    heard = decoder.push(rows)
    single = codec.decoder().push([[row[0]] for row in rows])
    assert np.array_equal(heard[0], single[0])


def test_reset_starts_some_slots_afresh(codec: TokenCodec, wave: np.ndarray) -> None:
    pair = np.stack([wave, wave])
    mask = np.array([False, True])
    encoder, decoder = codec.encoder(2), codec.decoder(2)
    decoder.push(encoder.push(pair))
    encoder.reset(mask)
    decoder.reset(mask)
    rows = encoder.push(pair[:, :3200]) + encoder.flush()
    heard = decoder.push(rows)
    assert not np.array_equal(heard[0, :200], heard[1, :200])
    # The slot that goes on is as it would have been; the other knows nothing of what was before.
    undisturbed = codec.encoder(2)
    undisturbed.push(pair)
    later = undisturbed.push(pair[:, :3200]) + undisturbed.flush()
    assert [row[0] for row in rows] == [row[0] for row in later]
    encoder.reset()
    fresh = codec.encoder(2)
    assert encoder.push(pair) == fresh.push(pair)


def test_flush_leaves_a_new_encoder(codec: TokenCodec, wave: np.ndarray) -> None:
    encoder = codec.encoder()
    assert encoder.flush() == []
    first = encoder.push(wave[None]) + encoder.flush()
    assert encoder.push(wave[None]) + encoder.flush() == first


def test_what_is_lost_is_concealed_and_counted(codec: TokenCodec, wave: np.ndarray) -> None:
    packets = list(encode(codec, wave).packets)
    packets[4] = None
    packets[7] = b"short"
    decoder = codec.decoder()
    heard = decoder.push([[packet] for packet in packets])
    assert decoder.concealed == 2
    assert heard.shape[1] == len(packets) * codec.packet - codec.hop
    assert np.isfinite(heard).all()


def test_a_long_loss_fades_to_silence(codec: TokenCodec, wave: np.ndarray) -> None:
    packets = encode(codec, wave).packets
    decoder = codec.decoder()
    decoder.push([[packet] for packet in packets[:8]])
    gone = decoder.push([[None]] * 25)[0]
    assert np.abs(gone[-160:]).max() < 1e-4


@given(packet=st.binary(min_size=40, max_size=40))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_the_decoder(codec: TokenCodec, packet: bytes) -> None:
    decoder = codec.decoder()
    assert np.isfinite(decoder.push([[packet], [packet]])).all()
    assert decoder.concealed == 0


@given(codes=st.lists(st.integers(0, 1023), min_size=32, max_size=32))
def test_packing_is_exact(codes: list[int]) -> None:
    packet = pack(np.array(codes))
    assert len(packet) == 40
    assert unpack(packet, 32).tolist() == codes


def test_codes_are_rows_of_eight(codec: TokenCodec, wave: np.ndarray) -> None:
    packets = encode(codec, wave)
    codes = codes_of(packets)
    assert codes.shape == (len(packets.packets) * 4, 8)
    assert pack(codes[:4]) == packets.packets[0]
    with pytest.raises(InputError, match="missing"):
        codes_of(Packets("token", 16000, 320, (None,)))
    with pytest.raises(InputError, match="no packets of the mode"):
        codes_of(Packets("token", 16000, 320, (b"abc",)))


def test_one_rate_only() -> None:
    with pytest.raises(UsageError, match=r"16 kbps; 24 is none"):
        rvq.open_mode("token", 24.0)


def test_weights_that_are_none_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        token_weights.read(tmp_path / "none.safetensors")
    from duplexforge.models import weights_file

    weights_file.write(tmp_path / "other.safetensors", {"a": np.zeros(3, np.float32)}, {"shape": "{}"})
    with pytest.raises(ModelError, match="no weights of the mode token"):
        token_weights.read(tmp_path / "other.safetensors")


def test_the_weights_that_are_shipped_work() -> None:
    assert MODES["token"] == "duplexforge.models.rvq"
    codec = open_codec("token")
    wave = voice(1.0, 130, seed=4)
    made = decode(codec, encode(codec, wave))
    snr = 10 * np.log10((wave**2).sum() / ((wave - made) ** 2).sum())
    # Nothing like it was trained on; what recorded speech reaches stands in the README.
    assert snr > 12
    # A voice that is 20 dB quieter loses little.
    quiet = wave * np.float32(0.1)
    made = decode(codec, encode(codec, quiet))
    assert 10 * np.log10((quiet**2).sum() / ((quiet - made) ** 2).sum()) > snr - 7
