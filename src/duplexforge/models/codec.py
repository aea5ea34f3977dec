"""What a codec is: waves in, packets out, in streams that carry their state.

::

    codec = open_codec("fidelity")
    encoder, decoder = codec.encoder(), codec.decoder()
    rows = encoder.push(wave) + encoder.flush()      # a row holds one packet for every slot
    wave = decoder.push(rows)

A stream has ``slots``: independent voices that share one clock, so that a server runs them as one batch. ``reset(mask)``
starts some of them afresh; the clock goes on, and what a slot had waiting in the open packet counts as zeros. A packet
is whole bytes and covers ``codec.packet`` samples; its cost is ``8 * len(packet)`` bits, so counting bits is exact.

Sample i of the decoder's output belongs to sample i of the encoder's input (zero-delay-aligned); it comes ``codec.delay``
samples later. ``encode`` and ``decode`` of a whole recording are the streams run over it, so that a stream equals the
whole for every way of cutting the wave: bit for bit in the modes fidelity, balanced and base, to 1e-5 in the mode token.

A packet that was lost (``None``), or goes on from one that was, is concealed and counted in ``decoder.concealed``. Any
bytes decode to some sound and raise nothing; whether they are whole is for the container or the transport to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, UsageError

Wave = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Row = Sequence[bytes | None]
"""The packets of one moment, one for every slot; None is a packet that was lost."""


class Encoder(Protocol):
    """A stream of waves that becomes packets."""

    def push(self, wave: Wave) -> list[list[bytes]]:
        """Take ``wave`` (slots × n samples, any n, −1 to 1) and return the rows that are now complete, maybe none."""
        ...

    def flush(self) -> list[list[bytes]]:
        """End the stream: the rows that bring out the last sample. Then the encoder stands as it was when new."""
        ...

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` (slots; None: all) afresh."""
        ...


class Decoder(Protocol):
    """A stream of packets that becomes waves."""

    concealed: int
    """Packets, over all slots, that were lost, or could not be read without a lost one, and had to be made up."""

    def push(self, rows: Sequence[Row]) -> Wave:
        """Take rows in their order and return the samples (slots × n) that they complete."""
        ...

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` (slots; None: all) afresh."""
        ...


class Codec(Protocol):
    """One mode with its weights; streams are made from it, and share nothing but the weights."""

    mode: str
    rate: int
    """Samples a second."""
    hop: int
    """Samples a frame."""
    packet: int
    """Samples a packet: one or more frames."""
    delay: int
    """Samples that must have gone in, beyond sample i, before sample i comes out."""

    def encoder(self, slots: int = 1) -> Encoder:
        """A new stream of ``slots`` voices."""
        ...

    def decoder(self, slots: int = 1) -> Decoder:
        """A new stream of ``slots`` voices."""
        ...


@dataclass(frozen=True)
class Packets:
    """A whole recording as packets: what a file of the codec holds."""

    mode: str
    rate: int
    samples: int
    """Length of the recording, which the packets alone do not tell: the last one is filled up with zeros."""
    packets: tuple[bytes | None, ...]

    @property
    def bits(self) -> int:
        """Bits of all packets, without the frame that a container or a transport puts round them."""
        return 8 * sum(len(packet) for packet in self.packets if packet is not None)

    @property
    def kbps(self) -> float:
        """Thousand bits a second, mean over the recording."""
        return self.bits * self.rate / max(self.samples, 1) / 1000


MODES = {
    "fidelity": "duplexforge.models.mdct_codec",
    "balanced": "duplexforge.models.mdct_codec",
    "token": "duplexforge.models.rvq",
    "base": "duplexforge.models.base",
}
"""Module of every mode; it has ``open_mode(mode, kbps) -> Codec``. A new mode is one module and one line here."""


def open_codec(mode: str, *, kbps: float | None = None) -> Codec:
    """The codec of ``mode`` with the weights that come with the project.

    ``kbps`` is the mean rate to aim at; None takes the mode's own. A mode of fixed rate refuses any other with a
    ``UsageError``, as an unknown mode is.
    """
    if mode not in MODES:
        raise UsageError(f"there is no codec mode {mode}; there are {', '.join(MODES)}")
    codec: Codec = import_module(MODES[mode]).open_mode(mode, kbps)
    return codec


def encode(codec: Codec, wave: Wave) -> Packets:
    """The packets of a whole recording (``wave``: n samples, mono, at the codec's rate)."""
    if wave.ndim != 1:
        raise InputError(f"the codec wants one channel, not an array of shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise InputError("the wave holds samples that are no numbers")
    encoder = codec.encoder()
    rows = encoder.push(wave[None, :]) + encoder.flush()
    return Packets(codec.mode, codec.rate, len(wave), tuple(row[0] for row in rows))


def decode(codec: Codec, packets: Packets, decoder: Decoder | None = None) -> Wave:
    """The wave (``packets.samples`` samples) of a whole recording, aligned with what was encoded.

    A new ``decoder`` may be handed in, to ask it afterwards what it concealed.
    """
    if (packets.mode, packets.rate) != (codec.mode, codec.rate):
        raise InputError(f"packets of {packets.mode} at {packets.rate} Hz are nothing for a {codec.mode} codec")
    wave: Wave = (decoder or codec.decoder()).push([[packet] for packet in packets.packets])[0]
    if len(wave) < packets.samples:
        raise InputError(f"the packets hold {len(wave)} samples and should hold {packets.samples}")
    return wave[: packets.samples]
