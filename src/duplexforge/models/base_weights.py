"""The weights of the base layer, and what they do without torch: search in the books, and from what they say to knots.

The vector of a frame (:mod:`duplexforge.models.base_analysis`) is coded by residual books, each weighing decibels by how much
they are heard. A small network then says by how many decibels harmonics and noise of both knots should be other than what
the vector says; it sees the frame before too, and nothing else, so that a wrong token is forgotten after one frame.
:mod:`duplexforge.models.base_model` trains all this; a test holds the two together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ModelError
from duplexforge.models import weights_file
from duplexforge.models.base_analysis import BANDS, BREATHS, DEEPEST, FLOOR_DB, GAINS, WIDTH
from duplexforge.models.base_pitch import Floats
from duplexforge.models.base_synthesis import SILENT, Knots, audible, breath_spread, spread

FILE = "base.safetensors"
SEEN = 2 * WIDTH + 6
"""Numbers that the network sees."""
SAYS = 4 * BANDS + GAINS
"""Numbers that it says: harmonics and noise of both knots, and the loudness each 10 ms."""
MOST_DB = 12.0
"""How far it may move a level."""
LEAST_SHARE = 1e-3
BREADTH = 6
"""Sums that the search keeps from book to book."""
MIDDLE_PITCH = 170.0
"""Hz: what the network sees as nothing high or low."""

Codes = npt.NDArray[np.int64]


def weigh(vectors: Floats) -> Floats:
    """How much an error in each number of ``vectors`` (n × WIDTH) counts in the search (same shape)."""
    gains, breath, shape = parts(vectors)
    high = shape.max(axis=-1, keepdims=True)
    heard = np.clip((shape - high + DEEPEST) / DEEPEST, 0.1, 1) / (2 * BANDS)
    # A share of breath that is off by 0.2 counts like 1.5 dB; where there is no pitch, shares mean nothing.
    voiced = (breath.max(axis=-1, keepdims=True) > 0) * np.full_like(breath, 56 / (2 * BREATHS))
    level = np.clip((gains.max(axis=-1) - FLOOR_DB) / 50, 0.05, 1)[:, None]
    loud = np.full_like(gains, 1 / GAINS)
    flat = [loud, voiced.reshape(len(vectors), -1), heard.reshape(len(vectors), -1)]
    return np.asarray(np.concatenate(flat, axis=1) * level, np.float64)


def parts(vectors: Floats) -> tuple[Floats, Floats, Floats]:
    """Loudness (… × GAINS), breath (… × 2 × BREATHS) and envelopes (… × 2 × BANDS) of vectors (… × WIDTH)."""
    gains, breath, shape = np.split(vectors, [GAINS, GAINS + 2 * BREATHS], axis=-1)
    lead = vectors.shape[:-1]
    return gains, breath.reshape(*lead, 2, BREATHS), shape.reshape(*lead, 2, BANDS)


@dataclass
class Past:
    """What one voice remembers of the frame before: its vector, and of its last knot pitch, envelopes and shares."""

    vector: Floats
    pitch: float = 0.0
    harmonics: Floats = field(default_factory=lambda: np.full(BANDS, SILENT))
    noise: Floats = field(default_factory=lambda: np.full(BANDS, SILENT))


@dataclass(frozen=True)
class BaseWeights:
    """Books (books × entries × WIDTH) of what is left of a vector beside its mean, and the network's three layers."""

    books: Floats
    squares: Floats
    """Of the books' numbers, for the search."""
    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]
    digest: int
    facts: dict[str, Any] = field(default_factory=dict)

    def silence(self) -> Past:
        """What a voice remembers before its first frame."""
        vector = self.mean.copy()
        vector[:GAINS] = FLOOR_DB
        return Past(vector)

    def search(self, vector: Floats, depth: int | None = None) -> Codes:
        """The entries (books) whose sum is nearest to ``vector``, as far as a search of BREADTH finds."""
        weights = weigh(vector[None])[0]
        left = (vector - self.mean)[None]
        codes, error = np.zeros((1, 0), np.int64), np.zeros(1)
        for book, squares in zip(self.books[:depth], self.squares, strict=False):
            costs = squares @ weights - 2 * (left * weights) @ book.T + error[:, None]
            best = (
                np.argpartition(costs, BREADTH, axis=None)[:BREADTH] if costs.size > BREADTH else np.arange(costs.size)
            )
            rows, index = np.divmod(best, costs.shape[1])
            error, left = costs.reshape(-1)[best], left[rows] - book[index]
            codes = np.concatenate([codes[rows], index[:, None]], axis=1)
        return np.asarray(codes[int(np.argmin(error))], np.int64)

    def vector(self, codes: Codes) -> Floats:
        """The vector that ``codes`` (one a book; taken round where there is no such entry) mean."""
        index = codes % self.books.shape[1]
        return np.asarray(self.mean + self.books[np.arange(len(index)), index].sum(axis=0), np.float64)

    def knots(self, past: Past, vector: Floats, pitches: Floats) -> tuple[Knots, Past]:
        """How the frame of ``vector`` is to sound after ``past``, and what is remembered of it."""
        said = self._say(past, vector, pitches)
        gains, breath, shape = parts(vector)
        moved, louder = np.split(said, [4 * BANDS])
        harmonics, noise = moved.reshape(2, 2, BANDS)
        shape = shape - level(shape)[:, None]
        share = np.clip(breath, 0, 1) @ breath_spread() * (pitches > 0)[:, None]
        harmonics = shape + harmonics + 10 * np.log10(np.maximum(share, LEAST_SHARE))
        noise = shape + noise + 10 * np.log10(np.maximum(1 - share, LEAST_SHARE))
        harmonics[pitches <= 0] = SILENT
        after = Past(vector, float(pitches[1]), harmonics[1], noise[1])
        loud = np.clip(gains + louder, FLOOR_DB, 0.0)
        loud = (loud + audible(loud))[:, None]
        return Knots(_steps(past.harmonics, harmonics) + loud, _steps(past.noise, noise) + loud, pitches), after

    def _say(self, past: Past, vector: Floats, pitches: Floats) -> Floats:
        """What the network says, in dB (SAYS)."""
        track = np.array([past.pitch, *pitches])
        voiced = track > 0
        heights = np.where(voiced, np.log2(np.maximum(track, 1) / MIDDLE_PITCH), 0.0)
        both = (np.stack([past.vector, vector]) - self.mean) / self.scale
        seen = np.concatenate([np.clip(both, -4, 4).reshape(-1), voiced, heights])
        for number, (weight, bias) in enumerate(self.layers):
            seen = weight @ seen + bias
            if number + 1 < len(self.layers):
                seen = seen * (0.5 + 0.5 * np.tanh(seen * 0.5))
        return np.asarray(MOST_DB * np.tanh(seen), np.float64)


