"""The configuration: one frozen dataclass per section of ``config.json``.

``load_config`` reads a preset, checks every name and type, and applies overrides written ``section.option``. Values
live in the JSON file, their meaning and unit in the docstrings here. Times are seconds and levels dB unless said
otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from Emilia.errors import BadConfig

__all__ = [
    "Config",
    "DiarizeOptions",
    "ExportOptions",
    "PipelineOptions",
    "PocketsphinxOptions",
    "ScoreOptions",
    "SegmentOptions",
    "SeparateOptions",
    "StandardizeOptions",
    "TranscribeOptions",
    "VadOptions",
    "load_config",
]

DEFAULT = Path(__file__).with_name("config.json")


@dataclass(frozen=True)
class PipelineOptions:
    """``order`` of the stages; ``compat`` reproduces the published pipeline's segmentation and score windows."""

    compat: bool
    order: tuple[str, ...]


@dataclass(frozen=True)
class StandardizeOptions:
    """Decoding and level.

    ``rate`` and ``narrow_rate`` (Hz) of the two waveforms; ``loudness`` target in LUFS with at most ``max_gain`` dB of
    amplification; ``ceiling`` dBFS that all but ``1 - peak_share`` of the 10 ms blocks stay below, the rest is limited
    softly; shorter than ``min_seconds`` is the outcome ``too_short``; more than ``max_hours`` is refused.
    """

    engine: str
    rate: int
    narrow_rate: int
    loudness: float
    max_gain: float
    ceiling: float
    peak_share: float
    min_seconds: float
    max_hours: float


@dataclass(frozen=True)
class SeparateOptions:
    """``engine`` ``none`` keeps the mix."""

    engine: str


@dataclass(frozen=True)
class VadOptions:
    """Voice activity: speech begins at probability ``threshold`` and ends below ``release`` for ``min_silence``;
    shorter than ``min_speech`` is dropped; ``pad`` is added on both sides.
    """

    engine: str
    threshold: float
    release: float
    min_speech: float
    min_silence: float
    pad: float


@dataclass(frozen=True)
class DiarizeOptions:
    """Speaker turns by clustering.

    Speech is taken in blocks of ``block`` seconds, cut into chunks of ``chunk`` seconds, grouped into
    ``start_clusters`` voices at most. Two voices are one person up to the squared distance ``distance`` plus
    ``distance_short`` over the seconds of the shorter one, twice that for a voice with less than ``min_speaker``
    seconds. A change of speaker costs ``switch`` (nats) and lasts ``min_turn`` at least; pauses of one speaker up to
    ``bridge`` stay inside the turn.
    """

    engine: str
    block: float
    chunk: float
    start_clusters: int
    distance: float
    distance_short: float
    switch: float
    min_turn: float
    min_speaker: float
    bridge: float


@dataclass(frozen=True)
class SegmentOptions:
    """Cutting and merging: rows over ``split_over`` are split at their longest silences; pieces under ``min_seconds``
    are merged with a neighbour of the same speaker within ``merge_gap``; nothing is longer than ``max_seconds``;
    ``pad`` is added where the neighbours leave room.
    """

    split_over: float
    min_seconds: float
    max_seconds: float
    merge_gap: float
    pad: float


@dataclass(frozen=True)
class TranscribeOptions:
    """Recognition and its checks.

    ``whisper_model`` is a CTranslate2 model folder (relative: inside ``Emilia/models``); ``beam`` and ``batch`` are
    its search width and clips a call. ``languages`` limits the result (empty: all); a detected language replaces the
    expected one at ``language_certain``. A text is doubted over ``max_compression``, under ``min_logprob``, or over
    ``max_no_speech``; under ``min_characters`` it is flagged; seconds per character further than ``rate_iqr``
    interquartile ranges outside the quartiles are odd once there are ``rate_segments`` segments.
    """

    engine: str
    whisper_model: str
    beam: int
    batch: int
    languages: tuple[str, ...]
    language_certain: float
    max_compression: float
    min_logprob: float
    max_no_speech: float
    min_characters: int
    rate_segments: int
    rate_iqr: float


@dataclass(frozen=True)
class PocketsphinxOptions:
    """Search limits of the small recogniser, named as its own options are."""

    maxhmmpf: int
    beam: float
    wbeam: float
    bestpath: bool
    fwdflat: bool


@dataclass(frozen=True)
class ScoreOptions:
    """DNSMOS: ``model`` file (relative: inside ``Emilia/models``, else the one of the speechmos package), ``hop``
    between windows, ``batch`` windows a call, ``min_mos`` below which a segment is flagged.
    """

    engine: str
    model: str
    hop: float
    batch: int
    min_mos: float


@dataclass(frozen=True)
class ExportOptions:
    """``engine`` ``mp3`` (at ``bitrate`` bit/s) or ``flac``."""

    engine: str
    bitrate: int


@dataclass(frozen=True)
class Config:
    """Everything that decides what comes out, by section; ``preset`` is only a name."""

    preset: str
    pipeline: PipelineOptions
    standardize: StandardizeOptions
    separate: SeparateOptions
    vad: VadOptions
    diarize: DiarizeOptions
    segment: SegmentOptions
    transcribe: TranscribeOptions
    pocketsphinx: PocketsphinxOptions
    score: ScoreOptions
    export: ExportOptions

    def hash(self) -> str:
        """Twelve hex digits over all options; equal for equal output, whatever the preset is called."""
        values = asdict(self)
        del values["preset"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_config(path: Path | None, preset: str = "lite", overrides: Mapping[str, object] | None = None) -> Config:
    """Read ``preset`` from ``path`` (None: the packaged file) and apply ``{"section.option": value}``; raises
    ``BadConfig``.
    """
    file = path or DEFAULT
    try:
        presets = json.loads(file.read_text())["presets"]
        sections = {name: dict(values) for name, values in presets[preset].items()}
    except OSError as error:
        raise BadConfig(f"The configuration {file} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"The configuration {file} has no usable preset {preset!r}.") from error
    for name, value in (overrides or {}).items():
        section, _, option = name.partition(".")
        if section not in sections or option not in sections[section]:
            raise BadConfig(f"There is no option called {name!r} in the preset {preset!r}.")
        sections[section][option] = value
    return _config(preset, sections)


def _config(preset: str, sections: Mapping[str, Mapping[str, Any]]) -> Config:
    kinds = get_type_hints(Config)
    del kinds["preset"]
    if odd := set(sections) ^ set(kinds):
        raise BadConfig(f"Sections missing or unknown in the preset {preset!r}: {', '.join(sorted(odd))}.")
    return Config(preset=preset, **{name: _section(name, kinds[name], sections[name]) for name in kinds})


def _section(name: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    if odd := {field.name for field in fields(kind)} ^ set(values):
        raise BadConfig(f"Options missing or unknown in {name!r}: {', '.join(sorted(odd))}.")
    return kind(**{key: _value(f"{name}.{key}", hints[key], values[key]) for key in hints})


def _value(name: str, hint: Any, value: object) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    # bool is an int to Python, but `true` is never a number of speakers.
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise BadConfig(f"The option {name!r} cannot be {value!r}.")
