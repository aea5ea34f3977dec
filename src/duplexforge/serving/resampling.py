"""Sound from one rate to another as it comes, with soxr (high quality, 20 bits).

From another rate than the model's, soxr holds back about 23 ms on average (at most 40 ms; 65 and 115 ms from 8 kHz): a client
that can send the model's rate answers sooner. The same rate goes through as it is.
"""

from __future__ import annotations

import numpy as np
import soxr

from duplexforge.errors import UsageError
from duplexforge.serving.packets import Floats, pcm16, samples_of

__all__ = ["HIGHEST", "LOWEST", "Resampler", "clean", "pcm16_at"]

LOWEST, HIGHEST = 8_000, 48_000


def clean(samples: Floats) -> Floats:
    """``samples`` as float32 in ±1: no number is silence, what is louder is clipped."""
    # Almost always there is nothing to do, and to see that is a tenth of the work. No comparison holds for what is no number.
    if not samples.size or np.abs(samples).max() <= 1.0:
        return samples.astype(np.float32, copy=False)
    whole = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    found: Floats = np.clip(whole, -1.0, 1.0).astype(np.float32, copy=False)
    return found


class Resampler:
    """A stream of one voice from ``source`` to ``target`` samples a second; UsageError for a rate outside 8 to 48 kHz."""

    def __init__(self, source: int, target: int) -> None:
        for rate in (source, target):
            if not LOWEST <= rate <= HIGHEST:
                raise UsageError(f"sound has {LOWEST} to {HIGHEST} samples a second here, not {rate}")
        self.source, self.target = source, target
        self._stream = (
            None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
        )

    def push(self, samples: Floats, *, last: bool = False) -> Floats:
        """What is ready after ``samples``; ``last``: all that is left, and the stream begins anew."""
        if self._stream is None:
            return samples
        # soxr reads the memory as it lies: a view with steps would be read wrongly.
        found: Floats = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32), last=last)
        if last:
            self._stream.clear()
        return found


def pcm16_at(data: bytes, source: int, target: int) -> bytes:
    """A whole piece of PCM16 at another rate; for an answer that comes in pieces keep a ``Resampler`` and use :func:`pcm16`."""
    if source == target:
        return data
    return pcm16(Resampler(source, target).push(samples_of(data), last=True))
