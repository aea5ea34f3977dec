"""The mode ``token``: 200 rows of eight codes a second, ten bits each, 16.0 kbps whatever is said.

A frame is 5 ms and has one row; a packet holds four frames, 40 bytes. Codes say what
a frame has beyond what its past leads to expect (:mod:`duplexforge.models.token_model`). That expectation is never quite
believed, so that after a loss, or when one joins in the middle, decoder and encoder come together again by themselves.
Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, UsageError
from duplexforge.models import token_weights
from duplexforge.models.codec import Mask, Packets, Row, Wave
from duplexforge.models.lapped import basis
from duplexforge.models.periods import HISTORY
from duplexforge.models.token_weights import PAST, Floats, TokenWeights

RATE = 16_000
BREADTH = 4
"""Sums that the encoder's search keeps from book to book."""
PACKET = 320
CODE_BITS = 10
ROW = 8
"""Codes in a row; a row is 5 ms."""
KBPS = 16.0
_FADE = np.float32(0.7)
"""What a frame that was lost keeps of the one before, in amplitude: 60 dB in about 0.1 s."""

Codes = npt.NDArray[np.int64]


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
    """What encoder and decoder both keep: the frames decoded last (slots × PAST × hop) and the wave they make."""

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self.frames: Floats = np.zeros((slots, PAST, model.hop), np.float32)
        self.wave: Floats = np.zeros((slots, HISTORY), np.float32)
        self._tail: Floats = np.zeros((slots, model.hop), np.float32)
        self._basis, self._hop = basis(model.hop), model.hop

    def take(self, frame: Floats) -> None:
        self.frames = np.concatenate([self.frames[:, 1:], frame[:, None]], axis=1)
        # Voice by voice: one product for several may round in another order than for one, and a stream of one voice must
        # equal the same voice among others.
        both = np.stack([one @ self._basis for one in frame])
        self.wave = np.concatenate([self.wave[:, self._hop :], self._tail + both[:, : self._hop]], axis=1)
        self._tail = both[:, self._hop :]

    def reset(self, mask: Mask | None) -> None:
        chosen = slice(None) if mask is None else mask
        self.frames[chosen] = 0
        self.wave[chosen] = 0
        self._tail[chosen] = 0


def search(model: TokenWeights, frame: Floats, past: Floats, expected: Floats) -> tuple[Codes, Floats]:
    """The codes (books) of ``frame`` (hop) and what they decode to, given the past (PAST × hop) and what it makes expect.

    Book by book, the few sums that are nearest so far are kept: the entry that is best alone is often not the one that
    leaves the next books the most to do well.
    """
    weights = model.weigh(frame[None])
    coded = expected[None]
    codes = np.zeros((1, 0), np.int64)
    error = (weights * (frame - coded) ** 2).sum(axis=1)
    for number, group in enumerate(model.groups):
        size = model.sizes(number, np.broadcast_to(past, (len(coded), *past.shape)), coded)
        for book in group:
            costs = error[:, None] + book.costs((frame - coded) / size, weights * size * size)
            best = (
                np.argpartition(costs, BREADTH, axis=None)[:BREADTH] if costs.size > BREADTH else np.arange(costs.size)
            )
            from_, index = np.divmod(best, costs.shape[1])
            error = costs.reshape(-1)[best]
            coded = coded[from_] + book.vectors[index] * size[from_]
            size = size[from_]
            codes = np.concatenate([codes[from_], index[:, None]], axis=1)
    nearest = int(np.argmin(error))
    return codes[nearest], coded[nearest]


