"""WAV files as they come over the network: read from memory, every size in them doubted."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError
from duplexforge.serving.packets import Floats, samples_of
from duplexforge.serving.resampling import HIGHEST, LOWEST

__all__ = ["Wav", "read", "written"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MOST_CHANNELS = 32


class Wav(NamedTuple):
    """``samples`` float32[n] in ±1, all channels mixed into one, at ``rate`` a second; how many ``channels`` there were."""

    samples: Floats
    rate: int
    channels: int


def read(data: bytes, longest: float = math.inf) -> Wav:
    """The sound in an uncompressed WAV file: PCM of 8 to 32 bits or float, any number of channels. InputError for all else.

    More than ``longest`` seconds are refused before they are unpacked, and so is no sound at all. A file that breaks off, and
    one whose sizes were never filled in since it was streamed, give what is there.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InputError("this is no WAV file: send uncompressed PCM in a RIFF/WAVE file", reason="not_wav")
    head, at = None, 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            head = _format(body)
        elif name == b"data":
            if head is None:
                raise InputError("a WAV file says its format before its sound", reason="not_wav")
            return _sound(body, head, longest)
        at += 8 + size + size % 2
    raise InputError("this WAV file has no sound in it", reason="not_wav")


def written(pcm16: bytes, rate: int) -> bytes:
    """A WAV file of mono PCM16."""
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, 2 * rate, 2, 16)
    body = head + struct.pack("<4sI", b"data", len(pcm16)) + pcm16
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


class _Format(NamedTuple):
    kind: int
    channels: int
    rate: int
    bits: int

    @property
    def size(self) -> int:
        """Bytes of one moment in all channels."""
        return self.channels * self.bits // 8


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise InputError("this WAV file's format is cut off", reason="not_wav")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if kind == _EXTENSIBLE and len(body) >= 26:
        kind = int.from_bytes(body[24:26], "little")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise InputError(f"a WAV file has 1 to {_MOST_CHANNELS} channels here, not {channels}", reason="not_wav")
    if (kind, bits) not in ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)):
        raise InputError(f"WAV format {kind} with {bits} bits is not taken: send 16-bit PCM", reason="not_wav")
    if not LOWEST <= rate <= HIGHEST:
        raise InputError(f"sound has {LOWEST} to {HIGHEST} samples a second here, not {rate}", reason="not_wav")
    return _Format(kind, channels, rate, bits)


def _sound(body: bytes, head: _Format, longest: float) -> Wav:
    moments = len(body) // head.size
    seconds = moments / head.rate
    if not moments or seconds > longest:
        raise InputError(f"a recording lasts up to {longest:g} s here, not {seconds:g} s", reason="duration")
    decode = (_FLOATS if head.kind == _FLOAT else _WHOLES)[head.bits]
    flat = decode(body[: moments * head.size])
    mixed: Floats = flat.reshape(-1, head.channels).mean(axis=1, dtype=np.float32)
    return Wav(mixed, head.rate, head.channels)


def _of_24(body: bytes) -> npt.NDArray[np.float32]:
    # Each sample becomes the upper three bytes of four.
    wide = np.zeros((len(body) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
    return (wide.reshape(-1).view("<i4") / 2.0**31).astype(np.float32)


_Decoder = Callable[[bytes], npt.NDArray[np.float32]]
_WHOLES: dict[int, _Decoder] = {
    8: lambda body: np.asarray((np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128, np.float32),
    16: samples_of,
    24: _of_24,
    32: lambda body: (np.frombuffer(body, "<i4") / 2.0**31).astype(np.float32),
}
_FLOATS: dict[int, _Decoder] = {
    32: lambda body: np.nan_to_num(np.frombuffer(body, "<f4"), nan=0.0, posinf=1.0, neginf=-1.0),
    64: lambda body: np.nan_to_num(np.frombuffer(body, "<f8").astype(np.float32), nan=0.0, posinf=1.0, neginf=-1.0),
}
