"""One episode as one record, written down once: the JSON line, the parquet row and what each field means."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from duplexforge.converting.episode import Episode, Sound, Speech, video_id, web_address
from duplexforge.converting.timeline import Timeline, spoken

__all__ = ["ENTRY", "RECORD", "Field", "parquet_schema", "record", "to_line"]


class Field(NamedTuple):
    """A field of a record or of a timeline entry; ``kind`` is string, float64, strings (a list) or timeline."""

    name: str
    kind: str
    meaning: str


ENTRY = (
    Field("type", "string", "`speech`, or `event` for a sound that is no speech"),
    Field("start", "float64", "start in the recording, seconds"),
    Field("end", "float64", "end in the recording, seconds"),
    Field("speaker", "string", "who talks, unique across recordings; null for an event"),
    Field("text", "string", "what is said; null for an event"),
    Field("language", "string", "language of the speech, primary subtag; null for an event"),
    Field("event", "string", "laughter, applause, music, …; null for speech"),
    Field("label", "string", "the audio model's own name of the event; null for speech"),
    Field("score", "float64", "probability of the event, 0 to 1; null for speech"),
    Field("segments", "strings", "ids of the segments that the speech is made of; empty for an event"),
    Field("flags", "strings", "every reason for which a strict filter would drop part of it, and `over_max_duration`"),
)

RECORD = (
    Field("video_id", "string", "YouTube's id of the recording, else the episode's"),
    Field("episode_id", "string", "id of the recording in the store and in the data set"),
    Field("title", "string", "title of the recording"),
    Field("url", "string", "where it came from; null for a local file"),
    Field("source", "string", "channel or feed"),
    Field("licence", "string", "licence stated by the source"),
    Field("language", "string", "language of the recording, primary subtag"),
    Field("duration", "float64", "length of the recording, seconds; null where the source does not say"),
    Field("speech", "float64", "seconds of the recording in which an entry of the timeline is spoken"),
    Field("speakers", "strings", "who talks in the timeline"),
    Field("events", "string", "the engine that listened for events; null: nobody did, so their absence says nothing"),
    Field("audio", "string", "the recording's audio, relative to this file; null when not asked for"),
    Field("timeline", "timeline", "speech and events in order of time"),
)


def record(episode: Episode, timeline: Timeline, audio: str | None = None) -> dict[str, Any]:
    """The record of an episode: every field of :data:`RECORD`, always all of them and in that order."""
    entries = [_entry(one) for one in timeline.speech] + [_entry(one) for one in timeline.sounds]
    entries.sort(key=lambda entry: (entry["start"], entry["end"], entry["type"], entry["speaker"] or entry["event"]))
    known = {
        "video_id": video_id(episode.episode_id),
        "url": web_address(episode.url),
        "duration": None if episode.duration is None else round(episode.duration, 3),
        "speech": spoken(timeline.speech),
        "speakers": sorted({one.speaker for one in timeline.speech}),
        "events": episode.listener,
        "audio": audio,
        "timeline": entries,
    }
    return {field.name: known.get(field.name, getattr(episode, field.name, None)) for field in RECORD}


def _entry(one: Speech | Sound) -> dict[str, Any]:
    """An entry with all of its keys, so that readers that infer types from the first lines infer the same."""
    known: dict[str, Any] = {"type": "event" if isinstance(one, Sound) else "speech", "segments": (), "flags": ()}
    known |= vars(one)
    known |= {name: round(known[name], 3) for name in ("start", "end")}
    known |= {name: list(known[name]) for name in ("segments", "flags")}
    return {field.name: known.get(field.name) for field in ENTRY}


def to_line(row: dict[str, Any]) -> bytes:
    """A record as a JSON line."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def parquet_schema() -> Any:
    """The fixed types of the records: inferred from the first ones they would differ from file to file."""
    import pyarrow as pa

    kinds: dict[str, Any] = {"string": pa.string(), "float64": pa.float64(), "strings": pa.list_(pa.string())}
    kinds["timeline"] = pa.list_(pa.struct([(field.name, kinds[field.kind]) for field in ENTRY]))
    return pa.schema([(field.name, kinds[field.kind]) for field in RECORD])