def _steps(before: Floats, knots: Floats) -> Floats:
    """The levels (GAINS × BANDS) of each 10 ms, from the knot before and the two of the frame."""
    first, second = knots
    return np.stack([_halfway(before, first), first, _halfway(first, second), second])


def _halfway(one: Floats, other: Floats) -> Floats:
    # The mean amplitude: towards silence, the mean of decibels would be silence at once.
    half = np.log(10) / 20
    return np.asarray((np.logaddexp(one * half, other * half) - np.log(2)) / half, np.float64)


def level(shape: Floats) -> Floats:
    """The mean density of envelopes (… × BANDS, dB) over the band, in dB."""
    return np.asarray(10 * np.log10(np.mean(10 ** (shape @ spread() / 10), axis=-1)), np.float64)


@cache
def load() -> BaseWeights:
    """The weights that come with the project; a ``ModelError`` when they are not there."""
    return read(weights_file.FOLDER / FILE)


def read(path: Path) -> BaseWeights:
    """The weights in the file at ``path``; a ``ModelError`` when it is missing, or not one of this mode."""
    stored, metadata = weights_file.read(path)
    try:
        shape = json.loads(metadata["shape"])
        arrays = {name: array.astype(np.float64) for name, array in stored.items()}
        books = arrays["vectors"] * arrays["scales"][..., None]
        layers = tuple((arrays[f"net.{number}.weight"], arrays[f"net.{number}.bias"]) for number in (0, 2, 4))
        if books.shape[1:] != (shape["entries"], WIDTH) or layers[0][0].shape[1] != SEEN or len(layers[2][1]) != SAYS:
            raise ValueError("arrays of another shape")
        mean, scale = arrays["mean"], arrays["scale"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} holds no weights of the mode base: {type(error).__name__} {error}") from error
    digest = 0
    for name in sorted(stored):
        digest = crc32(np.ascontiguousarray(stored[name]).tobytes(), digest)
    return BaseWeights(books, books * books, mean, scale, layers, digest, {"shape": shape, **metadata})
