"""The modes ``fidelity`` and ``balanced``: a lapped transform whose coefficients are read with learned, exact tables.

A packet holds four frames (40 ms). It starts with one symbol that says whether the voice goes on, takes another step, or
starts afresh with nothing remembered; every two seconds it does, so that a decoder can join there or recover from a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duplexforge.errors import UsageError
from duplexforge.models import frames, mdct
from duplexforge.models.codec import Mask, Row, Wave
from duplexforge.models.mdct import HOP, RATE
from duplexforge.models.model import Model, load
from duplexforge.models.quantise import STEP_BITS, choose, step_units
from duplexforge.models.range_coder import TOTAL, RangeDecoder, RangeEncoder
from duplexforge.models.rate import Budget
from duplexforge.models.side import NUMBERS_PER_LOUDNESS, Side, loudness_of
from duplexforge.models.voice import BALANCED, FIDELITY, Past, Shape

FRAMES = 4
PACKET = FRAMES * HOP
AFRESH_EVERY = 50
GO_ON, CHANGE, AFRESH = range(3)
_STARTS = [0, TOTAL * 85 // 100, TOTAL * 98 // 100, TOTAL]
_SHAPES = {"fidelity": FIDELITY, "balanced": BALANCED}
KBPS = 16.0
LEAST_KBPS, MOST_KBPS = 2.0, 128.0


@dataclass(frozen=True)
class MdctCodec:
    """A mode with its weights, and either a mean rate to keep in the long run or one fixed ``step`` number."""

    mode: str
    shape: Shape
    model: Model
    kbps: float = KBPS
    step: int | None = None
    rate: int = RATE
    hop: int = HOP
    packet: int = PACKET
    delay: int = PACKET + HOP

    @property
    def weights(self) -> int:
        """32 bits that tell the weights from others: a decoder with other ones would only make noise."""
        return self.model.digest

    def encoder(self, slots: int = 1) -> MdctEncoder:
        """A new stream of ``slots`` voices."""
        return MdctEncoder(self, slots)

    def decoder(self, slots: int = 1) -> MdctDecoder:
        """A new stream of ``slots`` voices."""
        return MdctDecoder(self, slots)


def open_mode(mode: str, kbps: float | None = None) -> MdctCodec:
    """The codec of ``mode``; a ``UsageError`` for a rate out of reach."""
    kbps = KBPS if kbps is None else kbps
    if not LEAST_KBPS <= kbps <= MOST_KBPS:
        raise UsageError(f"{kbps:g} kbps is out of reach for {mode}: it takes {LEAST_KBPS:g} to {MOST_KBPS:g}")
    return MdctCodec(mode, _SHAPES[mode], load(), kbps)


class VoiceEncoder:
    """One slot: waves of a packet's length in, a packet out."""

    def __init__(self, codec: MdctCodec) -> None:
        self._codec = codec
        self._past = Past(codec.model, codec.shape)
        self._side = Side(codec.model)
        self._before: Wave = np.zeros(HOP, np.float32)
        self._budget = Budget(codec.kbps, PACKET / RATE, codec.shape)
        self._step = -1
        self._age = 0

    def packet(self, wave: Wave) -> bytes:
        spectra = self.spectra(wave)
        step = self._codec.step
        if step is None:
            step = self._budget.step(spectra)
        encoder = RangeEncoder()
        start = AFRESH if self._age % AFRESH_EVERY == 0 else GO_ON if step == self._step else CHANGE
        encoder.symbol(_STARTS, start)
        if start != GO_ON:
            encoder.number(step, STEP_BITS)
        if start == AFRESH:
            self._past.forget()
            self._side.forget()
        self._step, self._age = step, self._age + 1
        for spectrum in spectra:
            self.frame(encoder, spectrum, step)
        packet = encoder.finish()
        self._budget.spend(8 * len(packet))
        return packet

    def frame(self, encoder: RangeEncoder, spectrum: mdct.Floats, step: int) -> None:
        model, shape = self._codec.model, self._codec.shape
        loudness = 0
        if shape.follow:
            loudness = loudness_of(spectrum, step_units(step), shape.follow)
            self._side.write_loudness(encoder, loudness)
        steps = self._past.steps(step + NUMBERS_PER_LOUDNESS * loudness)
        ratios = spectrum / steps
        values, used = choose(model, self._past.expect(steps), ratios.tolist(), shape.thrift)
        frames.write(encoder, model, values, used)
        self._past.take(values, used, steps)
        if shape.fill:
            numbers = np.array(values, np.int64)
            self._side.write_fill(encoder, self._side.levels(ratios, numbers), numbers)

    def spectra(self, wave: Wave) -> list[mdct.Floats]:
        whole = np.concatenate([self._before, wave])
        self._before = whole[-HOP:]
        # Frame by frame: one product of another shape might round in another order, and the stream must equal the whole.
        return [mdct.analyse(whole[start : start + 2 * HOP]) for start in range(0, len(wave), HOP)]


