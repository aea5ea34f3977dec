"""What a preempted episode keeps: turns, segments and texts found so far, so that the next attempt goes on from there.

Audio is not kept: decoding and separating again costs less than storing and fetching gigabytes of samples. A checkpoint
is only used by the same configuration with the same models, so the result is the same bytes as without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from Emilia.recording import Asr, Event, Recording, Segment, Span, Turn, Word

__all__ = ["Checkpoints", "capture", "restore"]

VERSION = 1


class Checkpoints(Protocol):
    """Where the caller keeps the one checkpoint of an episode.

    ``every`` is the seconds of work after which another one is worth its writing.
    """

    every: float

    def load(self) -> bytes | None:
        """The last one saved, or None."""

    def save(self, content: bytes) -> None:
        """Replace it."""


def capture(recording: Recording, after: str, identity: Mapping[str, object]) -> bytes:
    """The findings of ``recording`` once the stage ``after`` is done; ``identity`` is what the findings depend on."""
    content = {
        "version": VERSION,
        "identity": identity,
        "after": after,
        "outcome": recording.outcome,
        "voiced": recording.voiced,
        "turns": recording.turns,
        "voices": recording.voices,
        "events": recording.events,
        "segments": None if recording.segments is None else [asdict(segment) for segment in recording.segments],
        "facts": recording.facts,
    }
    return json.dumps(content, ensure_ascii=False).encode()


def restore(recording: Recording, content: bytes | None, identity: Mapping[str, object]) -> str | None:
    """Fill ``recording`` from a checkpoint and return the name of the last stage done; None when it is of no use."""
    try:
        found = json.loads(content or b"")
        if found["version"] != VERSION or found["identity"] != json.loads(json.dumps(identity)):
            return None
        segments = found["segments"] and [_segment(row) for row in found["segments"]]
        voiced = found["voiced"] and [Span(*span) for span in found["voiced"]]
        turns = found["turns"] and [Turn(*turn) for turn in found["turns"]]
        heard = found.get("events")
        events = None if heard is None else [Event(*event) for event in heard]
        after, outcome, facts, voices = (found[name] for name in ("after", "outcome", "facts", "voices"))
    except (ValueError, KeyError, TypeError):
        # Written by another version or cut short: doing the work again is always right.
        return None
    recording.segments, recording.voiced, recording.turns = segments, voiced, turns
    recording.outcome, recording.facts, recording.voices, recording.events = outcome, facts, voices, events
    return str(after)


def _segment(row: Mapping[str, Any]) -> Segment:
    return Segment(**{**row, "asr": Asr(**row["asr"]), "words": [Word(*word) for word in row["words"]]})
