"""Encoders for single segments: MP3 and Opus through PyAV, FLAC through libsndfile, always on one thread.

Each takes mono float samples and gives the bytes of a file, so that nothing is started, written and read again per
segment; that is where one program per segment spends its time. The bytes depend on nothing but the arguments and the
encoder's version: no time stamps, and Ogg's stream number is fixed. All three decode to exactly the samples that went
in: MP3 by the gapless tag, Opus by its pre-skip and the position of its last page.
"""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from Emilia.recording import Audio

__all__ = ["Pcm", "clipped", "encode", "wrapped"]

Pcm = npt.NDArray[np.int16]

# Encoder, container and sample format, and what is asked of the encoder.
_MP3 = ("libmp3lame", "mp3", "s16p")
_OPUS = ("libopus", "ogg", "s16")
# Quality 7 keeps the gapless tag and costs two thirds of the default's time.
_MP3_OPTIONS = {"compression_level": "7"}
# At 96 kbit/s complexity 10 takes 2.2 times as long for half a decibel; three 20 ms frames share a packet's overhead.
_OPUS_OPTIONS = {"application": "audio", "compression_level": "0", "frame_duration": "60"}
# libFLAC's own default of 5 on its scale of 8; 8 takes twice as long for a hundredth of the size.
_FLAC_LEVEL = 0.625


def encode(audio: Audio, rate: int, *, codec: str, bitrate: int, compat: bool = False) -> bytes:
    """Mono ``audio`` at ``rate`` Hz as a file: ``mp3`` or ``opus`` (in Ogg) at ``bitrate`` bit/s, or ``flac`` (16 bit).

    Samples are clipped, not wrapped. ``compat`` is the published export: samples wrap, and MP3 has the encoder's own
    quality and bit rate (32 kbit/s at 24 kHz).
    """
    pcm = wrapped(audio) if compat else clipped(audio)
    if codec == "flac":
        file = io.BytesIO()
        soundfile.write(file, pcm, rate, format="FLAC", subtype="PCM_16", compression_level=_FLAC_LEVEL)
        return file.getvalue()
    if codec == "opus":
        return _through_ffmpeg(pcm, rate, _OPUS, bitrate, _OPUS_OPTIONS)
    # LAME takes a bit rate of 0 for "choose".
    return _through_ffmpeg(pcm, rate, _MP3, 0 if compat else bitrate, {} if compat else _MP3_OPTIONS)


def clipped(audio: Audio) -> Pcm:
    """Samples as 16 bit: full scale 1.0 is 32767, rounded to the nearest, what is beyond stays there."""
    scaled = audio.astype(np.float64)
    # In place: fresh memory for each step would cost more than the arithmetic.
    scaled *= 32767.0
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32767.0, 32767.0, out=scaled)
    return scaled.astype(np.int16)


def wrapped(audio: Audio) -> Pcm:
    """Samples as the published export casts them: cut off towards zero, and beyond full scale with the sign turned."""
    # Through 32 bits, because a direct cast of what does not fit is left to the processor.
    return (audio * np.float32(32767)).astype(np.int32).astype(np.int16)


def _through_ffmpeg(pcm: Pcm, rate: int, kind: tuple[str, str, str], bitrate: int, options: dict[str, str]) -> bytes:
    encoder, container, sample_format = kind
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(encoder, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        stream.codec_context.format = sample_format
        stream.codec_context.thread_count = 1
        stream.bit_rate = bitrate
        stream.options = {**options}
        frame = AudioFrame.from_ndarray(pcm[None, :], format=sample_format, layout="mono")
        frame.sample_rate = rate
        frame.pts = 0
        out.mux(_trimmed([*stream.encode(frame), *stream.encode(None)]))
    return file.getvalue()


def _trimmed(packets: list[Packet[Any]]) -> list[Packet[Any]]:
    """The packets, with all padding at the end counted in the last one's skip data (start, end, two reasons).

    LAME may flush a packet that is padding alone after one that is partly padding. The muxer writes what the last
    packet says into the gapless tag, so that such a file would play up to 47 samples too long.
    """
    told = [bytes(p.get_sidedata("skip_samples")) for p in packets if p.has_sidedata("skip_samples")]
    padding = sum(int.from_bytes(data[4:8], "little") for data in told)
    if padding and packets[-1].has_sidedata("skip_samples"):
        last = packets[-1].get_sidedata("skip_samples")
        last.update(bytes(4) + padding.to_bytes(4, "little") + bytes(2))
        packets[-1].set_sidedata(last)
    return packets
