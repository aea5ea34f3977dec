"""Fidelity and balanced as streams: exact, causal, and unhurt by what comes and goes on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.models.codec import Packets, decode, encode, open_codec
from duplexforge.models.mdct_codec import AFRESH_EVERY, PACKET, MdctCodec
from duplexforge.models.measure import snr
from tests.unit.models.voices import RATE, voice

MODES = ("fidelity", "balanced")


def opened(mode: str, **changes: Any) -> MdctCodec:
    codec = open_codec(mode)
    assert isinstance(codec, MdctCodec)
    return replace(codec, **changes)


def pushed(codec: MdctCodec, wave: np.ndarray, cuts: list[int]) -> list[list[bytes]]:
    """The rows of ``wave`` (slots × n), cut at ``cuts``."""
    encoder, rows, last = codec.encoder(len(wave)), [], 0
    for cut in [*sorted(cut for cut in cuts if cut <= wave.shape[1]), wave.shape[1]]:
        rows += encoder.push(wave[:, last:cut])
        last = cut
    return rows + encoder.flush()


@pytest.mark.parametrize("mode", MODES)
def test_the_codec_says_what_it_is(mode: str) -> None:
    codec = opened(mode)
    assert (codec.mode, codec.rate, codec.hop, codec.packet, codec.delay) == (mode, 16_000, 160, 640, 800)
    assert 0 <= codec.weights < 2**32


@pytest.mark.parametrize(("mode", "least"), [("fidelity", 22.0), ("balanced", 19.0)])
def test_the_shipped_weights_reach_their_ratio(mode: str, least: float) -> None:
    wave = voice(2.0)
    packets = encode(opened(mode), wave)
    assert snr(wave, decode(opened(mode), packets)) > least
    assert packets.kbps < 22
    assert packets.bits == 8 * sum(len(packet or b"") for packet in packets.packets)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=8, deadline=None)
@given(length=st.integers(0, 4000), cuts=st.lists(st.integers(0, 4000), max_size=6), seed=st.integers(0, 9))
def test_a_stream_equals_the_whole_however_it_is_cut(mode: str, length: int, cuts: list[int], seed: int) -> None:
    codec, wave = opened(mode), voice(0.25, seed)[:length]
    whole = encode(codec, wave)
    rows = pushed(codec, wave[None], cuts)
    assert tuple(row[0] for row in rows) == whole.packets
    decoder = codec.decoder()
    bit_by_bit = np.concatenate([decoder.push([row]) for row in rows] or [decoder.push([])], axis=1)[0]
    assert np.array_equal(bit_by_bit[:length], decode(codec, whole))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", [1, PACKET, 3 * PACKET + 17])
def test_the_future_never_changes_the_past(mode: str, place: int) -> None:
    codec, wave = opened(mode), voice(0.4)
    other = wave.copy()
    other[place:] = voice(0.4, seed=5, loudness=0.4)[place:]
    first, second = encode(codec, wave), encode(codec, other)
    whole = place // PACKET
    assert first.packets[:whole] == second.packets[:whole]
    assert first.packets != second.packets
    # What the decoder has put out by then is the same too: all but the delay.
    heard = max(whole * PACKET - (codec.delay - PACKET), 0)
    assert np.array_equal(decode(codec, first)[:heard], decode(codec, second)[:heard])


def test_the_output_is_aligned_with_the_input() -> None:
    wave = np.zeros(8000, np.float32)
    wave[3000:3010] = 0.5
    found = decode(opened("fidelity", step=100), encode(opened("fidelity", step=100), wave))
    assert abs(int(np.argmax(np.abs(found))) - 3004) <= 6
    match = np.correlate(found, wave, "full")
    assert int(np.argmax(match)) == len(wave) - 1


def test_the_delay_is_as_stated() -> None:
    codec = opened("fidelity")
    encoder, decoder, out = codec.encoder(), codec.decoder(), 0
    for heard in range(80, 6400, 80):
        out += decoder.push(encoder.push(np.zeros((1, 80), np.float32))).shape[1]
        assert out >= heard - codec.delay + 1 or heard % PACKET
        assert out <= heard


@pytest.mark.parametrize("mode", MODES)
def test_slots_are_independent_voices(mode: str) -> None:
    codec = opened(mode)
    waves = np.stack([voice(0.3, 1), np.zeros(4800, np.float32), voice(0.3, 2, 0.02)])
    rows = pushed(codec, waves, [1000, 1001])
    for slot, wave in enumerate(waves):
        assert tuple(row[slot] for row in rows) == encode(codec, wave).packets
    together = codec.decoder(3).push(rows)
    for slot, wave in enumerate(waves):
        assert np.array_equal(together[slot, :4800], decode(codec, encode(codec, wave)))


@pytest.mark.parametrize("mode", MODES)
def test_a_slot_that_is_reset_is_as_new_and_the_others_go_on(mode: str) -> None:
    codec = opened(mode)
    before, after = voice(5 * PACKET / RATE, 3), voice(6 * PACKET / RATE, 4)
    encoder, decoder = codec.encoder(2), codec.decoder(2)
    rows = encoder.push(np.stack([before, before]))
    first = decoder.push(rows)
    mask = np.array([True, False])
    encoder.reset(mask)
    decoder.reset(mask)
    later = encoder.push(np.stack([after, after]))
    second = decoder.push(later)
    fresh = codec.encoder().push(after[None])
    assert [row[0] for row in later] == [row[0] for row in fresh]
    straight = codec.encoder().push(np.concatenate([before, after])[None])
    assert [row[1] for row in rows + later] == [row[0] for row in straight]
    whole = codec.decoder().push(straight)[0]
    assert np.array_equal(np.concatenate([first[1], second[1]]), whole)
    # The clock goes on: the new voice comes out behind half a frame, which a first stream leaves out.
    assert np.array_equal(second[0][160:], codec.decoder().push(fresh)[0])


def test_reset_in_the_middle_forgets_what_was_waiting() -> None:
    codec, encoder = opened("fidelity"), opened("fidelity").encoder()
    encoder.push(voice(0.03)[None])
    encoder.reset()
    wave = voice(0.1, 2)
    padded = np.concatenate([np.zeros(480, np.float32), wave])
    assert [row[0] for row in encoder.push(wave[None])] == [row[0] for row in codec.encoder().push(padded[None])]


def test_after_flush_the_encoder_is_as_new() -> None:
    encoder, wave = opened("balanced").encoder(), voice(0.2)
    assert encoder.flush() == []
    first = encoder.push(wave[None]) + encoder.flush()
    assert encoder.push(wave[None]) + encoder.flush() == first


@pytest.mark.parametrize("mode", MODES)
def test_a_lost_packet_is_made_up_until_the_voice_starts_afresh(mode: str) -> None:
    codec, wave = opened(mode), voice(2.4)
    whole = encode(codec, wave)
    clean = decode(codec, whole)
    packets = list(whole.packets)
    packets[20] = None
    decoder = codec.decoder()
    found = decoder.push([[packet] for packet in packets])[0][: len(wave)]
    assert decoder.concealed == AFRESH_EVERY - 20
    assert np.array_equal(found[: 19 * PACKET], clean[: 19 * PACKET])
    # After the fresh start only the overlap of one frame differs.
    assert np.array_equal(found[AFRESH_EVERY * PACKET + 160 :], clean[AFRESH_EVERY * PACKET + 160 :])
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 4


def test_what_is_made_up_fades() -> None:
    codec = opened("fidelity")
    rows = codec.encoder().push(voice(1.0)[None])
    decoder = codec.decoder()
    decoder.push(rows[:8])
    made_up = decoder.push([[None]] * 10)[0]
    power = (made_up.reshape(-1, PACKET) ** 2).mean(axis=1)
    assert power[0] > 0
    assert power[0] > power[1] > power[2]
    assert not made_up[4 * PACKET :].any()


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=150)), max_size=6))
def test_any_bytes_give_sound_and_no_error(mode: str, packets: list[bytes | None]) -> None:
    decoder = opened(mode).decoder()
    found = decoder.push([[packet] for packet in packets])
    assert found.dtype == np.float32
    assert found.shape == (1, max(len(packets) * PACKET - 160, 0))
    assert np.isfinite(found).all()
    assert decoder.concealed >= sum(packet is None for packet in packets)


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(3000, np.float32),
        np.ones(3000, np.float32),
        np.sign(np.sin(np.arange(3000) / 5)).astype(np.float32),
        1e-6 * voice(0.2),
        50 * voice(0.2),
        voice(0.2)[:1],
    ],
    ids=["silence", "constant", "square", "faint", "clipped", "one sample"],
)
@pytest.mark.parametrize("mode", MODES)
def test_extremes_come_back(mode: str, wave: np.ndarray) -> None:
    codec = opened(mode)
    found = decode(codec, encode(codec, wave))
    assert len(found) == len(wave)
    assert np.isfinite(found).all()
    # A wave below one 16-bit step may come back as silence.
    assert np.mean((found - wave) ** 2) <= 0.3 * np.mean(wave**2) + 1e-9


def test_silence_costs_next_to_nothing() -> None:
    packets = encode(opened("fidelity"), np.zeros(10 * RATE, np.float32))
    assert packets.kbps < 0.5


def test_a_stream_comes_to_its_rate_in_the_long_run() -> None:
    noise = np.random.default_rng(1).standard_normal(9 * RATE).astype(np.float32) * 0.01
    wave = np.concatenate([voice(3.0, seed, loudness) for seed, loudness in ((1, 0.1), (2, 0.05), (3, 0.2))]) + noise
    for kbps in (10.0, 24.0):
        packets = encode(opened("fidelity", kbps=kbps), wave).packets
        late = [len(packet or b"") for packet in packets[len(packets) // 2 :]]
        assert 0.7 * kbps < np.mean(late) * 8 / 40 < 1.3 * kbps


def test_more_rate_is_more_ratio() -> None:
    wave = voice(2.0)
    ratios = []
    for step in (340, 300, 260, 200):
        codec = opened("fidelity", step=step)
        ratios.append(snr(wave, decode(codec, encode(codec, wave))))
    assert ratios == sorted(ratios)


def test_what_cannot_be_is_refused_with_a_sentence() -> None:
    with pytest.raises(UsageError, match="there is no codec mode opus"):
        open_codec("opus")
    for kbps in (0.0, 1e9, float("nan")):
        with pytest.raises(UsageError, match="out of reach"):
            open_codec("fidelity", kbps=kbps)
    codec = opened("fidelity")
    with pytest.raises(InputError, match="one channel"):
        encode(codec, np.zeros((2, 100), np.float32))
    with pytest.raises(InputError, match="no numbers"):
        encode(codec, np.array([0.0, np.nan], np.float32))
    with pytest.raises(InputError, match="balanced at 16000"):
        decode(codec, Packets("balanced", 16000, 10, (b"",)))
    with pytest.raises(InputError, match="should hold 5000"):
        decode(codec, Packets("fidelity", 16000, 5000, (b"",)))
