"""Segment: turns to pieces of 3 to 30 seconds, by silence, neighbours and energy; what does not fit is flagged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from Emilia.config import Config
from Emilia.merging import padded, pieces, pieces_published
from Emilia.recording import Recording, Segment, Span, Turn, Waveform
from Emilia.spans import clip, union
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Segmentation", "VoiceDetector", "quietest_in"]

ENGINES = {"silero": "Emilia.models.silero:SileroVad"}

_FRAME = 0.05
# Rounding of both edges to the millisecond may add one to a piece of exactly the greatest length.
_SLACK = 0.0005


class VoiceDetector(Protocol):
    """A voice activity model: spans of speech in a 16 kHz waveform, in time order."""

    models: dict[str, str]

    def load(self, device: str) -> None: ...

    def speech(self, wave: Waveform, progress: Progress) -> list[Span]: ...

    def close(self) -> None: ...


class Segmentation:
    """Needs ``narrow`` and ``turns``; adds ``voiced`` (unless the diarizer already did) and ``segments``.

    Flags ``too_short``, ``too_long`` and ``overlap``.
    """

    name = "segment"
    needs: tuple[str, ...] = ("narrow", "turns", "duration")
    adds: tuple[str, ...] = ("voiced", "segments")

    def __init__(self, config: Config) -> None:
        self.options = config.segment
        self.compat = config.pipeline.compat
        self.engine = config.vad.engine
        self._detector: VoiceDetector = find(ENGINES, self.engine, "voice detector")(config.vad)

    @property
    def models(self) -> dict[str, str]:
        """Name and version of the voice activity model."""
        return self._detector.models

    def load(self, device: str) -> None:
        """Load the voice activity model."""
        self._detector.load(device)

    def run(self, recording: Recording, progress: Progress) -> None:
        """Fill ``recording.segments`` in time order, numbered and named."""
        wave = recording.narrow_rate()
        if recording.voiced is None:
            recording.voiced = self._detector.speech(wave, progress)
        turns, options = recording.turns or [], self.options
        if self.compat:
            rows = pieces_published(turns, recording.voiced, options)
        else:
            rows = pieces(turns, recording.voiced, quietest_in(wave), options)
            rows = padded(rows, recording.duration, options)
        marked = recording.facts.get("overlap") == "marked"
        recording.segments = [
            self._segment(recording.episode, index, row, turns if marked else None) for index, row in enumerate(rows)
        ]
        progress(1.0)

    def _segment(self, episode: str, index: int, row: Turn, turns: Sequence[Turn] | None) -> Segment:
        segment = Segment(row.start, row.end, f"{episode}/{row.speaker}", index, f"{episode}_{index:06d}")
        length = row.end - row.start
        if length < self.options.min_seconds - _SLACK:
            segment.flag("too_short")
        if length > self.options.max_seconds + _SLACK:
            segment.flag("too_long")
        if turns is not None:
            segment.overlap = _overlap(row, turns)
            if segment.overlap > 0:
                segment.flag("overlap")
        return segment

    def close(self) -> None:
        """Free the model."""
        self._detector.close()


def _overlap(row: Turn, turns: Sequence[Turn]) -> float:
    others = union(Span(t.start, t.end) for t in turns if t.speaker != row.speaker)
    return sum(span.length for span in clip(others, row.start, row.end)) / (row.end - row.start)


def quietest_in(wave: Waveform) -> _Quietest:
    """The function that finds the quietest moment of ``wave`` between two times."""
    return _Quietest(wave)


class _Quietest:
    def __init__(self, wave: Waveform) -> None:
        self._wave = wave

    def __call__(self, start: float, end: float) -> float:
        samples = self._wave.seconds_of(start, end).astype(np.float64)
        frame = round(_FRAME * self._wave.rate)
        if len(samples) <= frame:
            return (start + end) / 2
        energy = np.convolve(samples**2, np.ones(frame), "valid")
        return start + (int(energy.argmin()) + frame / 2) / self._wave.rate
