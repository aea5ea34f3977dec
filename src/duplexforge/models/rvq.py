"""The mode ``token``: 200 rows of eight codes a second, ten bits each, 16.0 kbps whatever is said.

A frame is 5 ms and has one row; a packet holds four frames, 40 bytes. The first seven codes of a row say what its frame has
beyond what its past leads to expect (:mod:`duplexforge.models.token_model`). That expectation is never quite believed, so
that after a loss, or when one joins in the middle, decoder and encoder come together again by themselves. The eighth codes
of a packet's rows say together how loud its bands are (:mod:`duplexforge.models.envelope`). Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duplexforge.errors import InputError, UsageError
from duplexforge.models import envelope, token_weights
from duplexforge.models.codec import Mask, Packets, Row, Wave
from duplexforge.models.envelope import PACKET
from duplexforge.models.lapped import basis
from duplexforge.models.periods import HISTORY
from duplexforge.models.token_search import Codes, loudness, search
from duplexforge.models.token_weights import PAST, Floats, TokenWeights

RATE = 16_000
CODE_BITS = 10
ROW = 8
"""Codes in a row; a row is 5 ms."""
KBPS = 16.0
_FADE = np.float32(0.7)
"""What a frame that was lost keeps of the one before, in amplitude: 60 dB in about 0.1 s."""


@dataclass(frozen=True)
class TokenCodec:
    """The mode with its weights."""

    model: TokenWeights
    mode: str = "token"
    rate: int = RATE

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.model.hop

    @property
    def packet(self) -> int:
        """Samples a packet."""
        return PACKET

    @property
    def delay(self) -> int:
        """Samples that go in, beyond sample i, before sample i comes out."""
        return self.packet + self.hop

    @property
    def weights(self) -> int:
        """32 bits that tell the weights from others."""
        return self.model.digest

    def encoder(self, slots: int = 1) -> TokenEncoder:
        """A new stream of ``slots`` voices."""
        return TokenEncoder(self.model, slots)

    def decoder(self, slots: int = 1) -> TokenDecoder:
        """A new stream of ``slots`` voices."""
        return TokenDecoder(self.model, slots)


def open_mode(mode: str, kbps: float | None = None) -> TokenCodec:
    """The codec with the weights that come with the project; a ``UsageError`` for any rate but its own."""
    if kbps is not None and kbps != KBPS:
        raise UsageError(f"the mode {mode} has one rate, {KBPS:g} kbps; {kbps:g} is none of its own")
    return TokenCodec(token_weights.load(), mode)


def pack(codes: Codes) -> bytes:
    """The bytes of whole codes (any shape, each below 1024), ten bits each, high bit first."""
    bits = (codes.reshape(-1, 1) >> np.arange(CODE_BITS - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def unpack(packet: bytes, count: int) -> Codes:
    """The ``count`` codes of a packet. ValueError when it is not of their length."""
    if len(packet) * 8 != count * CODE_BITS:
        raise ValueError(f"a packet of the mode token has {count * CODE_BITS // 8} bytes, not {len(packet)}")
    bits = np.unpackbits(np.frombuffer(packet, np.uint8)).reshape(count, CODE_BITS)
    return bits.astype(np.int64) @ (1 << np.arange(CODE_BITS - 1, -1, -1))


def codes_of(packets: Packets) -> Codes:
    """All codes (rows × 8, 200 rows a second) of a whole recording, for those who model them."""
    whole = [packet for packet in packets.packets if packet is not None]
    if len(whole) < len(packets.packets):
        raise InputError("packets are missing: their codes are not known")
    try:
        found = [unpack(packet, len(packet) * 8 // CODE_BITS).reshape(-1, ROW) for packet in whole]
    except ValueError as error:
        raise InputError("these are no packets of the mode token") from error
    return np.concatenate(found) if found else np.zeros((0, ROW), np.int64)


class _Past:
    """What encoder and decoder both keep: the frames decoded last (slots × PAST × hop) and the wave they make.

    Everything is done voice by voice: one product for several may round in another order than for one, and a stream of one
    voice must equal the same voice among others.
    """

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self.frames: Floats = np.zeros((slots, PAST, model.hop), np.float32)
        self._wave: Floats = np.zeros((slots, HISTORY), np.float32)
        self._tail: Floats = np.zeros((slots, model.hop), np.float32)
        self._model, self._basis = model, basis(model.hop)

    def look(self, slot: int) -> tuple[Floats, Floats]:
        """What the networks see of the voice (1 × 3·hop), and what its next frame (hop) is expected to be."""
        return self._model.seen_past(self.frames[slot : slot + 1]), self._model.expected(self._wave[slot])

    def take(self, slot: int, frame: Floats) -> None:
        """Take the next decoded frame (hop) of the voice."""
        hop = len(frame)
        both = frame @ self._basis
        self.frames[slot, :-1] = self.frames[slot, 1:]
        self.frames[slot, -1] = frame
        self._wave[slot, :-hop] = self._wave[slot, hop:]
        self._wave[slot, -hop:] = self._tail[slot] + both[:hop]
        self._tail[slot] = both[hop:]

    def reset(self, mask: Mask | None) -> None:
        """Forget the voices of ``mask``."""
        chosen = slice(None) if mask is None else mask
        self.frames[chosen] = 0
        self._wave[chosen] = 0
        self._tail[chosen] = 0


class TokenEncoder:
    """A stream of ``slots`` voices; see ``codec.Encoder``."""

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self._model, self._slots = model, slots
        self._turned = np.ascontiguousarray(basis(model.hop).T)
        self._renew()

    def _renew(self) -> None:
        self._past = _Past(self._model, self._slots)
        # The first frame's first half lies before the first sample.
        self._open: Wave = np.zeros((self._slots, self._model.hop), np.float32)
        self._heard = 0

    def push(self, wave: Wave) -> list[list[bytes]]:
        """Take slots × n samples and return the rows that are now complete."""
        self._heard += wave.shape[1]
        self._open = np.concatenate([self._open, wave.astype(np.float32, copy=False)], axis=1)
        rows = []
        while self._open.shape[1] >= PACKET + self._model.hop:
            rows.append([self._packet(slot) for slot in range(self._slots)])
            self._open = self._open[:, PACKET:]
        return rows

    def _packet(self, slot: int) -> bytes:
        """The next packet of a voice."""
        model, hop = self._model, self._model.hop
        covered = np.lib.stride_tricks.sliding_window_view(self._open[slot, : PACKET + hop], 2 * hop)[::hop]
        frames = covered @ self._turned
        weights = model.weigh(frames)
        coded = np.empty_like(frames)
        codes = np.empty((len(frames), model.books + 1), np.int64)
        for number, frame in enumerate(frames):
            past, expected = self._past.look(slot)
            codes[number, :-1], coded[number] = search(model, frame, weights[number], past, expected)
            self._past.take(slot, coded[number])
        codes[:, -1] = loudness(model, frames, coded)
        return pack(codes)

    def flush(self) -> list[list[bytes]]:
        """The last rows, filled up with zeros; the encoder is new after it."""
        hop = self._model.hop
        # The last sample wants one frame more, and the packet that this frame is in wants to be full.
        frames = -(-self._heard // hop) + 1 if self._heard else 0
        fill = -(-frames * hop // PACKET) * PACKET - self._heard
        rows = self.push(np.zeros((self._slots, fill), np.float32)) if fill > 0 else []
        self._renew()
        return rows

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh; what they had waiting in the open packet counts as zeros."""
        self._past.reset(mask)
        self._open[slice(None) if mask is None else mask] = 0