class TokenEncoder:
    """A stream of ``slots`` voices; see ``codec.Encoder``."""

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self._model, self._slots = model, slots
        self._turned = np.ascontiguousarray(basis(model.hop).T)
        self._renew()

    def _renew(self) -> None:
        self._past = _Past(self._model, self._slots)
        self._open: Wave = np.zeros((self._slots, self._model.hop), np.float32)
        self._row: list[Codes] = []
        self._heard = 0

    def push(self, wave: Wave) -> list[list[bytes]]:
        """Take slots × n samples and return the rows that are now complete."""
        self._heard += wave.shape[1]
        self._open = np.concatenate([self._open, wave.astype(np.float32, copy=False)], axis=1)
        rows = []
        hop = self._model.hop
        while self._open.shape[1] >= 2 * hop:
            self._row.append(self._codes(np.stack([one @ self._turned for one in self._open[:, : 2 * hop]])))
            self._open = self._open[:, hop:]
            if len(self._row) == PACKET // hop:
                row, self._row = np.stack(self._row, axis=1), []
                rows.append([pack(codes) for codes in row])
        return rows

    def _codes(self, frames: Floats) -> Codes:
        """The codes (slots × books) of one frame (slots × hop)."""
        expected = self._model.expected(self._past.wave)
        found = [
            search(self._model, frame, past, guess)
            for frame, past, guess in zip(frames, self._past.frames, expected, strict=True)
        ]
        self._past.take(np.stack([coded for _, coded in found]))
        return np.stack([codes for codes, _ in found])

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
        chosen = slice(None) if mask is None else mask
        self._open[chosen] = 0
        silence = self._silence()
        for codes in self._row:
            codes[chosen] = silence

    def _silence(self) -> Codes:
        """The codes of a frame of zeros after silence."""
        single = TokenEncoder(self._model, 1)
        codes: Codes = single._codes(np.zeros((1, self._model.hop), np.float32))[0]
        return codes


class TokenDecoder:
    """A stream of ``slots`` voices; see ``codec.Decoder``."""

    def __init__(self, model: TokenWeights, slots: int) -> None:
        self.concealed = 0
        self._model, self._slots = model, slots
        self._past = _Past(model, slots)
        self._basis = basis(model.hop)
        self._tail: Floats = np.zeros((slots, model.hop), np.float32)
        self._lead = model.hop

    def push(self, rows: Sequence[Row]) -> Wave:
        """Take rows in their order and return the samples (slots × n) that they complete."""
        blocks = [self._frame(codes, lost) for row in rows for codes, lost in self._read(row)]
        if not blocks:
            return np.zeros((self._slots, 0), np.float32)
        lead, self._lead = self._lead, 0
        # The first frame's first half lies before the first sample.
        return np.concatenate(blocks, axis=1)[:, lead:]

    def _read(self, row: Row) -> list[tuple[Codes, Mask]]:
        """Codes (slots × books) and which slots lost them, frame by frame."""
        frames, books = PACKET // self._model.hop, self._model.books
        codes = np.zeros((self._slots, frames, books), np.int64)
        lost = np.zeros(self._slots, np.bool_)
        for slot, packet in enumerate(row):
            try:
                codes[slot] = unpack(packet or b"", frames * books).reshape(frames, books)
            except ValueError:
                lost[slot] = True
                self.concealed += 1
        return [(codes[:, frame], lost) for frame in range(frames)]

    def _frame(self, codes: Codes, lost: Mask) -> Wave:
        """The next hop of samples (slots × hop)."""
        model, past = self._model, self._past.frames
        expected = model.expected(self._past.wave)
        coded = np.concatenate([self._decoded(slot, codes[slot], expected[slot]) for slot in range(self._slots)])
        # What a missing frame sounds like: the one before, fading.
        coded[lost] = past[lost, -1] * _FADE
        filtered = [model.filtered(past[slot : slot + 1], coded[slot : slot + 1])[0] for slot in range(self._slots)]
        both = np.stack([one @ self._basis for one in filtered])
        self._past.take(coded)
        samples: Wave = self._tail + both[:, : model.hop]
        self._tail = both[:, model.hop :]
        return samples

    def _decoded(self, slot: int, codes: Codes, expected: Floats) -> Floats:
        """The frame (1 × hop) that ``codes`` (books) mean."""
        coded, past = expected[None], self._past.frames[slot : slot + 1]
        at = 0
        for number, group in enumerate(self._model.groups):
            size = self._model.sizes(number, past, coded)
            for book in group:
                coded = coded + book.vectors[codes[at]] * size
                at += 1
        return coded

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh."""
        self._past.reset(mask)
        self._tail[slice(None) if mask is None else mask] = 0
