"""The configuration: presets of ``config.json`` as one frozen dataclass per section (:mod:`Emilia.options`).

``load_config`` reads a preset, checks every name and type, and applies overrides written ``section.option``. A preset
with ``from`` is another one with some options changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from Emilia.errors import BadConfig
from Emilia.options import (
    DiarizeOptions,
    EventsOptions,
    ExportOptions,
    MdxOptions,
    OnnxOptions,
    PipelineOptions,
    PocketsphinxOptions,
    PyannoteOptions,
    ScoreOptions,
    SegmentOptions,
    SeparateOptions,
    StandardizeOptions,
    TranscribeOptions,
    VadOptions,
)

__all__ = ["Config", "load_config"]

DEFAULT = Path(__file__).with_name("config.json")
_ITEMS: Mapping[Any, type] = {tuple[str, ...]: str, tuple[float, ...]: float}
# Where and how fast, never what: these options do not enter the hash.
_HOW = {
    "pipeline": ("episodes",),
    "events": ("device", "batch"),
    "separate": ("device",),
    "mdx": ("batch",),
    "onnx": ("memory_gb", "memory_share"),
    "pyannote": ("segmentation_batch", "embedding_batch"),
    "transcribe": ("batch",),
    "score": ("device", "batch"),
}


@dataclass(frozen=True)
class Config:
    """Everything that decides what comes out, by section; ``preset`` is only a name."""

    preset: str
    pipeline: PipelineOptions
    standardize: StandardizeOptions
    events: EventsOptions
    separate: SeparateOptions
    mdx: MdxOptions
    onnx: OnnxOptions
    vad: VadOptions
    diarize: DiarizeOptions
    pyannote: PyannoteOptions
    segment: SegmentOptions
    transcribe: TranscribeOptions
    pocketsphinx: PocketsphinxOptions
    score: ScoreOptions
    export: ExportOptions

    def hash(self) -> str:
        """Twelve hex digits over all options; equal for equal output, whatever the preset is called."""
        values = asdict(self)
        del values["preset"]
        for section, names in _HOW.items():
            for name in names:
                del values[section][name]
        if self.events.engine == "none":
            # As if the stage did not exist: deployments from before it keep their hash, and with it their prefix.
            del values["events"]
            values["pipeline"]["order"] = [name for name in self.pipeline.order if name != "events"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_config(path: Path | None, preset: str = "lite", overrides: Mapping[str, object] | None = None) -> Config:
    """Read ``preset`` from ``path`` (None: the packaged file) and apply ``{"section.option": value}``; raises
    ``BadConfig``.
    """
    file = path or DEFAULT
    try:
        sections = _sections(json.loads(file.read_text())["presets"], preset)
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


def _sections(presets: Mapping[str, Any], preset: str) -> dict[str, dict[str, Any]]:
    """The options of ``preset`` by section, those of the preset that it comes ``from`` underneath."""
    own = dict(presets[preset])
    parent = own.pop("from", None)
    base = _sections({name: values for name, values in presets.items() if name != preset}, parent) if parent else {}
    return {name: {**base.get(name, {}), **own.get(name, {})} for name in {**base, **own}}


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
    if isinstance(value, list | tuple) and (kind := _ITEMS.get(hint)):
        return tuple(_value(name, kind, item) for item in value)
    # bool is an int to Python, but `true` is never a number of speakers.
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise BadConfig(f"The option {name!r} cannot be {value!r}.")
