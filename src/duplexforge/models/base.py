"""The mode ``base``: 25 rows of six codes a second, 1.5 kbps, which a small language model reads and writes.

At this rate no wave can be matched. What is coded is what is heard: pitch, loudness, breath, envelope (``base_analysis``),
and the decoder makes up a wave that has them, as vocoders do (Codec 2, LPCNet, DDSP). So its SNR is about nil and says
nothing. The mode ``token`` matches the wave, and is no refinement of this one: what it would have to code beside a wave
with other phases and other noise is as large as the wave itself.

The first code of a row is the pitch of its two knots, the others what is left, coarse to fine. Rows are coded each by
itself, and decoded with one row of memory: a wrong one is heard for 40 ms and blurs the next, no more. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, UsageError
from duplexforge.models import base_weights
from duplexforge.models.base_analysis import AFTER, BEFORE, GAINS, HOP, SPAN, Heard, hear
from duplexforge.models.base_pitch import LOWEST, OCTAVES, RATE, Tracker, pitch_code, pitches_of
from duplexforge.models.base_synthesis import Voice
from duplexforge.models.base_weights import BaseWeights, Past
from duplexforge.models.codec import Mask, Row, Wave

__all__ = ["BaseCodec", "BaseDecoder", "BaseEncoder", "hear_whole", "open_mode", "pack", "unpack"]

ENTRIES = 1024
CODE_BITS = 10
_FADE_DB = 8.0
"""What a frame that was lost loses beside the one before."""

Tokens = npt.NDArray[np.int16]


@dataclass(frozen=True)
class BaseCodec:
    """The mode with its weights."""

    model: BaseWeights
    mode: str = "base"
    rate: int = RATE
    hop: int = HOP
    packet: int = HOP
    entries: int = ENTRIES
    """Codes of each book; not all of the first book's mean something of their own."""

    @property
    def books(self) -> int:
        """Codes a row: one of pitch, then those of the residual books."""
        return 1 + len(self.model.books)

    @property
    def kbps(self) -> float:
        """Thousand bits a second of the codes; the packets' last byte may hold a few more."""
        return self.books * CODE_BITS * RATE / HOP / 1000

    @property
    def delay(self) -> int:
        """Samples that go in, beyond sample i, before sample i comes out: a frame, and 25 ms that the encoder looks ahead."""
        return HOP + AFTER

    @property
    def weights(self) -> int:
        """32 bits that tell the weights from others."""
        return self.model.digest

    def encoder(self, slots: int = 1) -> BaseEncoder:
        """A new stream of ``slots`` voices."""
        return BaseEncoder(self.model, slots)

    def decoder(self, slots: int = 1) -> BaseDecoder:
        """A new stream of ``slots`` voices."""
        return BaseDecoder(self.model, slots)

    def tokens(self, wave: Wave) -> Tokens:
        """The rows (frames × books) of a whole recording; the last frame is filled up with zeros."""
        encoder = self.encoder()
        rows = encoder.push_wave(wave[None]) + encoder.flush_tokens()
        return np.stack([row[0] for row in rows]) if rows else np.zeros((0, self.books), np.int16)

    def heard(self, row: npt.NDArray[np.integer]) -> Heard:
        """What one row of codes means: pitches and vector; an InputError when it is none."""
        if row.shape != (self.books,) or row.min() < 0 or row.max() >= ENTRIES:
            raise InputError(f"a row of the mode base is {self.books} whole numbers from 0 to {ENTRIES - 1}")
        return Heard(pitches_of(int(row[0])), self.model.vector(row[1:].astype(np.int64)))

    def packet_of(self, row: npt.ArrayLike) -> bytes:
        """The packet of one row of codes; an InputError when it is none."""
        try:
            return pack(np.asarray(row), self.books)
        except ValueError as error:
            raise InputError(str(error)) from error

    def tokens_of(self, packet: bytes) -> Tokens:
        """The row of codes of one packet; an InputError when it is none."""
        try:
            return unpack(packet, self.books)
        except ValueError as error:
            raise InputError(f"this is no packet of the mode base: {error}") from error


