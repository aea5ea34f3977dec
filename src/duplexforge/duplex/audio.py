"""One speaker's recording from any file, as a stream at any rate: ten hours take no more memory than a minute.

libsndfile decodes what it can (WAV, FLAC, Ogg, AIFF …) and FFmpeg the rest; soxr resamples. A pair of tracks lives on
one clock, so a file whose middle cannot be decoded is refused whole: going on behind a hole would shift what follows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from duplexforge.duplex.corpus import Samples
from duplexforge.errors import InputError
from duplexforge.loading.packing import Pcm

__all__ = ["FileAudio", "Header", "header_of", "not_numbers", "resampled", "to_pcm"]

# Seconds that are decoded and resampled at a time.
_BLOCK = 5
# No talk is longer; a megabyte of packed silence may be.
_MOST_HOURS = 24
# What no recorder writes is a broken header: speech at 10 Hz would become hours of nothing.
_LEAST_RATE, _MOST_RATE = 4_000, 768_000
# A closed list: FFmpeg picks a demuxer by content, and some of them open other files that the content names.
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp2,mp3,mpeg,mpegts,ogg,rm,tta,w64,wav,webm,wv"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class Header:
    """What a file says of itself. ``frames`` (samples of one channel) is None when only decoding would tell."""

    rate: int
    channels: int
    frames: int | None

    @property
    def seconds(self) -> float | None:
        """Length in seconds, None when it is not known."""
        return None if self.frames is None else self.frames / self.rate


@dataclass(frozen=True)
class FileAudio:
    """The audio of a file, or of one ``channel`` of it (from 0); without one, the mean of all channels.

    A :class:`~duplexforge.duplex.corpus.Audio`: small, picklable, opens its file when it is read.
    """

    path: str
    channel: int | None = None

    def blocks(self, rate: int) -> Iterator[Samples]:
        """Mono float32 at ``rate`` in blocks, ``round(n * rate / source rate)`` samples in all.

        InputError (``unreadable_audio``, ``corrupt``, ``no_channel``, ``too_long``) when the file is to blame. What is no
        number in the file is none here, at its place, so that whoever writes it (:func:`to_pcm`) can count it.
        """
        header = header_of(Path(self.path))
        yield from resampled(self._mono(header), header.rate, rate)

    def _mono(self, header: Header) -> Iterator[Samples]:
        if self.channel is not None and not 0 <= self.channel < header.channels:
            name = Path(self.path).name
            message = f"{name} has {header.channels} channels, none is number {self.channel}"
            raise InputError(message, reason="no_channel")
        heard, most = 0, _MOST_HOURS * 3600 * header.rate
        for block in _decoded(Path(self.path), header):
            heard += len(block)
            # By its header at once, where that tells.
            if max(heard, header.frames or 0) > most:
                name = Path(self.path).name
                raise InputError(f"{name} is longer than {_MOST_HOURS} hours: cut it", reason="too_long")
            with np.errstate(invalid="ignore", over="ignore"):
                mono = _mean(block) if self.channel is None else block[:, self.channel]
            yield np.ascontiguousarray(mono, dtype=np.float32)


def _mean(block: Samples) -> Samples:
    """The mean of all channels; one after the other, as numpy's own over a short axis costs more than resampling."""
    total = block[:, 0]
    for channel in range(1, block.shape[1]):
        total = total + block[:, channel]
    return total / np.float32(block.shape[1])


def header_of(path: Path) -> Header:
    """Rate, channels and length of a file by its header; InputError (``unreadable_audio``) when it has none that is true."""
    if file := _by_libsndfile(path):
        with file:
            return _header(path, int(file.samplerate), int(file.channels), int(file.frames))
    with _opened(path) as container:
        stream = container.streams.audio[0]
        rate, channels = int(stream.codec_context.sample_rate or 0), int(stream.codec_context.channels or 0)
        if not rate or not channels:
            raise InputError(f"{path.name} has no audio that can be decoded", reason="unreadable_audio")
        # The length of an MP3 is its first frame's claim, or a guess by its size.
        known = stream.duration is not None and stream.time_base is not None and container.format.name != "mp3"
        frames = round(stream.duration * stream.time_base * rate) if known else None
        return _header(path, rate, channels, frames)


def _header(path: Path, rate: int, channels: int, frames: int | None) -> Header:
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise InputError(f"{path.name} says that it has {rate} samples a second", reason="unreadable_audio")
    return Header(rate, channels, frames)


