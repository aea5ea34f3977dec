"""What the stages hand to each other: the recording, its waveforms on disk, and the segments found in it.

All times are seconds in the source as floats that are whole milliseconds; all samples are mono float32 with full scale
at 1.0. Audio is never held whole: a :class:`Waveform` is a scratch file of raw float32, read range by range, so that a
twelve-hour episode needs no more memory than a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Asr", "Audio", "Event", "Recording", "Segment", "Span", "Turn", "Waveform", "WaveformWriter", "Word", "ms"]

Audio = npt.NDArray[np.float32]

_BYTES = 4


def ms(seconds: float) -> float:
    """Seconds rounded to the millisecond, the resolution of every stored time."""
    return round(seconds, 3)


class Span(NamedTuple):
    """A stretch of time, ``start`` and ``end`` in seconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Length in seconds."""
        return self.end - self.start


class Turn(NamedTuple):
    """One speaker talking from ``start`` to ``end`` (seconds); ``speaker`` is unique within the episode (``S00``)."""

    start: float
    end: float
    speaker: str


class Word(NamedTuple):
    """A word with its ``start`` and ``end`` (seconds in the source) and ``probability`` (0..1)."""

    start: float
    end: float
    text: str
    probability: float


class Event(NamedTuple):
    """A sound that is no speech, from ``start`` to ``end`` (seconds).

    ``event`` is our word (``laughter``, ``applause``, …), ``label`` the network's own name of the class that was heard
    best, ``score`` its highest probability (0..1).
    """

    event: str
    label: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Waveform:
    """Mono samples in a scratch file: ``frames`` raw little-endian float32 at ``rate`` Hz.

    ``read`` returns what the stages should hear: the stored samples minus ``bias``, times ``gain``, with a soft limit
    above ``ceiling`` (tanh knee that never exceeds 1.0). Keeping the level as two numbers saves a second copy of the
    file.
    """

    path: Path
    rate: int
    frames: int
    bias: float = 0.0
    gain: float = 1.0
    ceiling: float = 1.0

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate

    def read(self, start: int, stop: int) -> Audio:
        """Samples ``start`` to ``stop``; a range that reaches outside the recording is cut to it."""
        start, stop = max(0, start), min(self.frames, stop)
        if stop <= start:
            return np.zeros(0, np.float32)
        raw = np.fromfile(self.path, "<f4", stop - start, offset=start * _BYTES)
        samples = (raw.astype(np.float64) - self.bias) * self.gain
        return _limited(samples, self.ceiling).astype(np.float32)

    def seconds_of(self, start: float, end: float) -> Audio:
        """Samples from ``start`` to ``end`` seconds, both rounded to the nearest sample."""
        return self.read(round(start * self.rate), round(end * self.rate))


def _limited(samples: npt.NDArray[np.float64], ceiling: float) -> npt.NDArray[np.float64]:
    room = 1.0 - ceiling
    if room <= 0.0:
        return np.clip(samples, -1.0, 1.0)
    over = np.abs(samples) - ceiling
    if not (over > 0).any():
        return samples
    # Stateless on purpose: a limiter with memory would make a range depend on where reading began.
    bent = np.sign(samples) * (ceiling + room * np.tanh(np.maximum(over, 0.0) / room))
    return np.where(over > 0, bent, samples)


class WaveformWriter:
    """Appends mono float32 blocks to a scratch file; ``done`` gives the :class:`Waveform`. A context manager."""

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.rate = rate
        self.frames = 0
        self._file: BinaryIO = path.open("wb")

    def write(self, samples: Audio) -> None:
        """Append samples (any length, also none)."""
        self._file.write(np.ascontiguousarray(samples, "<f4").tobytes())
        self.frames += len(samples)

    def done(self, *, bias: float = 0.0, gain: float = 1.0, ceiling: float = 1.0) -> Waveform:
        """Close the file and return it for reading."""
        self._file.close()
        return Waveform(self.path, self.rate, self.frames, bias, gain, ceiling)

    def __enter__(self) -> WaveformWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


@dataclass
class Asr:
    """What the recogniser knew about its own answer; ``None`` where the engine cannot know.

    ``avg_logprob`` is the mean log probability of a token, ``no_speech_prob`` and ``language_probability`` are in 0..1,
    ``compression_ratio`` is bytes of text over bytes of its zlib compression.
    """

    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    language_probability: float | None = None


@dataclass
class Segment:
    """One piece of one speaker's speech, the unit that is published.

    ``flags`` holds, sorted, every reason for which a strict filter would drop it; nothing is ever deleted.
    ``overlap`` is the share (0..1) in which someone else speaks too, ``None`` when the diarizer cannot tell.
    ``extra`` carries what only some engines know, such as ``snr_estimate`` in dB; ``words`` are the times of the words,
    stored beside the segments.
    """

    start: float
    end: float
    speaker: str
    index: int = 0
    segment_id: str = ""
    text: str = ""
    language: str = "unknown"
    dnsmos: float | None = None
    dnsmos_sig: float | None = None
    dnsmos_bak: float | None = None
    overlap: float | None = None
    asr: Asr = field(default_factory=Asr)
    flags: list[str] = field(default_factory=list)
    audio: str = ""
    sha256: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)

    def flag(self, reason: str) -> None:
        """Add a reason once, keeping the list sorted so that stored bytes do not depend on the order of the stages."""
        if reason not in self.flags:
            self.flags = sorted([*self.flags, reason])

    def to_json(self) -> dict[str, object]:
        """The stored form: fixed key order, times in whole milliseconds, scores with four decimals."""
        return {
            "segment_id": self.segment_id,
            "index": self.index,
            "text": self.text,
            "start": ms(self.start),
            "end": ms(self.end),
            "speaker": self.speaker,
            "language": self.language,
            "dnsmos": _short(self.dnsmos),
            "dnsmos_sig": _short(self.dnsmos_sig),
            "dnsmos_bak": _short(self.dnsmos_bak),
            "overlap": _short(self.overlap),
            "asr": {name: _short(value) for name, value in vars(self.asr).items()},
            "flags": list(self.flags),
            "audio": self.audio,
            "sha256": self.sha256,
            "extra": {name: _short(self.extra[name]) for name in sorted(self.extra)},
        }


def _short(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


@dataclass
class Recording:
    """One episode on its way through the stages.

    A stage reads the fields in its ``needs`` and fills those in its ``adds``. ``wave`` is the audio that is
    published, ``narrow`` the same at 16 kHz for the models; ``voiced`` is where anybody speaks, ``turns`` who speaks
    when; ``separated`` is where the voice was separated from other sound (None: nowhere was it tried) and ``voices``
    an embedding of each speaker, by the name in ``turns``; ``events`` is what else was heard (None: nobody listened).
    A stage that finds nothing left to do sets ``outcome`` to
    something other than ``ok`` and the later stages are not run.
    """

    source: Path
    episode: str
    out: Path
    scratch: Path
    language: str | None = None
    outcome: str = "ok"
    duration: float = 0.0
    wave: Waveform | None = None
    narrow: Waveform | None = None
    separated: list[Span] | None = None
    voiced: list[Span] | None = None
    turns: list[Turn] | None = None
    voices: dict[str, list[float]] = field(default_factory=dict)
    events: list[Event] | None = None
    segments: list[Segment] | None = None
    files: list[Path] | None = None
    facts: dict[str, object] = field(default_factory=dict)

    def full_rate(self) -> Waveform:
        """``wave``, which the standardise stage must have filled."""
        if self.wave is None:
            raise RuntimeError("the standardize stage has not run on this recording")
        return self.wave

    def narrow_rate(self) -> Waveform:
        """``narrow``, which the standardise stage must have filled."""
        if self.narrow is None:
            raise RuntimeError("the standardize stage has not run on this recording")
        return self.narrow

    def pieces(self) -> list[Segment]:
        """``segments``, which the segment stage must have filled."""
        if self.segments is None:
            raise RuntimeError("the segment stage has not run on this recording")
        return self.segments
