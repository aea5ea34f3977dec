"""Whether a session's settings make sense, told in one sentence."""

from __future__ import annotations

import math
from typing import get_args

from duplexforge.errors import UsageError
from duplexforge.serving.session import Mode, SessionConfig, Turns

__all__ = ["check"]

_RANGES = {
    "vad_threshold": (0.01, 0.99),
    "silence": (0.1, 10.0),
    "sure_silence": (0.03, 10.0),
    "sure": (0.0, 1.0),
    "prefix": (0.0, 5.0),
    "confirm": (0.0, 5.0),
}
_LONGEST_PROMPT = 16_384


def check(config: SessionConfig) -> None:
    """UsageError when a value is out of its range; what a manner names is the backend's to know."""
    for name, kinds in (("mode", get_args(Mode)), ("turns", get_args(Turns))):
        if getattr(config, name) not in kinds:
            raise UsageError(f"{name} is {' or '.join(kinds)}, not {str(getattr(config, name))[:40]}")
    for name, (least, most) in _RANGES.items():
        value = getattr(config, name)
        if not math.isfinite(value) or not least <= value <= most:
            raise UsageError(f"{name} must lie between {least:g} and {most:g}, not at {value:g}")
    if len(config.manner.prompt) > _LONGEST_PROMPT:
        raise UsageError(f"a prompt has at most {_LONGEST_PROMPT} characters, not {len(config.manner.prompt)}")
