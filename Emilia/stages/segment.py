"""Segment: turns to pieces of 3 to 30 seconds, by silence, neighbours and energy; what does not fit is flagged.

Under ``compat`` the rows are the published rule's, except that what it drops as too short is kept with the flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from Emilia.config import Config
from Emilia.merging import Quietest, padded, pieces, pieces_published
from Emilia.recording import Recording, Segment, Span, Turn, Waveform
from Emilia.spans import clip, union
from Emilia.stage import Progress, find

__all__ = ["ENGINES", "Segmentation", "VoiceDetector", "quietest_in"]

ENGINES = {"silero": "Emilia.models.silero:SileroVad"}

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

    Flags ``too_short``, ``too_long`` and ``overlap``; ``extra`` gets ``separated``, the share (0..1) of the segment in
    which the voice was separated from other sound, where that was tried.
    """

    name = "segment"
    needs: tuple[str, ...] = ("narrow", "turns", "duration")
    adds: tuple[str, ...] = ("voiced", "segments")

    def __init__(self, config: Config) -> None:
        self.options = config.segment
        self.compat = config.pipeline.compat
        self.engine = config.vad.engine
        self._pause = config.vad.min_silence
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
            # A pause is what the voice detector calls one, so that a cut looks for nothing shorter, such as a stop
            # consonant inside a word.
            rows = pieces(turns, recording.voiced, quietest_in(wave, self._pause), options)
            rows = padded(rows, recording.duration, options)
        recording.segments = [self._segment(recording.episode, index, row) for index, row in enumerate(rows)]
        if recording.facts.get("overlap") == "marked":
            _mark_overlap(rows, recording.segments, turns)
        if recording.separated is not None:
            separated = union(recording.separated)
            for segment in recording.segments:
                segment.extra["separated"] = _share(separated, segment.start, segment.end)
        progress(1.0)

    def _segment(self, episode: str, index: int, row: Turn) -> Segment:
        segment = Segment(row.start, row.end, f"{episode}/{row.speaker}", index, f"{episode}_{index:06d}")
        length = row.end - row.start
        if length < self.options.min_seconds - _SLACK:
            segment.flag("too_short")
        if length > self.options.max_seconds + _SLACK:
            segment.flag("too_long")
        return segment

    def close(self) -> None:
        """Free the model."""
        self._detector.close()


def _mark_overlap(rows: Sequence[Turn], segments: Sequence[Segment], turns: Sequence[Turn]) -> None:
    others = {
        speaker: union(Span(turn.start, turn.end) for turn in turns if turn.speaker != speaker)
        for speaker in {row.speaker for row in rows}
    }
    for row, segment in zip(rows, segments, strict=True):
        segment.overlap = _share(others[row.speaker], row.start, row.end)
        if segment.overlap > 0:
            segment.flag("overlap")


def _share(spans: Sequence[Span], start: float, end: float) -> float:
    return min(1.0, sum(span.length for span in clip(spans, start, end)) / (end - start))


def quietest_in(wave: Waveform, pause: float) -> Quietest:
    """The function that gives the middle of the quietest ``pause`` seconds of ``wave`` between two times."""

    def quietest(start: float, end: float) -> float:
        samples = wave.seconds_of(start, end).astype(np.float64)
        frame = round(pause * wave.rate)
        if len(samples) <= frame:
            return (start + end) / 2
        total = np.cumsum(np.square(samples))
        energy = total[frame:] - total[:-frame]
        return start + (int(energy.argmin()) + 1 + frame / 2) / wave.rate

    return quietest
