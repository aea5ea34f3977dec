"""FFmpeg through PyAV: streaming decode of anything that may be decoded.

The demuxers are a closed list. FFmpeg picks one by content, not by name, and some of them (HLS, concat, DASH) open
other files and addresses that the content names; a feed could otherwise publish the worker's own files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from Emilia.errors import BadAudio
from Emilia.recording import Audio

__all__ = ["Source"]

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp2,mp3,mpeg,mpegts,nut,ogg,rm,tta,voc,w64,"
    "wav,webm,wv"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}

# A stream that declares more seconds than this many bits a second could carry is lying, not long.
_LEAST_BITRATE = 500
_MAX_ERRORS = 1000


class Source:
    """An audio file open for decoding, as a context manager.

    ``container``, ``codec``, ``rate`` (Hz) and ``channels`` describe it; ``declared`` is its header's length in
    seconds or None; ``errors`` counts the damaged packets met so far. Raises ``BadAudio`` for input that is no
    decodable audio.
    """

    def __init__(self, path: Path) -> None:
        self.errors = 0
        self._size = path.stat().st_size
        if self._size == 0:
            raise BadAudio("empty", f"{path.name} is empty.")
        try:
            # The prefix keeps a name such as "concat:a|b" from being taken for a protocol.
            self._container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="ignore")
        except (av.error.FFmpegError, ValueError) as error:
            raise BadAudio("not_audio", f"{path.name} is not an audio file that can be read.") from error
        if not self._container.streams.audio:
            self._container.close()
            raise BadAudio("no_audio_stream", f"{path.name} has no audio stream.")
        self._name = path.name
        self._stream: AudioStream = self._container.streams.audio[0]
        self._describe()

    def _describe(self) -> None:
        context = self._stream.codec_context
        self.container = self._container.format.name.split(",")[0]
        self.codec = context.name
        self.rate = int(context.sample_rate or 0)
        self.channels = int(context.channels or 0)
        self.declared: float | None = None
        if self._stream.duration and self._stream.time_base:
            self.declared = float(self._stream.duration * self._stream.time_base)
        elif self._container.duration:
            self.declared = self._container.duration / av.time_base

    def refuse_over(self, limit: float) -> None:
        """Raise ``BadAudio`` when the header declares more than ``limit`` seconds and the file is big enough to mean
        it.
        """
        if self.declared and self.declared > limit and self._size * 8 > self.declared * _LEAST_BITRATE:
            raise BadAudio("too_long_declared", f"{self._name} declares {self.declared / 3600:.1f} hours.")

    def blocks(self) -> Iterator[tuple[int, Audio]]:
        """Sample rate and samples (channels without LFE, n) of each decoded frame, in order.

        Rate and channel count may change between frames. Damaged packets are skipped and counted.
        """
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.errors += 1
                continue
            for frame in frames:
                if frame.samples and frame.sample_rate:
                    yield frame.sample_rate, _samples(frame)

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while self.errors < _MAX_ERRORS:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                # After an error the demuxer's generator is spent; what was decoded so far is kept.
                self.errors += 1
                return

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()


def _samples(frame: AudioFrame) -> Audio:
    """Frame as float32 (channels, samples), integers scaled to full scale 1.0, low-frequency effects left out."""
    raw: npt.NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        raw = raw.reshape(-1, channels).T
    if raw.dtype.kind == "u":
        samples = (raw.astype(np.float32) - 128.0) / 128.0
    elif raw.dtype.kind == "i":
        samples = raw.astype(np.float32) / float(-np.iinfo(raw.dtype).min)
    else:
        samples = raw.astype(np.float32, copy=False)
    if channels > 2:
        keep = [i for i, channel in enumerate(frame.layout.channels) if channel.name not in ("LFE", "LFE2")]
        samples = samples[keep] if keep else samples
    return samples
