"""The JSON files of an episode: segments, the unflagged part of them, and what is kept beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from Emilia.recording import Event, Segment, ms

__all__ = ["ALL", "EVENTS", "FILTERED", "NAMES", "SPEAKERS", "WORDS", "write"]

ALL = "all_segments.json"
FILTERED = "filtered_segments.json"
SPEAKERS = "speakers.json"
"""An embedding of each speaker by its name in the segments; written when the diarizer gives any."""
WORDS = "words.json"
"""``[start, end, text, probability]`` of each word by segment; written when the recogniser gives any."""
EVENTS = "events.json"
"""``{event, label, start, end, score}`` of each sound that is no speech, in time order; written when somebody listened,
be it an empty list: no file means that nobody did."""

NAMES = (ALL, FILTERED, SPEAKERS, WORDS, EVENTS)


def write(
    folder: Path,
    segments: Sequence[Segment],
    voices: Mapping[str, Sequence[float]],
    events: Sequence[Event] | None = None,
) -> None:
    """Write the files into ``folder``."""
    rows = [segment.to_json() for segment in segments]
    _write(folder / ALL, rows)
    _write(folder / FILTERED, [row for row, segment in zip(rows, segments, strict=True) if not segment.flags])
    if voices and segments:
        episode = segments[0].speaker.rpartition("/")[0]
        _write(folder / SPEAKERS, {f"{episode}/{name}": list(voices[name]) for name in sorted(voices)})
    if any(segment.words for segment in segments):
        _write(folder / WORDS, {segment.segment_id: _words(segment) for segment in segments})
    if events is not None:
        _write(folder / EVENTS, [event._asdict() for event in events])


def _words(segment: Segment) -> list[list[object]]:
    return [[ms(word.start), ms(word.end), word.text, round(word.probability, 4)] for word in segment.words]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
