"""Which windows of a recording a separation network sees, and which part of each answer is kept. Samples throughout.

Of a window's ``span`` samples the first and last half FFT are trimmed, since frames are missing there; ``usable`` are
left. :func:`overlapping` cross-fades windows where they meet; :func:`published` is the block-wise grid of the published
pipeline, whose windows meet without overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from Emilia.errors import BadConfig
from Emilia.options import MdxOptions
from Emilia.recording import Audio

__all__ = ["Grid", "Window", "faded", "overlapping", "published"]


class Grid(NamedTuple):
    """Sizes in samples: ``half`` an FFT is trimmed at both ends of a window of ``span``, which leaves ``usable``."""

    half: int
    span: int
    usable: int

    @classmethod
    def of(cls, options: MdxOptions) -> Grid:
        """The sizes that ``options`` imply; raises ``BadConfig`` where they leave nothing usable."""
        span = options.hop * (options.dim_t - 1)
        grid = cls(options.n_fft // 2, span, span - options.n_fft)
        if not 0 <= options.overlap <= grid.usable // 2:
            raise BadConfig(
                f"mdx: an overlap of {options.overlap} does not fit windows of {grid.usable} usable samples."
            )
        if options.dim_f > grid.half + 1 or options.hop > grid.half:
            raise BadConfig("mdx: dim_f and hop must fit n_fft.")
        return grid


class Window(NamedTuple):
    """One window: its usable part begins at ``at``; the network hears the recording from ``low`` to ``high`` and
    silence outside; of the answer, ``start`` to ``stop`` is kept.
    """

    at: int
    low: int
    high: int
    start: int
    stop: int


def overlapping(spans: Sequence[tuple[int, int]], total: int, grid: Grid, fade: int) -> list[Window]:
    """The fewest windows that separate all of ``spans`` (in order) with a cross-fade of ``fade`` at each end that is
    not an end of the recording.

    Windows that follow each other overlap by ``fade``, so both fades add up to one; a run of windows fades from and to
    the mix. Over a whole recording there are ``1 + ceil((total - usable) / (usable - fade))`` of them.
    """
    step = grid.usable - fade

    def full(at: int) -> int:
        # What follows the first `step` of a window is faded out already, unless the recording ends there.
        return at + step if at + grid.usable < total else total

    starts: list[int] = []
    for begin, end in spans:
        begin, end = max(0, begin - fade), min(end, total)
        if begin >= end:
            continue
        if not starts or begin > full(starts[-1]):
            starts.append(begin)
        while full(starts[-1]) < end:
            starts.append(starts[-1] + step)
    return [Window(at, 0, total, at, min(at + grid.usable, total)) for at in starts]


def faded(window: Window, kept: Audio, total: int, fade: int) -> Audio:
    """``kept``, the answer from ``window.start`` to ``window.stop``, with linear ramps at the ends inside the
    recording.
    """
    rising = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) / np.float32(max(fade, 1))
    if window.start > 0:
        # A last window may end within its fade.
        length = min(fade, len(kept))
        kept[:length] *= rising[:length]
    if window.stop < total:
        # One minus the ramp rather than the ramp reversed: the two then sum to one to the last bit.
        kept[len(kept) - fade :] *= np.float32(1.0) - rising
    return kept


def published(total: int, chunk: int, margin: int, grid: Grid) -> list[Window]:
    """The published grid over ``total`` samples: blocks of ``chunk`` with ``margin`` at both sides, which is cut off
    again; in each block windows end to end, and one more than needed where they fit exactly. Windows of which nothing
    is kept are left out.

    Source: Amphion's Emilia, ``separate_fast.py``. The recording is first padded to whole blocks.
    """
    padded, margin = -(-total // chunk) * chunk, min(margin, chunk)
    windows: list[Window] = []
    for first in range(0, padded, chunk):
        low, high = first - (margin if first else 0), min(first + chunk + margin, padded)
        last = high == padded
        start, stop = first, min(high if last else high - margin, total)
        length = high - low
        for offset in range(0, length + grid.usable - length % grid.usable, grid.usable):
            at = low + offset
            if max(at, start) < min(at + grid.usable, stop):
                windows.append(Window(at, low, high, max(at, start), min(at + grid.usable, stop)))
        if last:
            break
    return windows
