"""What a published sample holds, written down once.

:data:`FIELDS` gives the JSON beside the audio, the columns of the parquet file, the features in the card and the table
of meanings in its text, all in this order. The types are stated and never inferred: a shard whose first samples have no
flags and no scores would otherwise be read as another type than the next one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from duplexforge.records import Manifest

ASR_NUMBERS = ("avg_logprob", "no_speech_prob", "compression_ratio", "language_probability")


class SampleField(NamedTuple):
    """One field of a sample; ``kind`` is string, int64, float64, strings (a list), pairs (name and value) or asr."""

    name: str
    kind: str
    meaning: str


FIELDS = (
    SampleField("segment_id", "string", "unique id: the episode and a running number"),
    SampleField("episode_id", "string", "id of the recording"),
    SampleField("index", "int64", "place among the segments of the episode, in time order"),
    SampleField("text", "string", "what was recognised"),
    SampleField("language", "string", "language of the segment, primary subtag"),
    SampleField("speaker", "string", "speaker, unique across episodes"),
    SampleField("start", "float64", "start in the source recording, seconds"),
    SampleField("end", "float64", "end in the source recording, seconds"),
    SampleField("duration", "float64", "end minus start, seconds"),
    SampleField("dnsmos", "float64", "overall quality estimate (DNSMOS P.835), 1 to 5; null when not measured"),
    SampleField("dnsmos_sig", "float64", "quality of the speech alone"),
    SampleField("dnsmos_bak", "float64", "quality of the background"),
    SampleField("overlap", "float64", "share in which somebody else speaks too, 0 to 1; null when unknown"),
    SampleField("asr", "asr", "the recogniser's own doubts: " + ", ".join(ASR_NUMBERS)),
    SampleField("flags", "strings", "every reason for which a strict filter would drop the segment; empty: none"),
    SampleField("extra", "pairs", "further measurements that only some engines make"),
    SampleField("audio", "string", "file name of the audio in the pipeline's output"),
    SampleField("sha256", "string", "checksum of the audio bytes"),
    SampleField("title", "string", "title of the recording"),
    SampleField("url", "string", "where it came from; null for a local file"),
    SampleField("source", "string", "channel or feed"),
    SampleField("licence", "string", "licence stated by the source"),
)

_SIMPLE = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "strings": pa.list_(pa.string())}
_PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))


class Asr(BaseModel):
    """The recogniser's own numbers about one segment."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    language_probability: float | None = None


class Segment(BaseModel):
    """One object of ``all_segments.json``; fields it does not know are left aside."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    segment_id: str
    index: int
    text: str
    start: float
    end: float
    speaker: str
    language: str
    dnsmos: float | None = None
    dnsmos_sig: float | None = None
    dnsmos_bak: float | None = None
    overlap: float | None = None
    asr: Asr | None = None
    flags: list[str] = Field(default_factory=list)
    extra: dict[str, float | None] | None = None
    audio: str
    sha256: str


def sample(segment: Segment, manifest: Manifest) -> dict[str, Any]:
    """The JSON of a sample: every field of :data:`FIELDS`, always all of them and always in that order."""
    known = segment.model_dump()
    known["asr"] = (segment.asr or Asr()).model_dump()
    known["extra"] = [{"name": name, "value": value} for name, value in sorted((segment.extra or {}).items())]
    known |= {name: getattr(manifest, name) for name in ("episode_id", "title", "url", "source", "licence")}
    if not (known["url"] or "").startswith(("http://", "https://")):
        known["url"] = None  # the path of a file on somebody's machine is nobody else's business
    # Times are whole milliseconds; the difference of two of them is not, in binary.
    known["duration"] = round(segment.end - segment.start, 3)
    return {field.name: known[field.name] for field in FIELDS}


def row(entry: dict[str, Any], key: str, shard: str) -> dict[str, Any]:
    """The parquet row of a sample: its JSON with the recogniser's numbers as columns, its key and its shard."""
    flat = {name: value for name, value in entry.items() if name != "asr"}
    return {"key": key, "shard": shard, **flat, **entry["asr"]}


def parquet_schema() -> Any:
    """The fixed schema of the parquet metadata."""
    columns = [("key", pa.string()), ("shard", pa.string())]
    for field in FIELDS:
        if field.kind == "asr":
            columns += [(name, pa.float64()) for name in ASR_NUMBERS]
        else:
            columns.append((field.name, _PAIRS if field.kind == "pairs" else _SIMPLE[field.kind]))
    return pa.schema(columns)


def features(audio: list[str]) -> list[dict[str, Any]]:
    """The ``dataset_info`` features of a config, as the card spells them; ``audio`` are the extensions it holds."""
    columns: list[dict[str, Any]] = [{"name": extension, "dtype": "audio"} for extension in audio]
    columns.append({"name": "json", "struct": [_feature(field) for field in FIELDS]})
    return columns + [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]


def _feature(field: SampleField) -> dict[str, Any]:
    if field.kind == "strings":
        return {"name": field.name, "list": "string"}
    if field.kind == "pairs":
        pair = (("name", "string"), ("value", "float64"))
        return {"name": field.name, "list": [{"name": name, "dtype": dtype} for name, dtype in pair]}
    if field.kind == "asr":
        return {"name": field.name, "struct": [{"name": name, "dtype": "float64"} for name in ASR_NUMBERS]}
    return {"name": field.name, "dtype": field.kind}
