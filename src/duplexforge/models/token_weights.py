"""The weights of the mode token as arrays, and the arithmetic on them that needs no torch.

Every function here mirrors one of :mod:`duplexforge.models.token_model`, which trains them; a test holds the two together.
Arrays have the voices (slots) first.
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
from duplexforge.models.lapped import basis
from duplexforge.models.periods import continued

__all__ = ["FLOOR", "PAST", "Book", "Floats", "Look", "TokenWeights", "load", "read"]

Floats = npt.NDArray[np.float32]

FLOOR = np.float32(1e-3)
PAST = 8
_LEAST, _MOST = -7.5, 3.0


@dataclass(frozen=True)
class Book:
    """One book (entries × hop), with what the search wants ready: its transpose and the transpose of its squares."""

    vectors: Floats
    turned: Floats
    squares: Floats

    @classmethod
    def of(cls, vectors: Floats) -> Book:
        """The book of ``vectors``."""
        turned = np.ascontiguousarray(vectors.T)
        return cls(vectors, turned, turned * turned)

    def costs(self, values: Floats, weights: Floats) -> Floats:
        """What each entry adds to the weighted error of ``values`` (n × hop): n × entries, less than 0 where it helps."""
        helps = (values * (weights + weights)) @ self.turned
        return np.asarray(weights @ self.squares - helps, np.float32)


@dataclass(frozen=True)
class Look:
    """A small network from what is seen (5·hop) to one number for every coefficient (hop)."""

    first: tuple[Floats, Floats]
    second: tuple[Floats, Floats]
    last: tuple[Floats, Floats]
    straight: Floats

    @classmethod
    def of(cls, arrays: dict[str, Floats], name: str) -> Look:
        """The network that the weights file keeps under ``name``."""
        layers = [
            (np.ascontiguousarray(arrays[f"{name}.{layer}.weight"].T), arrays[f"{name}.{layer}.bias"])
            for layer in ("inner.0", "inner.2", "outer")
        ]
        return cls(layers[0], layers[1], layers[2], np.ascontiguousarray(arrays[f"{name}.straight.weight"].T))

    def __call__(self, features: Floats) -> Floats:
        """The numbers (slots × hop) for ``features`` (slots × 5·hop)."""
        hidden = _silu(features @ self.first[0] + self.first[1])
        hidden = _silu(hidden @ self.second[0] + self.second[1])
        out: Floats = hidden @ self.last[0] + self.last[1] + features @ self.straight
        return out


@dataclass(frozen=True)
class TokenWeights:
    """Everything the codec needs: books by group, a network before each, the filter, the table of trust, how errors weigh."""

    hop: int
    tilt: float
    quiet: float
    groups: tuple[tuple[Book, ...], ...]
    looks: tuple[Look, ...]
    filter: Look
    trust: Floats
    digest: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def books(self) -> int:
        """Books, hence codes, a frame."""
        return sum(len(group) for group in self.groups)

    def weigh(self, frame: Floats) -> Floats:
        """How much the error of each coefficient counts in the search (slots × hop), from the true ``frame``."""
        power = frame * frame
        level = power.mean(axis=1, keepdims=True) + FLOOR**2
        spectrum = (_smooth(power) + FLOOR**2) / level
        weights: Floats = spectrum ** np.float32(-self.tilt) * level ** np.float32(-self.quiet)
        return weights

    def expected(self, histories: Floats) -> Floats:
        """What a frame (slots × hop) will be like, from the wave decoded before it (slots × HISTORY)."""
        frames = []
        for history in histories:
            made, row = continued(history, 2 * self.hop)
            frames.append(basis(self.hop) @ made * self.trust[row])
        return np.stack(frames).astype(np.float32)

    def sizes(self, number: int, past: Floats, coded: Floats) -> Floats:
        """How large each coefficient of what is left before group ``number`` will be (slots × hop)."""
        raw = self.looks[number](_seen(past, coded)) - np.float32(2.5)
        sizes: Floats = np.exp(np.clip(raw, _LEAST, _MOST))
        return sizes

    def filtered(self, past: Floats, coded: Floats) -> Floats:
        """The frame (slots × hop) with every coefficient's size corrected."""
        out: Floats = coded * np.exp(np.tanh(self.filter(_seen(past, coded))))
        return out


def _silu(values: Floats) -> Floats:
    # By the hyperbolic tangent, which overflows nowhere.
    out: Floats = values * (np.float32(0.5) * (1 + np.tanh(values * np.float32(0.5))))
    return out


@cache
def _spread(size: int) -> Floats:
    """The matrix that takes the mean over five neighbours; the edges repeat."""
    near = np.clip(np.arange(size)[:, None] + np.arange(-2, 3), 0, size - 1)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (near, np.arange(size)[:, None]), np.float32(0.2))
    return matrix


def _smooth(power: Floats) -> Floats:
    """Mean over five neighbouring coefficients."""
    mean: Floats = power @ _spread(power.shape[1])
    return mean


def _seen(past: Floats, coded: Floats) -> Floats:
    """What the networks see of the past (slots × PAST × hop) and of what is coded so far (slots × hop)."""
    logs = np.log(past * past + FLOOR**2)
    recent = np.log(_smooth((past[:, -2:] ** 2).mean(axis=1)) + FLOOR**2)
    power = coded * coded
    parts = [logs[:, -1], logs.mean(axis=1), recent, np.log(power + FLOOR**2), np.log(_smooth(power) + FLOOR**2)]
    return np.asarray(np.concatenate(parts, axis=1) / 4 + 1, np.float32)


def _vectors(arrays: dict[str, Floats], name: str) -> Floats:
    """The books of a group (count × entries × hop), which are stored as 8-bit numbers with a scale for every entry."""
    whole: Floats = arrays[f"{name}.vectors"] * arrays[f"{name}.scales"][..., None]
    return whole


@cache
def load() -> TokenWeights:
    """The weights that come with the project; a ``ModelError`` when they are not there."""
    return read(weights_file.FOLDER / "token.safetensors")


def read(path: Path) -> TokenWeights:
    """The weights in the file at ``path``; a ``ModelError`` when it is missing, or not one of this mode."""
    stored, metadata = weights_file.read(path)
    try:
        shape = json.loads(metadata["shape"])
        arrays = {name: array.astype(np.float32) for name, array in stored.items()}
        groups = tuple(
            tuple(Book.of(book) for book in _vectors(arrays, f"books.{number}"))
            for number in range(len(shape["groups"]))
        )
        looks = tuple(Look.of(arrays, f"looks.{number}") for number in range(len(groups)))
        last, trust = Look.of(arrays, "filter"), arrays["trust"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} holds no weights of the mode token: {type(error).__name__} {error}") from error
    digest = 0
    for name in sorted(stored):
        digest = crc32(np.ascontiguousarray(stored[name]).tobytes(), digest)
    return TokenWeights(
        shape["hop"], shape["tilt"], shape["quiet"], groups, looks, last, trust, digest, {"shape": shape, **metadata}
    )
