"""One frame's 160 quantised coefficients as symbols, and back.

Coefficients go from low to high. The state of a coefficient, what its lower neighbours in the same frame were, picks one
of the tables that the network made ready for its bin; signs carry no information and go as plain bits at the end.
"""

from __future__ import annotations

from duplexforge.models.mdct import HOP
from duplexforge.models.model import LARGEST, NEAR_OF, RUN_EDGES, RUNS, Model
from duplexforge.models.range_coder import RangeDecoder, RangeEncoder

_CAP = 63
_NEAR = [NEAR_OF[min(m, len(NEAR_OF) - 1)] * RUNS for m in range(_CAP + 1)]
_RUN_TOP = 4 * _CAP * 4 + 4
_RUN = [sum(r >= edge for edge in RUN_EDGES) for r in range(_RUN_TOP)]
_FADE = [r - (r >> 2) - (0 < r < 4) for r in range(_RUN_TOP)]
_BEYOND_BITS = 24
"""An escape says in 5 bits how many bits follow; a magnitude of more would be no sound."""

Rows = list[list[int]]
"""The number of the table for each bin and state."""


def write(encoder: RangeEncoder, model: Model, values: list[int], used: list[int]) -> None:
    """Write the frame's 160 ``values``, each by the table whose number stands in ``used``."""
    tables = model.tables
    for value, table in zip(values, used, strict=True):
        size = abs(value)
        symbol = min(size, LARGEST)
        encoder.symbol(tables[table], symbol)
        if symbol == LARGEST:
            _write_beyond(encoder, size - LARGEST)
    signs = [value < 0 for value in values if value]
    for start in range(0, len(signs), 15):
        some = signs[start : start + 15]
        encoder.number(sum(sign << place for place, sign in enumerate(some)), len(some))


def read(decoder: RangeDecoder, model: Model, rows: Rows) -> tuple[list[int], list[int]]:
    """Read a frame back, and the numbers of the tables it was read with.

    Damaged bytes give wrong values, never an error.
    """
    tables, near, run = model.tables, 0, 0
    values, used, found = [0] * HOP, [0] * HOP, []
    for place, row in enumerate(rows):
        table = used[place] = row[near + _RUN[run]]
        size = decoder.symbol(tables[table])
        if size:
            if size == LARGEST:
                size += _read_beyond(decoder)
            values[place] = size
            found.append(place)
        near, run = step(run, size)
    for start in range(0, len(found), 15):
        some = found[start : start + 15]
        signs = decoder.number(len(some))
        for place in some:
            if signs & 1:
                values[place] = -values[place]
            signs >>= 1
    return values, used


def step(run: int, size: int) -> tuple[int, int]:
    """The state after a magnitude: its nearer half, ready to be added to the run's state, and the new running loudness."""
    size = min(size, _CAP)
    return _NEAR[size], _FADE[run] + 4 * size


def run_state(run: int) -> int:
    """The farther half of the state."""
    return _RUN[run]


def _write_beyond(encoder: RangeEncoder, rest: int) -> None:
    length = rest.bit_length()
    encoder.number(length, 5)
    for low in range(0, length, 15):
        encoder.number((rest >> low) & ((1 << min(15, length - low)) - 1), min(15, length - low))


def _read_beyond(decoder: RangeDecoder) -> int:
    length = min(decoder.number(5), _BEYOND_BITS)
    return sum(decoder.number(min(15, length - low)) << low for low in range(0, length, 15))
