"""Whole recordings: a sound becomes a file of the codec at a given rate, and a file becomes sound again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from duplexforge.errors import InputError
from duplexforge.models import container
from duplexforge.models.codec import MODES, Codec, Packets, Wave, decode, encode, open_codec
from duplexforge.models.mdct_codec import MdctCodec
from duplexforge.models.rate import excerpts, likely_step, settle


@dataclass(frozen=True)
class Decoded:
    """A recording that came out of a file.

    ``damaged`` of its ``packets`` were lost, and ``concealed`` made up: those, and what could not be read without them.
    """

    wave: Wave
    packets: Packets
    damaged: int
    concealed: int


def steadied(codec: Codec, wave: Wave) -> Codec:
    """The codec with the one step that keeps the file of ``wave`` within ``codec.kbps``; others come back as they are.

    One step throughout gives more SNR than a stream's budget, which cannot know what comes. A recording of more than a
    minute is judged by excerpts.
    """
    if not isinstance(codec, MdctCodec) or not len(wave):
        return codec
    some = excerpts(wave.astype(np.float64))
    part = some.astype(np.float32)

    def cost(step: int) -> float:
        return file_kbps(len(pack(replace(codec, step=step), part)), part, codec.rate)

    return replace(codec, step=settle(cost, codec.kbps, likely_step(some, codec.kbps, codec.shape.follow)))


def file_kbps(size: int, wave: Wave, rate: int) -> float:
    """Thousand bits a second of a file of ``size`` bytes."""
    return 8 * size * rate / max(len(wave), 1) / 1000


def pack(codec: Codec, wave: Wave) -> bytes:
    """The file of ``wave``."""
    return container.write(encode(codec, wave), weights_of(codec))


def unpack(data: bytes) -> Decoded:
    """The recording of a file; an ``InputError`` when it is none or was written with other weights."""
    file = container.read(data)
    packets = file.packets
    codec = _codec_of(packets)
    if weights_of(codec) != file.weights:
        raise InputError(
            "the file was written with other weights than this duplexforge has: use the version that wrote it"
        )
    if packets.samples > len(packets.packets) * codec.packet:
        raise InputError(
            f"the file says {packets.samples} samples, which its {len(packets.packets)} packets cannot hold"
        )
    decoder = codec.decoder()
    return Decoded(decode(codec, packets, decoder), packets, file.lost, decoder.concealed)


def weights_of(codec: Codec) -> int:
    """32 bits that tell the codec's weights from others."""
    return int(getattr(codec, "weights", 0))


def _codec_of(packets: Packets) -> Codec:
    if packets.mode not in MODES:
        raise InputError(f"the file is of mode {packets.mode}, which this duplexforge does not know")
    return open_codec(packets.mode)
