"""Emilia: from one audio file to transcribed, scored and exported speech segments.

A pure library: no cloud, no environment variables, no torch unless an engine that needs it is configured. Typical use::

    config = Emilia.load_config(None, preset="lite")
    pipeline = Emilia.Pipeline(config, device="cpu")
    pipeline.load()
    result = pipeline.run(path, episode="ep1", out=out, scratch=scratch, language="en", progress=print)

The order of the stages, their engines and every constant stand in ``config.json``. Names are imported on first use, so
``import Emilia`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from Emilia.config import Config, load_config
    from Emilia.errors import BadAudio, BadConfig, DeviceLost, EmiliaError, ModelMissing
    from Emilia.pipeline import Pipeline, Result
    from Emilia.recording import Segment, Span, Turn, Waveform

__all__ = [
    "API_VERSION",
    "BadAudio",
    "BadConfig",
    "Config",
    "DeviceLost",
    "EmiliaError",
    "ModelMissing",
    "Pipeline",
    "Result",
    "Segment",
    "Span",
    "Turn",
    "Waveform",
    "load_config",
]

API_VERSION = 1
"""Raised when a caller of the public names would have to change."""

_HOMES = {
    "BadAudio": "errors",
    "BadConfig": "errors",
    "Config": "config",
    "DeviceLost": "errors",
    "EmiliaError": "errors",
    "ModelMissing": "errors",
    "Pipeline": "pipeline",
    "Result": "pipeline",
    "Segment": "recording",
    "Span": "recording",
    "Turn": "recording",
    "Waveform": "recording",
    "load_config": "config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
