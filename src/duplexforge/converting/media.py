"""One recording from any format to FLAC or WAV in a stream: twelve hours take no more memory than a minute.

PyAV decodes and encodes, soxr (very high quality) resamples. The demuxers are a closed list: FFmpeg picks one by content,
and some of them (HLS, concat) open other files that the content names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError

__all__ = ["CODECS", "Converted", "Shape", "stamp_of", "transcode"]

Samples = npt.NDArray[np.float32]

CODECS = {"flac": "flac", "wav": "pcm_s16le"}
_LAYOUTS = {1: "mono", 2: "stereo"}
_OPTIONS = {
    "format_whitelist": (
        "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp2,mp3,mpeg,mpegts,ogg,rm,tta,w64,wav,webm,wv"
    ),
    "protocol_whitelist": "file",
}
# What a file means that does not say where its channels belong: the usual order of WAV.
_USUAL = {
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
_STAMP = "comment"
# A small file may hold days of silence; nothing longer is a recording.
_MOST_HOURS = 48
_MOST_ERRORS = 1000
# Seconds that are resampled and encoded at a time.
_BLOCK = 5


@dataclass(frozen=True)
class Shape:
    """What to write: ``kind`` flac or wav (16 bit), ``rate`` in Hz and ``channels`` (1 or 2), None as in the source."""

    kind: str
    rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True)
class Converted:
    """What was written: seconds, rate, channels, and how many packets of the source were damaged and left out."""

    seconds: float
    rate: int
    channels: int
    damaged: int


def stamp_of(path: Path) -> str | None:
    """The stamp that :func:`transcode` left in a file, None for a file without one or that cannot be read."""
    import av

    try:
        with av.open(f"file:{path}", options=_OPTIONS) as container:
            return container.metadata.get(_STAMP) or container.streams.audio[0].metadata.get(_STAMP)
    except (av.error.FFmpegError, ValueError, IndexError):
        return None


def transcode(source: Path, target: Path, shape: Shape, stamp: str) -> Converted:
    """Write ``source`` to ``target`` in ``shape``, with ``stamp`` inside. InputError when the source is to blame."""
    with _opened(source) as container:
        stream = container.streams.audio[0]
        rate = shape.rate or int(stream.codec_context.sample_rate or 0)
        channels = shape.channels or min(int(stream.codec_context.channels or 0), 2)
        if not rate or not channels:
            raise InputError(f"{source.name} has no audio that can be decoded", reason="corrupt")
        decoder = _Decoder(container, stream, channels)
        writer = _Writer(target, shape.kind, rate, channels, stamp)
        with writer:
            for block in _resampled(decoder.blocks(), rate, channels):
                writer.write(block)
                if writer.frames > _MOST_HOURS * 3600 * rate:
                    raise InputError(f"{source.name} holds more than {_MOST_HOURS} hours", reason="too_long")
        if not writer.frames:
            raise InputError(f"{source.name} has no audio that can be decoded", reason="corrupt")
    return Converted(round(writer.frames / rate, 3), rate, channels, decoder.damaged)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty", reason="empty")
    try:
        # The prefix keeps a name such as "concat:a|b" from being taken for a protocol.
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"{path.name} is not an audio file that can be read", reason="not_audio") from error
    with container:
        if not container.streams.audio:
            raise InputError(f"{path.name} has no audio stream", reason="no_audio_stream")
        yield container


class _Decoder:
    """The samples of a stream; ``damaged`` counts the packets that could not be decoded."""

    def __init__(self, container: Any, stream: Any, channels: int) -> None:
        self._container, self._stream, self._channels = container, stream, channels
        self.damaged = 0

    def blocks(self) -> Iterator[tuple[int, Samples]]:
        """Rate and samples (n, channels) of each frame; the rate may change on the way."""
        import av

        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                continue
            for frame in frames:
                if frame.samples and frame.sample_rate:
                    yield frame.sample_rate, _mixed(frame, self._channels)

    def _packets(self) -> Iterator[Any]:
        import av

        packets = self._container.demux(self._stream)
        while self.damaged < _MOST_ERRORS:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                # After an error the demuxer is spent; what was decoded so far is kept.
                self.damaged += 1
                return


def _mixed(frame: Any, channels: int) -> Samples:
    """A frame as float32 (n, ``channels``), integers scaled to full scale 1.0."""
    raw = frame.to_ndarray()
    names = tuple(channel.name for channel in frame.layout.channels)
    if set(names) == {"NONE"}:
        names = _USUAL.get(len(names), names)
    if not frame.format.is_planar:
        raw = raw.reshape(-1, len(names)).T
    if raw.dtype.kind == "u":
        samples = (raw.astype(np.float32) - 128.0) / 128.0
    elif raw.dtype.kind == "i":
        samples = raw.astype(np.float32) / float(-np.iinfo(raw.dtype).min)
    else:
        samples = raw.astype(np.float32, copy=False)
    # What is no number is silence, and what is beyond all numbers is as loud as can be.
    whole = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    mixed: Samples = (_weights(names, channels) @ whole).T
    return mixed


def _weights(names: tuple[str, ...], channels: int) -> Samples:
    """How much of each channel goes into each of one or two: means, so that nothing can clip.

    Low-frequency effects are left out. For two, names on the left and right go to their side, all others to both.
    """
    heard = [float(not name.startswith("LFE")) for name in names]
    if not any(heard):
        heard = [1.0] * len(names)
    sides = [heard]
    if channels == 2:
        sides = [
            [level * (not name.endswith(far)) for level, name in zip(heard, names, strict=True)] for far in ("R", "L")
        ]
        sides = [side if any(side) else heard for side in sides]
    table = np.array(sides, np.float32)
    table /= table.sum(axis=1, keepdims=True)
    return table


def _resampled(blocks: Iterator[tuple[int, Samples]], rate: int, channels: int) -> Iterator[Samples]:
    import soxr

    stream: Any = None
    current, count = 0, 0
    waiting: list[Samples] = []
    for source_rate, samples in blocks:
        if source_rate != current:
            if stream is not None:
                yield stream.resample_chunk(np.concatenate(waiting), last=True)
            stream = soxr.ResampleStream(source_rate, rate, channels, dtype="float32", quality="VHQ")
            current, waiting, count = source_rate, [np.zeros((0, channels), np.float32)], 0
        waiting.append(np.ascontiguousarray(samples))
        count += len(samples)
        # Frames are hundredths of a second; the resampler is faster on more.
        if count >= _BLOCK * source_rate:
            yield stream.resample_chunk(np.concatenate(waiting))
            waiting, count = [np.zeros((0, channels), np.float32)], 0
    if stream is not None:
        yield stream.resample_chunk(np.concatenate(waiting), last=True)


class _Writer:
    """A FLAC or WAV file being written, 16 bits a sample; WAV beyond 4 GB becomes RF64, its 64-bit form.

    Raises OSError when the place cannot take it.
    """

    def __init__(self, path: Path, kind: str, rate: int, channels: int, stamp: str) -> None:
        import av

        options = {"rf64": "auto"} if kind == "wav" else {}
        with _disk(path):
            self._container: Any = av.open(str(path), "w", format=kind, options=options)
        self._container.metadata[_STAMP] = stamp
        stream: Any = self._container.add_stream(CODECS[kind], rate=rate)
        stream.layout, stream.format = _LAYOUTS[channels], "s16"
        self._stream, self._layout = stream, _LAYOUTS[channels]
        self._path, self._rate = path, rate
        self.frames = 0

    def __enter__(self) -> _Writer:
        return self

    def write(self, samples: Samples) -> None:
        """Append samples (n, channels), clipped to full scale."""
        import av

        if not len(samples):
            return
        whole = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), format="s16", layout=self._layout)
        frame.sample_rate, frame.pts = self._rate, self.frames
        with _disk(self._path):
            self._container.mux(self._stream.encode(frame))
        self.frames += len(samples)

    def __exit__(self, kind: object, error: object, at: object) -> None:
        with _disk(self._path):
            if kind is None and self.frames:
                self._container.mux(self._stream.encode(None))
            self._container.close()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """FFmpeg's errors while writing as the system's own: they are about the disk, not about the recording."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