def to_pcm(samples: Samples) -> Pcm:
    """±1 as int16, rounded. Beyond full scale it is clipped, never wrapped; what is no number (or infinite) becomes 0."""
    numbers = np.where(np.isfinite(samples), np.clip(samples, -1.0, 1.0), np.float32(0.0))
    pcm: Pcm = np.clip(np.rint(numbers * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def not_numbers(samples: Samples) -> int:
    """How many samples are NaN or infinite."""
    return int(samples.size - np.count_nonzero(np.isfinite(samples)))


def resampled(blocks: Iterable[Samples], source: int, rate: int) -> Iterator[Samples]:
    """Mono ``blocks`` at ``source`` Hz as blocks at ``rate``, exactly ``round(n * rate / source)`` samples in all.

    soxr's high quality (20 bits), without delay against the source. NaN stays at its place and spoils no neighbour.
    """
    if source == rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source, rate, 1, dtype="float32", quality="HQ")
    holes = _Holes()
    read = given = 0
    held = np.zeros(0, np.float32)
    for block in blocks:
        sound = holes.taken(block, read, source, rate)
        read += len(block)
        # One block stays behind: the resampler may end with a sample too many, which must not be out by then.
        if len(held):
            yield holes.put(held, given)
            given += len(held)
        held = stream.resample_chunk(sound)
    last = np.concatenate([held, stream.resample_chunk(np.zeros(0, np.float32), last=True)])
    wanted = round(Fraction(read * rate, source)) - given
    if len(last) < wanted:
        last = np.concatenate([last, np.zeros(wanted - len(last), np.float32)])
    if wanted > 0:
        yield holes.put(last[:wanted], given)


class _Holes:
    """Samples that are no numbers, taken out before the resampler, which would smear them, and put back behind it."""

    def __init__(self) -> None:
        self._waiting: list[npt.NDArray[np.int64]] = []

    def taken(self, block: Samples, start: int, source: int, rate: int) -> Samples:
        """The block with silence for what is no number; remembers where that comes to stand."""
        good = np.isfinite(block)
        if good.all():
            return block
        self._waiting.append((start + np.flatnonzero(~good)) * rate // source)
        return np.where(good, block, np.float32(0.0))

    def put(self, block: Samples, start: int) -> Samples:
        """The block, which begins at ``start``, with its holes."""
        if self._waiting:
            places = np.concatenate(self._waiting)
            here = places < start + len(block)
            block = block.copy()
            block[places[here] - start] = np.nan
            self._waiting = [places[~here]] if not here.all() else []
        return block


def _decoded(path: Path, header: Header) -> Iterator[Samples]:
    """float32[n, channels] in blocks of some seconds, at the file's own rate."""
    file = _by_libsndfile(path)
    if file is None:
        yield from _by_ffmpeg(path, header)
        return
    with file:
        try:
            yield from file.blocks(_BLOCK * header.rate, dtype="float32", always_2d=True)
        except sf.LibsndfileError as error:
            raise InputError(f"{path.name} cannot be decoded: {error.error_string}", reason="corrupt") from error


def _by_libsndfile(path: Path) -> Any | None:
    """The file opened by libsndfile, None where FFmpeg must read it."""
    try:
        # As bytes: soundfile refuses names that are no Unicode.
        file = sf.SoundFile(os.fsencode(path))
    except sf.LibsndfileError:
        return None
    if file.format != "MP3":
        return file
    # Of an MP3 that was cut off it makes silence up to the length that the file claims.
    file.close()
    return None


def _by_ffmpeg(path: Path, header: Header) -> Iterator[Samples]:
    import av

    with _opened(path) as container:
        waiting: list[Samples] = []
        count = 0
        try:
            for frame in container.decode(container.streams.audio[0]):
                waiting.append(_planes(frame, header, path))
                count += len(waiting[-1])
                # Frames are hundredths of a second; the resampler is faster on more.
                if count >= _BLOCK * header.rate:
                    yield np.concatenate(waiting)
                    waiting, count = [], 0
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"{path.name} cannot be decoded: {error}", reason="corrupt") from error
        if waiting:
            yield np.concatenate(waiting)


def _planes(frame: Any, header: Header, path: Path) -> Samples:
    """A frame as float32[n, channels] with full scale 1.0."""
    if (frame.sample_rate, frame.layout.nb_channels) != (header.rate, header.channels):
        raise InputError(f"{path.name} changes its rate or channels on the way", reason="corrupt")
    raw = frame.to_ndarray()
    raw = raw.T if frame.format.is_planar else raw.reshape(-1, header.channels)
    samples: Samples = raw.astype(np.float32)
    if raw.dtype.kind == "u":
        return samples / np.float32(128.0) - np.float32(1.0)
    if raw.dtype.kind == "i":
        return samples / np.float32(-float(np.iinfo(raw.dtype).min))
    return samples


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    try:
        # The prefix keeps a name such as "concat:a|b" from being taken for a protocol.
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise InputError(f"{path.name} is not an audio file that can be read", reason="unreadable_audio") from error
    with container:
        if not container.streams.audio:
            raise InputError(f"{path.name} has no audio stream", reason="unreadable_audio")
        yield container
