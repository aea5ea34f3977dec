"""What a downloaded file is, told by its content, and how a video or an odd container becomes audio.

PyAV carries FFmpeg's libraries, so no ffmpeg program is needed and every step can be interrupted. Files come from
strangers: only the formats listed here are opened, never a playlist or a script that would make FFmpeg open further
files or addresses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge.errors import InputError

# FFmpeg's names of containers -> the extension under which their audio is kept; None: the audio is taken out of it.
_FORMATS: dict[str, str | None] = {
    "mp3": "mp3",
    "mov,mp4,m4a,3gp,3g2,mj2": "m4a",
    "wav": "wav",
    "flac": "flac",
    "aac": "aac",
    "ogg": "ogg",
    "asf": "wma",
    "matroska,webm": "webm",
    **dict.fromkeys(("aiff", "amr", "avi", "caf", "flv", "mpeg", "mpegts", "rf64", "w64")),
}
_WHITELIST = ",".join(_FORMATS)

# Media types of servers -> extension; what is not here is told by the content.
_TYPES = {
    "mpeg": "mp3", "mp3": "mp3", "x-mp3": "mp3", "mp4": "m4a", "m4a": "m4a", "x-m4a": "m4a", "wav": "wav",
    "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "flac": "flac", "x-flac": "flac", "aac": "aac", "aacp": "aac",
    "x-aac": "aac",
    "ogg": "ogg", "opus": "opus", "x-ms-wma": "wma", "webm": "webm",
}  # fmt: skip

# Codecs that an .m4a holds as they are; others are encoded anew.
_COPIED = ("aac", "alac")
_BIT_RATE = 128_000
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_BEAT_EVERY = 200


@dataclass(frozen=True)
class Probe:
    """What a file is: the extension that fits it as audio (None: it must be taken out), seconds, whether it has any."""

    extension: str | None
    seconds: float | None
    has_audio: bool


def type_extension(content_type: str) -> str | None:
    """The audio extension that a Content-Type names, or None."""
    kind, _, name = content_type.split(";", 1)[0].strip().lower().partition("/")
    return _TYPES.get(name) if kind == "audio" else None


def probe(path: Path) -> Probe | None:
    """What the file is, by its headers; None when it cannot be opened. Never an exception of the decoder."""
    if path.stat().st_size == 0:
        return None
    try:
        with _opened(path) as container:
            pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
            return Probe(
                extension=None if pictures else _FORMATS.get(container.format.name),
                seconds=_seconds(container),
                has_audio=bool(container.streams.audio),
            )
    except _decoder_errors():
        return None


def extract(path: Path, target: Path, beat: Callable[[], None]) -> None:
    """Write the first audio stream of ``path`` to the .m4a ``target``: copied where the codec allows, else as AAC.

    Calls ``beat`` every few seconds of audio. InputError(``corrupt``) when it cannot be read to its end.
    """
    import av

    try:
        with _opened(path) as source, av.open(str(target), "w", format="ipod") as out:
            stream = source.streams.audio[0]
            packets = (
                _copied(source, stream, out) if stream.codec_context.name in _COPIED else _encoded(source, stream, out)
            )
            for number, packet in enumerate(packets):
                out.mux(packet)
                if number % _BEAT_EVERY == 0:
                    beat()
    except _decoder_errors() as error:
        raise InputError(f"its audio cannot be taken out: {error}"[:300], reason="corrupt") from error


def _copied(source: Any, stream: Any, out: Any) -> Iterator[Any]:
    target = out.add_stream_from_template(stream)
    for packet in source.demux(stream):
        if packet.dts is not None:  # the last packet is empty: it asks a decoder for what it still holds
            packet.stream = target
            yield packet


def _encoded(source: Any, stream: Any, out: Any) -> Iterator[Any]:
    import av

    # AAC knows rates up to 96 kHz and no odd ones; speech loses nothing at 48.
    rate = stream.codec_context.sample_rate
    target = out.add_stream("aac", rate=rate if rate in _AAC_RATES else 48_000, bit_rate=_BIT_RATE)
    target.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=target.layout, rate=target.rate)
    for frame in source.decode(stream):
        frame.pts = None
        for piece in resampler.resample(frame):
            yield from target.encode(piece)
    for piece in resampler.resample(None):
        yield from target.encode(piece)
    yield from target.encode(None)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    # The whitelist is what keeps a script of FFmpeg's (concat, HLS) from opening the files that it names.
    with path.open("rb") as file, av.open(file, options={"format_whitelist": _WHITELIST}) as container:
        yield container


def _decoder_errors() -> tuple[type[Exception], ...]:
    import av

    return (av.error.FFmpegError, ValueError, EOFError, IndexError, OverflowError, NotImplementedError)


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the picture on the cover (MP3 and M4A carry it as a stream)."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _seconds(container: Any) -> float | None:
    candidates = [container.duration / 1e6] if container.duration else []
    streams = [one for one in container.streams.audio if one.duration and one.time_base]
    candidates += [float(one.duration * one.time_base) for one in streams]
    return next((value for value in candidates if math.isfinite(value) and value > 0), None)
