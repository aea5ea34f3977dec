"""Samples in the cells of a data set: 16-bit mono as FLAC or WAV in memory, and back, whole or in part.

What is stored is exact: packing and unpacking gives the same int16 numbers, and checksums are over those numbers, so they
stay true when the packing changes. soundfile is loaded with this module; only what reads or writes audio imports it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile as sf

from duplexforge.errors import InputError
from duplexforge.loading.view import View

__all__ = ["Packer", "Packing", "Pcm", "pack", "pcm_sha256", "unpack", "unpack_part"]

Pcm = npt.NDArray[np.int16]

Packing = Literal["flac", "wav"]

Packed = bytes | memoryview

_FORMATS: dict[str, str] = {"flac": "FLAC", "wav": "WAV"}


class _Memory(io.BytesIO):
    """Bytes that stay open: a packer that is dropped unfinished still flushes, and may do so after they were collected."""

    def close(self) -> None:
        """Nothing: the bytes go with their owner."""


class Packer:
    """Packs a track block by block, so that nobody needs to hold it whole: :meth:`write` int16 mono, then :meth:`finish`."""

    def __init__(self, rate: int, packing: Packing = "flac") -> None:
        self._bytes = _Memory()
        self._file: Any = sf.SoundFile(self._bytes, "w", rate, 1, "PCM_16", format=_FORMATS[packing])
        self._samples = 0

    def write(self, pcm: Pcm) -> None:
        """Append samples, int16[n]; TypeError for another type, which soundfile would scale without a word."""
        if pcm.dtype != np.int16 or pcm.ndim != 1:
            raise TypeError(f"samples must be int16[n], not {pcm.dtype}{list(pcm.shape)}")
        self._file.write(pcm)
        self._samples += len(pcm)

    def finish(self) -> bytes:
        """The packed file: the same bytes for the same samples, in whatever blocks they came. InputError when none came."""
        if not self._samples:
            # libsndfile writes no header for a FLAC file without samples, so nobody could read it.
            raise InputError("there is no sample to pack", reason="empty")
        self._file.close()
        return self._bytes.getvalue()


def pack(pcm: Pcm, rate: int, packing: Packing = "flac") -> bytes:
    """int16[n] at ``rate`` as the bytes of a FLAC or WAV file."""
    packer = Packer(rate, packing)
    packer.write(pcm)
    return packer.finish()


def unpack(body: Packed) -> tuple[Pcm, int]:
    """Samples int16[n] and rate of a packed track; InputError(``corrupt``) when it is none."""
    with _opened(body) as file:
        return _read(file, file.frames), int(file.samplerate)


def unpack_part(body: Packed, start: int, end: int) -> tuple[Pcm, int]:
    """Samples ``start`` to ``end`` (exclusive) and rate, without decoding the rest.

    InputError(``corrupt``) when the track is none, or ends before ``end``: a part is never shorter than asked for.
    """
    with _opened(body) as file:
        if not 0 <= start <= end <= file.frames:
            raise InputError(f"samples {start} to {end} of a track of {file.frames} were asked for", reason="corrupt")
        if start < end:
            file.seek(start)
        return _read(file, end - start), int(file.samplerate)


def pcm_sha256(pcm: Pcm) -> str:
    """SHA-256 of the samples as little-endian int16, whatever they are packed in."""
    return hashlib.sha256(np.ascontiguousarray(pcm, dtype="<i2").data).hexdigest()


@contextmanager
def _opened(body: Packed) -> Iterator[Any]:
    if body[:4] == b"RIFF" and int.from_bytes(body[4:8], "little") + 8 != len(body):
        # libsndfile would take the rest for a shorter track.
        raise InputError("a packed track is cut off", reason="corrupt")
    try:
        with sf.SoundFile(View(body)) as file:
            if file.channels != 1 or file.subtype != "PCM_16":
                form = f"{file.channels} channels of {file.subtype}"
                raise InputError(f"a packed track holds {form}, not 16-bit mono", reason="corrupt")
            yield file
    except sf.LibsndfileError as error:
        raise InputError(f"a packed track cannot be read: {error.error_string}", reason="corrupt") from error


def _read(file: Any, count: int) -> Pcm:
    pcm: Pcm = file.read(count, dtype="int16")
    # A file that was cut off gives what is left of it without an error.
    if len(pcm) != count:
        raise InputError(f"a packed track ends {count - len(pcm)} samples early", reason="corrupt")
    return pcm
