"""What the model without torch is built of: products in blocks, norm, gates and attention. Numpy alone.

A step of one slot is products of a vector and a matrix, and all its time goes into reading the matrices. BLAS would share
each of them among threads, which takes longer to arrange than to do, and tens of milliseconds where the cores are busy. So a
matrix is cut into blocks that BLAS does by itself. Each slot is multiplied by each block while that lies in the nearest
cache: all slots but the first cost less, and what a slot gets depends on no other, to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Floats", "Product", "attended", "gated", "normed", "softmax"]

Floats = npt.NDArray[np.float32]

_EPSILON = np.float32(1e-6)
# OpenBLAS gives a product of a matrix and a vector to one thread below 9,216 numbers of the matrix.
_ALONE = 9_215
BLOCK = 64
"""Frames or steps of a cache that are looked at by one product."""


class Product:
    """A matrix (given × taken) and, maybe, what is added: rows (n × taken) to rows (n × given)."""

    def __init__(self, matrix: Floats, added: Floats | None = None) -> None:
        self._given, taken = matrix.shape
        # BLAS takes rows by fours, and the last of another number by a slower way.
        rows = min(max(1, _ALONE // taken // 4 * 4), self._given)
        blocks = -(-self._given // rows)
        # Blocks are all of one size, as one call of numpy goes through them; the last is filled up with zeros.
        self._wide = blocks * rows
        padded = np.zeros((self._wide, taken), np.float32)
        padded[: self._given] = matrix
        self._blocks = padded.reshape(blocks, 1, rows, taken)
        self._added = added

    def __call__(self, x: Floats) -> Floats:
        """The product with each row of ``x``."""
        parts = np.matmul(self._blocks, x[None, :, :, None])
        found: Floats = parts[..., 0].transpose(1, 0, 2).reshape(len(x), self._wide)[:, : self._given]
        if self._added is not None:
            found += self._added
        return found


def normed(x: Floats) -> Floats:
    """``x`` (n × width) with a root mean square of 1 in each row. The gain behind it is in the matrix that comes next."""
    power = np.einsum("nw,nw->n", x, x) / np.float32(x.shape[1])
    found: Floats = x / np.sqrt(power + _EPSILON)[:, None]
    return found


def gated(half: Floats) -> Floats:
    """SiLU of twice ``half``: by the hyperbolic tangent, which cannot run over, and halved beforehand in the matrix."""
    found: Floats = half * np.tanh(half)
    found += half
    return found


def softmax(scores: Floats) -> Floats:
    """Odds along the last axis, in the place of ``scores``."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def attended(queries: Floats, keys: Floats, values: Floats, known: int) -> Floats:
    """What one step finds (heads · size) by ``queries`` (heads × size) in the first ``known`` places of a cache.

    ``keys`` and ``values`` are heads × blocks × places × size. Nothing known gives zeros.
    """
    if not known:
        return np.zeros(queries.size, np.float32)
    heads, _, places, _ = keys.shape
    used = -(-known // places)
    scores = np.matmul(keys[:, :used], queries[:, None, :, None]).reshape(heads, -1)
    scores[:, known:] = -np.inf
    odds = softmax(scores).reshape(heads, used, 1, places)
    found: Floats = np.matmul(odds, values[:, :used]).sum(axis=1).reshape(-1)
    return found