class TokenDecoder:
    """A stream of ``slots`` voices; see ``codec.Decoder``."""

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self.concealed = 0
        self._model, self._slots = model, slots
        self._past = _Past(model, slots)
        self._basis = basis(model.hop)
        self._tail: Floats = np.zeros((slots, model.hop), np.float32)
        self._gains: Floats = np.zeros((slots, len(envelope.members(model.hop, model.bands))), np.float32)
        self._lead = model.hop

    def push(self, rows: Sequence[Row]) -> Wave:
        """Take rows in their order and return the samples (slots × n) that they complete."""
        blocks = [np.stack([self._packet(slot, packet) for slot, packet in enumerate(row)]) for row in rows]
        if not blocks:
            return np.zeros((self._slots, 0), np.float32)
        lead, self._lead = self._lead, 0
        # The first frame's first half lies before the first sample.
        return np.concatenate(blocks, axis=1)[:, lead:]

    def _packet(self, slot: int, packet: bytes | None) -> Wave:
        """The next samples (PACKET) of a voice."""
        model, hop = self._model, self._model.hop
        codes = self._read(packet)
        coded = np.empty((PACKET // hop, hop), np.float32)
        pasts = np.empty((len(coded), 3 * hop), np.float32)
        for number in range(len(coded)):
            pasts[number], expected = self._past.look(slot)
            if codes is None:
                # What a missing frame sounds like: the one before, fading.
                coded[number] = self._past.frames[slot, -1] * _FADE
            else:
                coded[number] = self._decoded(codes[number], pasts[number : number + 1], expected)
            self._past.take(slot, coded[number])
        filtered = model.filtered(pasts, envelope.raised(coded, self._raise(slot, codes), model.bands))
        both = filtered @ self._basis
        samples: Wave = both[:, :hop] + np.concatenate([self._tail[slot : slot + 1], both[:-1, hop:]])
        self._tail[slot] = both[-1, hop:]
        return samples.reshape(-1)

    def _read(self, packet: bytes | None) -> Codes | None:
        """The codes (frames × books and one) of a packet, or None where it is lost or none of this mode."""
        frames, books = PACKET // self._model.hop, self._model.books + 1
        try:
            return unpack(packet or b"", frames * books).reshape(frames, books)
        except ValueError:
            self.concealed += 1
            return None

    def _raise(self, slot: int, codes: Codes | None) -> Floats:
        """The gains (bands) of a packet; of a lost one, those of the one before."""
        if codes is not None:
            parts = [book.vectors[code] for book, code in zip(self._model.gains, codes[:, -1], strict=True)]
            self._gains[slot] = np.sum(parts, axis=0)
        gains: Floats = self._gains[slot]
        return gains

    def _decoded(self, codes: Codes, past: Floats, expected: Floats) -> Floats:
        """The frame (hop) that ``codes`` (books and one) mean."""
        coded = expected[None]
        at = 0
        for number, group in enumerate(self._model.groups):
            size = self._model.sizes(number, past, coded)
            for book in group:
                coded = coded + book.vectors[codes[at]] * size
                at += 1
        frame: Floats = coded[0]
        return frame

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh."""
        chosen = slice(None) if mask is None else mask
        self._past.reset(mask)
        self._tail[chosen] = 0
        self._gains[chosen] = 0