def open_mode(mode: str, kbps: float | None = None) -> BaseCodec:
    """The codec with the weights that come with the project; a ``UsageError`` for any rate but its own."""
    codec = BaseCodec(base_weights.load(), mode)
    if kbps is not None and kbps != codec.kbps:
        raise UsageError(f"the mode {mode} has one rate, {codec.kbps:g} kbps; {kbps:g} is none of its own")
    return codec


def pack(row: npt.NDArray[np.integer], books: int) -> bytes:
    """The bytes of a row of codes, ten bits each, high bit first, filled up with zeros. ValueError when it is no row."""
    if row.shape != (books,) or row.min() < 0 or row.max() >= ENTRIES:
        raise ValueError(f"a row of the mode base is {books} whole numbers from 0 to {ENTRIES - 1}")
    bits = (row.astype(np.int64)[:, None] >> np.arange(CODE_BITS - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def unpack(packet: bytes, books: int) -> Tokens:
    """The row of a packet. ValueError when it is not of their length."""
    size = -(-books * CODE_BITS // 8)
    if len(packet) != size:
        raise ValueError(f"a packet of the mode base has {size} bytes, not {len(packet)}")
    bits = np.unpackbits(np.frombuffer(packet, np.uint8))[: books * CODE_BITS].reshape(books, CODE_BITS)
    return (bits.astype(np.int64) @ (1 << np.arange(CODE_BITS - 1, -1, -1))).astype(np.int16)


def hear_whole(wave: Wave) -> list[Heard]:
    """The frames of a whole recording, before they are coded."""
    frames = -(-len(wave) // HOP)
    whole = np.zeros(BEFORE + frames * HOP + AFTER)
    whole[BEFORE : BEFORE + len(wave)] = wave
    tracker = Tracker()
    return [hear(whole[at : at + SPAN], tracker) for at in range(0, frames * HOP, HOP)]


class BaseEncoder:
    """A stream of ``slots`` voices; see ``codec.Encoder``."""

    def __init__(self, model: BaseWeights, slots: int) -> None:
        self._model, self._slots = model, slots
        self._renew()

    def _renew(self) -> None:
        self._open = np.zeros((self._slots, BEFORE))
        self._trackers = [Tracker() for _ in range(self._slots)]
        self._heard = self._coded = 0

    def push(self, wave: Wave) -> list[list[bytes]]:
        """Take slots × n samples and return the rows that are now complete."""
        return [self._packed(row) for row in self.push_wave(wave)]

    def push_wave(self, wave: Wave) -> list[Tokens]:
        """As ``push``, with the codes (slots × books) of each row as they are."""
        self._heard += wave.shape[1]
        self._open = np.concatenate([self._open, wave], axis=1)
        rows = []
        while self._open.shape[1] >= SPAN:
            rows.append(np.stack([self._codes(slot) for slot in range(self._slots)]))
            self._open = self._open[:, HOP:]
            self._coded += HOP
        return rows

    def _codes(self, slot: int) -> Tokens:
        heard = hear(np.clip(self._open[slot, :SPAN], -1, 1), self._trackers[slot])
        found = np.append(pitch_code(heard.pitches), self._model.search(heard.vector))
        return found.astype(np.int16)

    def flush(self) -> list[list[bytes]]:
        """The last rows, filled up with zeros; the encoder is new after it."""
        return [self._packed(row) for row in self.flush_tokens()]

    def flush_tokens(self) -> list[Tokens]:
        """As ``flush``, with the codes of each row as they are."""
        frames = -(-self._heard // HOP) * HOP - self._coded
        fill = frames + SPAN - HOP - self._open.shape[1]
        rows = self.push_wave(np.zeros((self._slots, fill), np.float32)) if frames > 0 else []
        self._renew()
        return rows

    def _packed(self, row: Tokens) -> list[bytes]:
        return [pack(codes, row.shape[1]) for codes in row]

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh; what they had waiting counts as zeros."""
        chosen = np.ones(self._slots, np.bool_) if mask is None else mask
        self._open[chosen] = 0
        for slot in np.flatnonzero(chosen):
            self._trackers[slot] = Tracker()


@dataclass
class _Slot:
    """One voice of a decoder, and how it is to be spoken."""

    past: Past
    voice: Voice
    pitch: float = 1.0
    energy: float = 1.0
    before: float = 1.0
    """The energy at the end of the last row: a leap would be a click."""


class BaseDecoder:
    """A stream of ``slots`` voices; see ``codec.Decoder``. Each row makes ``HOP`` samples at once."""

    def __init__(self, model: BaseWeights, slots: int) -> None:
        self.concealed = 0
        self._model = model
        self._slots = [_Slot(model.silence(), Voice()) for _ in range(slots)]

    def set_controls(self, slot: int, pitch: float = 1.0, energy: float = 1.0) -> None:
        """From the next row on, multiply the pitch of ``slot`` and its amplitude, which goes there over that row.

        ``reset`` takes both back to 1. A pitch that comes to lie outside 60 to 480 Hz is held at the border. UsageError
        when a factor is not above 0 and at most 4.
        """
        if not (0 < pitch <= 4 and 0 < energy <= 4):
            raise UsageError(f"pitch and energy are factors above 0 and up to 4, not {pitch:g} and {energy:g}")
        mine = self._slots[slot]
        mine.pitch, mine.energy = pitch, energy
        if not mine.voice.steps:
            mine.before = energy

    def push(self, rows: Sequence[Row]) -> Wave:
        """Take rows in their order and return the samples (slots × n) that they complete."""
        blocks = [np.stack([self._packet(slot, packet) for slot, packet in enumerate(row)]) for row in rows]
        return self._joined(blocks)

    def push_tokens(self, tokens: npt.NDArray[np.integer]) -> Wave:
        """Take codes (slots × frames × books, 0 to 1023) and return their samples (slots × frames·hop)."""
        books = 1 + len(self._model.books)
        if tokens.ndim != 3 or tokens.shape[0] != len(self._slots) or tokens.shape[2] != books:
            raise InputError(f"codes must be {len(self._slots)} × frames × {books}, not {tokens.shape}")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= ENTRIES):
            raise InputError(f"codes are whole numbers from 0 to {ENTRIES - 1}")
        blocks = [
            np.stack([self._frame(slot, row) for slot, row in enumerate(tokens[:, frame])])
            for frame in range(tokens.shape[1])
        ]
        return self._joined(blocks)

    def _joined(self, blocks: list[Wave]) -> Wave:
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((len(self._slots), 0), np.float32)

    def _packet(self, slot: int, packet: bytes | None) -> Wave:
        try:
            row = unpack(packet or b"", 1 + len(self._model.books))
        except ValueError:
            self.concealed += 1
            return self._concealed(slot)
        return self._frame(slot, row)

    def _frame(self, slot: int, row: npt.NDArray[np.integer]) -> Wave:
        return self.speak(slot, Heard(pitches_of(int(row[0])), self._model.vector(row[1:].astype(np.int64))))

    def _concealed(self, slot: int) -> Wave:
        """What a missing frame sounds like: the one before, fading."""
        past = self._slots[slot].past
        vector = past.vector.copy()
        vector[:GAINS] = vector[GAINS - 1] - _FADE_DB * (np.arange(GAINS) + 1) / GAINS
        return self.speak(slot, Heard(np.full(2, past.pitch), vector))

    def speak(self, slot: int, heard: Heard) -> Wave:
        """The samples (hop) of one frame of ``slot`` that is decoded already."""
        mine, (pitches, vector) = self._slots[slot], heard
        knots, mine.past = self._model.knots(mine.past, vector, pitches)
        moved = np.clip(pitches * mine.pitch, LOWEST, LOWEST * 2**OCTAVES) * (pitches > 0)
        wave = mine.voice.sing(replace(knots, pitches=moved)) * np.linspace(mine.before, mine.energy, HOP)
        mine.before = mine.energy
        return np.clip(wave, -1, 1).astype(np.float32)

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh, controls too: another voice may be next."""
        for slot, chosen in enumerate(np.ones(len(self._slots), np.bool_) if mask is None else mask):
            if chosen:
                self._slots[slot] = _Slot(self._model.silence(), Voice())
