"""Whether a backend can answer in a manner, told before anything waits for the model."""

from __future__ import annotations

import math

import numpy as np

from duplexforge.errors import UsageError
from duplexforge.serving.backends import Facts, Manner
from duplexforge.voices import Accent, Controls, find_accent

__all__ = ["accent_of", "check"]

_PLAIN = ("", "neutral")


def check(facts: Facts, manner: Manner) -> None:
    """UsageError, in one sentence, when ``manner`` makes no sense or names what the backend has not.

    A backend without voices or emotions of its own takes any name: it answers as it does.
    """
    for kind, known, wanted in (
        ("voice", facts.speakers, manner.speaker),
        ("voice", facts.speakers, manner.other),
        ("emotion", facts.emotions, manner.emotion),
    ):
        if wanted and known and wanted not in known:
            raise UsageError(f"there is no {kind} {wanted}; there are {', '.join(known)}")
    if not 0 <= manner.blend <= 1:
        raise UsageError(f"blend must lie between 0 and 1, not at {manner.blend:g}")
    if manner.temperature is not None and not 0 <= manner.temperature <= 2:
        raise UsageError(f"temperature must lie between 0 and 2, not at {manner.temperature:g}")
    if manner.seed is not None and manner.seed < 0:
        raise UsageError(f"a seed is a whole number from 0 on, not {manner.seed}")
    Controls(manner.pitch, manner.energy, manner.rate, accent_of(manner))
    if manner.accent and manner.emotion not in _PLAIN:
        raise UsageError(
            f"an accent is spoken in the emotion neutral alone: leave out {manner.accent} or {manner.emotion}"
        )
    if manner.voice is not None and not _a_vector(manner):
        raise UsageError("a voice's vector is a row of finite numbers that are not all zero")


def accent_of(manner: Manner) -> Accent | None:
    """The accent of ``manner``, or None; UsageError when there is no such one."""
    return find_accent(manner.accent) if manner.accent else None


def _a_vector(manner: Manner) -> bool:
    found = np.asarray(manner.voice)
    return found.ndim == 1 and math.isfinite(length := float(np.linalg.norm(found))) and length > 0
