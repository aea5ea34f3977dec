"""One speaker out of a recording of several: where each is heard, where exactly they change over, and the mask of one.

Pure functions on times and samples. Turns come from a diarizer, whose borders are off by tenths of a second; a change of
speakers is therefore looked for in the sound around it, in the pause that people leave between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from duplexforge.duplex.corpus import Samples
from duplexforge.errors import UsageError

__all__ = ["Masking", "Said", "heard", "levels", "mask", "pauses", "spans_of"]

Levels = npt.NDArray[np.float64]

_FRAME = 0.01
# Between two people who follow close on each other; less is no pause.
_LEAST_PAUSE = 0.03
# Elsewhere a stop consonant is a pause of some 0.05 s inside a word.
_LEAST_ELSEWHERE = 0.1
_TOUCHING = 0.05
# Turns further apart than this do not follow each other: their borders are the voice detector's, and those are right.
_APART = 1.0
# The level of a pause is told from what is heard around it; where all is within so many dB there is none to be told.
_LEAST_RANGE = 15.0
_CONTEXT = 0.5
# A level this share of the way from the quietest to the loudest, in dB, is still a pause.
_QUIET = 0.3
# Recordings that were gated have digital silence, beside which every room would be loud.
_DEEPEST = 45.0
_SILENCE = 1e-10
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Masking:
    """How a speaker's track is cut out; all in seconds."""

    fade: float = 0.015
    """Length of the raised-cosine fade in and out; where one speaker follows the other it is a cross-fade."""
    widen: float = 0.15
    """A turn is widened by up to so much on either side, at most to the middle of the pause."""
    reach: float = 0.3
    """How far from the border of two turns the pause between the speakers is looked for."""
    bridge: float = 0.5
    """A pause of one speaker up to this length stays in their track when nobody else speaks in it."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 5:
                raise UsageError(f"--{name} must be 0 to 5 seconds, not {value}")


class Said(NamedTuple):
    """``speaker`` is heard from ``start`` to ``end`` (seconds in the episode)."""

    start: float
    end: float
    speaker: str


Read = Callable[[float, float], tuple[Samples, int]]
"""The recording between two times, and its rate; beyond its ends there is silence."""


def heard(said: Iterable[Said], bridge: float) -> list[Said]:
    """Turns in time order: what one says without anybody in between, over pauses of at most ``bridge``, is one turn."""
    turns: list[Said] = []
    last: dict[str, int] = {}
    for one in sorted(said):
        at = last.get(one.speaker)
        if at is not None and _joins(turns, at, one, bridge):
            turns[at] = turns[at]._replace(end=max(turns[at].end, one.end))
        else:
            last[one.speaker] = len(turns)
            turns.append(one)
    return turns


def _joins(turns: Sequence[Said], at: int, one: Said, bridge: float) -> bool:
    pause = one.start - turns[at].end
    if pause <= 0:
        return True
    return pause <= bridge and all(other.end <= turns[at].end for other in turns if other.speaker != one.speaker)


def spans_of(speaker: str, turns: Sequence[Said], read: Read, rules: Masking) -> list[tuple[float, float]]:
    """Where ``speaker`` is to be heard: their turns, whose borders are moved to where the speakers change, and widened.

    Where two speak at once both keep all of it.
    """
    found = []
    for one in turns:
        if one.speaker == speaker:
            others = [other for other in turns if other.speaker != speaker]
            found.append((_start_of(one, others, read, rules), _end_of(one, others, read, rules)))
    return [(start, end) for start, end in found if end > start]


def _start_of(one: Said, others: Sequence[Said], read: Read, rules: Masking) -> float:
    if any(other.start <= one.start < other.end for other in others):
        return one.start
    before = max((other for other in others if other.end <= one.start), key=lambda other: other.end, default=None)
    if before is None or one.start - before.end > _APART:
        return max(0.0, one.start - rules.widen)
    return _change(before, one, read, rules)[1]


def _end_of(one: Said, others: Sequence[Said], read: Read, rules: Masking) -> float:
    if any(other.start < one.end <= other.end for other in others):
        return one.end
    behind = min((other for other in others if other.start >= one.end), key=lambda other: other.start, default=None)
    if behind is None or behind.start - one.end > _APART:
        return one.end + rules.widen
    return _change(one, behind, read, rules)[0]


def _change(left: Said, right: Said, read: Read, rules: Masking) -> tuple[float, float]:
    """End of ``left`` and start of ``right``, which follow each other, moved to the pause between the two.

    A pause that touches the gap between the turns is theirs; only where there is none the nearest one takes its place,
    since there the diarizer has put some of one's speech into the other's turn.
    """
    low, high = left.end, right.start
    found = pauses(read, max(low - rules.reach, left.start), min(high + rules.reach, right.end))
    near = sorted((max(start - high, low - end, 0.0), start - end, start, end) for start, end in found)
    for distance, length, start, end in near:
        if distance == 0:
            low, high = min(max(low, start), end), max(min(high, end), start)
            break
        if distance <= _TOUCHING or -length >= _LEAST_ELSEWHERE - _ROUNDING:
            low, high = start, end
            break
    middle = (low + high) / 2
    return min(low + rules.widen, middle), max(high - rules.widen, middle)


def pauses(read: Read, start: float, end: float) -> list[tuple[float, float]]:
    """Stretches of at least 0.03 s in which hardly anything is heard, compared to what is heard around them.

    None where the loudest and the quietest hardly differ, such as under music.
    """
    first = start - _CONTEXT
    found = levels(*read(first, end + _CONTEXT))
    if not len(found):
        return []
    quietest, loudest = np.quantile(found, [0.05, 0.95])
    quietest = max(quietest, loudest - _DEEPEST)
    if loudest - quietest < _LEAST_RANGE:
        return []
    quiet = found < quietest + _QUIET * (loudest - quietest)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False)).reshape(-1, 2) * _FRAME + first
    clipped = [(max(start, float(low)), min(end, float(high))) for low, high in edges]
    return [(low, high) for low, high in clipped if high - low >= _LEAST_PAUSE - _ROUNDING]


def levels(samples: Samples, rate: int) -> Levels:
    """Mean power of every 10 ms in dB of full scale; what is over at the end is left out."""
    frame = round(_FRAME * rate)
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power: Levels = 10 * np.log10(np.mean(np.square(whole, dtype=np.float64), axis=1) + _SILENCE)
    return power


def mask(spans: Sequence[tuple[float, float]], first: int, end: int, rate: int, fade: float) -> Samples:
    """Gain (0..1) of the samples ``first`` to ``end`` at ``rate``: 1 within ``spans``, exactly 0 outside.

    Each edge is a raised cosine of ``fade`` seconds with its middle on the edge, so that two tracks that change over at
    one moment add up to the recording.
    """
    gain = np.zeros(end - first, np.float32)
    at = np.arange(first, end) / rate
    for start, stop in _joined(spans, fade):
        low = max(0, round((start - fade) * rate) - first)
        high = min(end - first, round((stop + fade) * rate) - first + 1)
        if high > low:
            part = at[low:high]
            edges = _ramp(part - start, fade) * _ramp(stop - part, fade)
            gain[low:high] = np.maximum(gain[low:high], edges)
    return gain


def _joined(spans: Sequence[tuple[float, float]], fade: float) -> list[tuple[float, float]]:
    """Spans with those closer than a fade made one: nothing dips between two halves of a word."""
    done: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if done and start - done[-1][1] <= fade:
            done[-1] = (done[-1][0], max(done[-1][1], end))
        else:
            done.append((start, end))
    return done


def _ramp(distance: npt.NDArray[np.float64], fade: float) -> npt.NDArray[np.float64]:
    if fade == 0:
        return (distance >= 0).astype(np.float64)
    risen: npt.NDArray[np.float64] = (1 - np.cos(np.pi * np.clip(distance / fade + 0.5, 0, 1))) / 2
    return risen