class MdctEncoder:
    """A stream of ``slots`` voices; see ``codec.Encoder``."""

    def __init__(self, codec: MdctCodec, slots: int) -> None:
        self._codec, self._slots = codec, slots
        self._renew()

    def _renew(self) -> None:
        self._voices = [VoiceEncoder(self._codec) for _ in range(self._slots)]
        self._open: Wave = np.zeros((self._slots, 0), np.float32)
        self._heard = 0

    def push(self, wave: Wave) -> list[list[bytes]]:
        """Take slots × n samples and return the rows that are now complete."""
        self._heard += wave.shape[1]
        self._open = np.concatenate([self._open, wave.astype(np.float32, copy=False)], axis=1)
        whole = self._open.shape[1] // PACKET * PACKET
        ready, self._open = self._open[:, :whole], self._open[:, whole:]
        return [
            [voice.packet(ready[slot, start : start + PACKET]) for slot, voice in enumerate(self._voices)]
            for start in range(0, whole, PACKET)
        ]

    def flush(self) -> list[list[bytes]]:
        """The last rows, filled up with zeros; the encoder is new after it."""
        # The last sample comes out half a frame after the packet that it went into.
        need = self._open.shape[1] + HOP if self._heard else 0
        fill = -(-need // PACKET) * PACKET - self._open.shape[1]
        rows = self.push(np.zeros((self._slots, fill), np.float32)) if fill > 0 else []
        self._renew()
        return rows

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh."""
        for slot in range(self._slots):
            if mask is None or mask[slot]:
                self._voices[slot] = VoiceEncoder(self._codec)
                self._open[slot] = 0


class _VoiceDecoder:
    """One slot: a packet in, a packet's length of samples out."""

    def __init__(self, codec: MdctCodec) -> None:
        self._codec = codec
        self._past = Past(codec.model, codec.shape)
        self._side = Side(codec.model)
        self._synthesis = mdct.Synthesis()
        self._step: int | None = None
        self.concealed = 0

    def packet(self, packet: bytes | None) -> mdct.Floats:
        spectra = None if packet is None else self._read(packet)
        if spectra is None:
            self.concealed += 1
            self._step = None
            spectra = [self._past.conceal() for _ in range(FRAMES)]
        return np.concatenate([self._synthesis.frame(spectrum) for spectrum in spectra])

    def _read(self, packet: bytes) -> list[mdct.Floats] | None:
        """The spectra of the packet's frames; None when it goes on from what was lost."""
        decoder = RangeDecoder(packet)
        start = decoder.symbol(_STARTS)
        step = self._step if start == GO_ON else decoder.number(STEP_BITS)
        if step is None or (start == CHANGE and self._step is None):
            return None
        if start == AFRESH:
            self._past.forget()
            self._side.forget()
        spectra = [self._frame(decoder, step) for _ in range(FRAMES)]
        self._step = step
        return spectra

    def _frame(self, decoder: RangeDecoder, step: int) -> mdct.Floats:
        shape = self._codec.shape
        loudness = self._side.read_loudness(decoder) if shape.follow else 0
        steps = self._past.steps(step + NUMBERS_PER_LOUDNESS * loudness)
        values, used = frames.read(decoder, self._codec.model, self._past.expect(steps))
        spectrum = self._past.take(values, used, steps)
        if not shape.fill:
            return spectrum
        return self._past.fill(spectrum, steps, self._side.read_fill(decoder, np.array(values, np.int64)))


class MdctDecoder:
    """A stream of ``slots`` voices; see ``codec.Decoder``."""

    def __init__(self, codec: MdctCodec, slots: int) -> None:
        self._codec = codec
        self._voices = [_VoiceDecoder(codec) for _ in range(slots)]
        self._ended = 0
        self._lead = HOP

    @property
    def concealed(self) -> int:
        """Packets, over all slots, that were lost, or could not be read without a lost one, and had to be made up."""
        return self._ended + sum(voice.concealed for voice in self._voices)

    def push(self, rows: Sequence[Row]) -> Wave:
        """Take rows in their order and return the samples (slots × n) that they complete."""
        if not rows:
            return np.zeros((len(self._voices), 0), np.float32)
        blocks = [
            np.stack([voice.packet(packet) for voice, packet in zip(self._voices, row, strict=True)]) for row in rows
        ]
        whole = np.concatenate(blocks, axis=1)
        lead, self._lead = self._lead, 0
        # Whole numbers over a power of two: the division is exact, and so is the wave on every machine.
        wave: Wave = (whole[:, lead:] / mdct.FULL).astype(np.float32)
        return wave

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` afresh."""
        for slot, voice in enumerate(self._voices):
            if mask is None or mask[slot]:
                self._ended += voice.concealed
                self._voices[slot] = _VoiceDecoder(self._codec)
