"""The learned part of the MDCT modes: from what is known about a coefficient to the table it is read with.

A network of two hidden layers looks at the decoded past of each bin (``context``) and gives, for each of 40 states of
the same frame's lower neighbours, a scale and a share of extra zeros; the pair names one of 768 tables of counts. Weights,
activations and sums are whole numbers, kept in doubles for the sake of BLAS: no sum comes near 2^53, so that every machine
finds the same tables, whatever order its library adds in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.models import weights_file

Floats = npt.NDArray[np.float64]

NEAR, RUNS = 5, 8
STATES = NEAR * RUNS
SCALES, ZEROS = 64, 12
LARGEST = 24
"""Magnitudes from this one on are an escape and a number after it."""

ACT_BITS, WEIGHT_BITS = 8, 12
_TOP = 8 << ACT_BITS
_BLOCKS = 4

SCALE_LOW, SCALE_STEPS = -4.5, 6
ZERO_LOW, ZERO_STEPS = -5.0, 1.5

NEAR_OF = (0, 1, 2, 3, 3, 4)
"""State of the next lower neighbour's magnitude; larger ones are the last."""
RUN_EDGES = (1, 3, 6, 10, 16, 26, 44)
"""Edges between the states of the running loudness below."""
MODEL = weights_file.FOLDER / "mdct.safetensors"


@dataclass(frozen=True)
class Model:
    """Weights and tables as the coder wants them."""

    first: Floats
    shared: Floats
    bins: Floats
    second: Floats
    second_bias: Floats
    last: Floats
    last_bias: Floats
    tables: list[list[int]]
    """Cumulated counts of the magnitudes 0 to ``LARGEST``, for each pair of scale and zeros."""
    bits: list[list[float]]
    """What a magnitude costs by each table, in bits; the encoder's choices weigh it."""
    centre: npt.NDArray[np.int64]
    """Where in its cell a magnitude of 1, 2 or more is put back, by scale: 64ths of a step off the middle."""
    loudness: list[list[int]]
    """Cumulated counts of a frame's loudness, by that of the frame before."""
    fill: list[list[int]]
    """Cumulated counts of a band's noise, by that of before, that of the next lower band, and what was not zero."""
    digest: int
    """32 bits that tell these weights from others."""

    def tables_of(self, features: Floats, shared: Floats) -> npt.NDArray[np.int64]:
        """The number of the table for each bin and state (160 × ``STATES``)."""
        hidden = _product(features, self.first) + (shared @ self.shared + self.bins)
        hidden = np.clip(np.floor(hidden / (1 << WEIGHT_BITS)), 0, _TOP)
        hidden = np.clip(np.floor((_product(hidden, self.second) + self.second_bias) / (1 << WEIGHT_BITS)), 0, _TOP)
        out = np.floor((_product(hidden, self.last) + self.last_bias) / (1 << (WEIGHT_BITS + ACT_BITS)))
        scale = np.clip(out[:, :STATES], 0, SCALES - 1)
        zeros = np.clip(out[:, STATES:], 0, ZEROS - 1)
        numbers: npt.NDArray[np.int64] = (scale * ZEROS + zeros).astype(np.int64)
        return numbers


def _product(rows: Floats, weights: Floats) -> Floats:
    """``rows @ weights``, in blocks that BLAS does not think worth a second thread: waking one takes longer."""
    product: Floats = (rows.reshape(_BLOCKS, -1, rows.shape[1]) @ weights).reshape(len(rows), -1)
    return product


@cache
def load(path: Path = MODEL) -> Model:
    """The model at ``path``; read once a process."""
    arrays, _ = weights_file.read(path)
    counts = arrays["counts"].astype(np.int64)
    layers = {name: arrays[name].astype(np.float64) for name in LAYERS}
    return Model(
        **layers,
        tables=_cumulated(counts),
        bits=(-np.log2(counts / counts.sum(axis=1, keepdims=True))).tolist(),
        centre=arrays["centre"].astype(np.int64),
        loudness=_cumulated(arrays["loudness"]),
        fill=_cumulated(arrays["fill"]),
        digest=int.from_bytes(sha256(path.read_bytes()).digest()[:4], "big"),
    )


def _cumulated(counts: npt.NDArray[Any]) -> list[list[int]]:
    whole = counts.astype(np.int64)
    sums: list[list[int]] = np.concatenate(
        [np.zeros((len(whole), 1), np.int64), np.cumsum(whole, axis=1)], axis=1
    ).tolist()
    return sums


LAYERS = ("first", "shared", "bins", "second", "second_bias", "last", "last_bias")
