"""The speech/music gate: where something plays behind the speech, told by whether the pauses are quiet.

Speech pauses several times in any six seconds, and in the pauses whatever plays behind it is heard alone. A stretch is
clean when the quietest twentieth of its 30 ms frames lies far enough below its mean level, or when nothing in it comes
near the recording's speech. Speech without a pause counts as unclean: separating too much costs time, too little quality.

The default of 32 dB is measured on the audio of ``examples/demo`` (a room at -60 dBFS under speech at -22): of the four
recordings as they are, 0, 28, 34 and 41 % would be separated; with music or noise 30 dB below the speech or louder, all.
40 dB, more than that room allows, would separate everything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from Emilia.recording import Span, Waveform, ms
from Emilia.spans import union
from Emilia.stage import Progress

__all__ = ["unclean"]

_FRAME = 0.03
_STRETCH = 200
_HOP = 33
_QUIET = 0.05
# A fade-in is audible before it has filled the pauses of a stretch.
_MARGIN = 1.0
_BLOCK = 1000
# Frames further below the mean than this are not speech when its level is taken (the relative gate of BS.1770).
_SPEECH = 0.1


def unclean(wave: Waveform, gate: float, progress: Progress) -> list[Span]:
    """Spans, in order, where the pauses are less than ``gate`` dB below the speech around them."""
    energy = _energies(wave, progress)
    if not energy.any():
        return []
    speech = energy[energy > energy.mean() * _SPEECH].mean()
    found: list[Span] = []
    for start in range(0, max(1, len(energy) - _STRETCH + _HOP), _HOP):
        # The last stretch ends with the recording; a remainder of its own would be too short to have pauses.
        first = max(0, min(start, len(energy) - _STRETCH))
        if not _clean(energy[first : first + _STRETCH], speech, 10 ** (-gate / 10)):
            found.append(_around(first, min(first + _STRETCH, len(energy)), wave))
    return union(found)


def _clean(energy: npt.NDArray[np.float64], speech: float, ratio: float) -> bool:
    ordered = np.sort(energy)
    few = max(1, round(len(ordered) * _QUIET))
    if ordered[-few:].mean() <= speech * ratio:
        return True
    return bool(ordered[:few].mean() <= ordered.mean() * ratio)


def _around(first: int, last: int, wave: Waveform) -> Span:
    frame = _length(wave) / wave.rate
    return Span(ms(max(0.0, first * frame - _MARGIN)), ms(min(wave.seconds, last * frame + _MARGIN)))


def _length(wave: Waveform) -> int:
    return round(_FRAME * wave.rate)


def _energies(wave: Waveform, progress: Progress) -> npt.NDArray[np.float64]:
    """Mean square of every whole 30 ms frame (of the whole recording, when it is shorter)."""
    frame = max(1, min(_length(wave), wave.frames))
    found: list[npt.NDArray[np.float64]] = []
    for start in range(0, wave.frames - frame + 1, frame * _BLOCK):
        samples = wave.read(start, start + frame * _BLOCK)
        whole = samples[: len(samples) // frame * frame].reshape(-1, frame)
        found.append(np.square(whole, dtype=np.float64).mean(axis=1))
        progress(start / wave.frames)
    return np.concatenate([*found, np.zeros(0)])
