"""From coefficients to whole numbers: each is rounded to what costs least, error and bits together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from duplexforge.models import frames
from duplexforge.models.model import LARGEST, SCALES, ZEROS, Model

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

STEP_BITS = 9
STEPS = 1 << STEP_BITS
"""A step's number goes from 0 (one 16-bit step) up by 1/32 of an octave."""
_STEP_UNITS = [round(16 * 2 ** (number / 32)) for number in range(STEPS)]
CENTRE_PARTS = 64
"""Parts of a step in which the place of a value within its cell is told."""


def step_units(number: int) -> int:
    """The quantiser's step, in units, that ``number`` stands for."""
    return _STEP_UNITS[min(max(number, 0), STEPS - 1)]


def choose(model: Model, rows: frames.Rows, ratios: list[float], weight: float) -> tuple[list[int], list[int]]:
    """The 160 numbers for ``ratios`` (coefficient over step) that make error + ``weight`` × bits least, one by one, and
    the tables that they are to be written with.

    Greedy: what a choice means for the tables of later coefficients is left out. The error is in squared steps.
    """
    bits, near, run = model.bits, 0, 0
    values, used = [], []
    for row, ratio in zip(rows, ratios, strict=True):
        table = row[near + frames.run_state(run)]
        used.append(table)
        size = abs(ratio)
        best = int(size + 0.5)
        if best:
            best = _cheapest(bits[table], size, best, weight)
        values.append(best if ratio > 0 else -best)
        near, run = frames.step(run, best)
    return values, used


def _cheapest(costs: list[float], size: float, nearest: int, weight: float) -> int:
    best, least = 0, size * size + weight * costs[0]
    for candidate in range(max(nearest - 1, 1), nearest + 1):
        error = size - candidate
        cost = error * error + weight * (costs[min(candidate, LARGEST)] + 1)
        if cost < least:
            best, least = candidate, cost
    return best


def restore(model: Model, tables: Whole, values: Whole, step: Whole) -> Whole:
    """The coefficients, in units, that ``values`` stand for; ``tables`` are the numbers of the tables they were read by."""
    size = np.abs(values)
    scale = np.minimum(tables // ZEROS, SCALES - 1)
    shift = model.centre[scale, np.clip(size - 1, 0, 2)]
    whole = size * CENTRE_PARTS + np.where(size > 0, shift, 0)
    amplitude = (whole * step + CENTRE_PARTS // 2) // CENTRE_PARTS
    return np.where(values < 0, -amplitude, amplitude)
