"""The weights of the mode token as arrays, and the arithmetic on them that needs no torch.

Every function here mirrors one of :mod:`duplexforge.models.token_model`, which trains them; a test holds the two together.
Arrays have the voices (slots), or the sums that the search still keeps, first.
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
from duplexforge.models.envelope import PACKET, members
from duplexforge.models.lapped import basis
from duplexforge.models.periods import continued

__all__ = ["FLOOR", "PAST", "Book", "Floats", "Look", "TokenWeights", "load", "read"]

Floats = npt.NDArray[np.float32]

FLOOR = np.float32(1e-3)
PAST = 8
_BLOCK = 256
_LEAST, _MOST = np.float32(-7.5), np.float32(3.0)


@dataclass(frozen=True)
class Book:
    """One book (entries × size), and the table that its search is a product with: squares over −2 × entries, transposed.

    The table lies in blocks of entries (blocks × 2·size × entries a block), as one product for a whole book would be large
    enough for a BLAS to share it out over threads, which costs far more than it saves.
    """

    vectors: Floats
    table: Floats

    @classmethod
    def of(cls, vectors: Floats) -> Book:
        """The book of ``vectors``."""
        both = np.concatenate([vectors * vectors, -2 * vectors], axis=1)
        block = min(_BLOCK, len(both))
        block = block if len(both) % block == 0 else len(both)
        return cls(vectors, np.ascontiguousarray(both.reshape(-1, block, both.shape[1]).transpose(0, 2, 1)))

    def costs(self, weights: Floats, weighted: Floats) -> Floats:
        """What each entry adds to the weighted error, less than 0 where it helps: blocks × n × entries a block.

        ``weights`` (n × size) are those of the errors, ``weighted`` the values to be coded times them.
        """
        costs: Floats = np.concatenate([weights, weighted], axis=1) @ self.table
        return costs


@dataclass(frozen=True)
class Look:
    """A small network from what is seen (5·hop) to one number for every coefficient (hop).

    What it sees of the past stays the same while the books of a frame are searched, so it is taken in first and by itself.
    ``past`` and ``now`` lead to the hidden numbers and, past them, straight to the outcome.
    """

    past: Floats
    now: Floats
    bias: Floats
    second: tuple[Floats, Floats]
    last: Floats

    @classmethod
    def of(cls, arrays: dict[str, Floats], name: str, hop: int) -> Look:
        """The network that the weights file keeps under ``name``."""
        both = np.concatenate([arrays[f"{name}.inner.0.weight"], arrays[f"{name}.straight.weight"]]).T
        bias = np.concatenate([arrays[f"{name}.inner.0.bias"], arrays[f"{name}.outer.bias"]])
        second, last = (np.ascontiguousarray(arrays[f"{name}.{layer}.weight"].T) for layer in ("inner.2", "outer"))
        past, now = (np.ascontiguousarray(part) for part in (both[: 3 * hop], both[3 * hop :]))
        return cls(past, now, bias, (second, arrays[f"{name}.inner.2.bias"]), last)

    def __call__(self, past: Floats, now: Floats) -> Floats:
        """The numbers (n × hop) for what is seen of the past (1 or n × 3·hop) and of what is coded (n × 2·hop)."""
        mixed = now @ self.now + (past @ self.past + self.bias)
        hidden = _silu(mixed[:, : len(self.last)])
        hidden = _silu(hidden @ self.second[0] + self.second[1])
        out: Floats = hidden @ self.last + mixed[:, len(self.last) :]
        return out


@dataclass(frozen=True)
class TokenWeights:
    """Everything the codec needs: books by group, a network before each, the filter, the table of trust, how errors weigh.

    ``gains`` are the books of the packet's loudness (:mod:`duplexforge.models.envelope`), one for each of its frames.
    """

    hop: int
    tilt: float
    quiet: float
    bands: int
    groups: tuple[tuple[Book, ...], ...]
    gains: tuple[Book, ...]
    looks: tuple[Look, ...]
    filter: Look
    trust: Floats
    digest: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def books(self) -> int:
        """Books of the wave, hence codes of it, a frame."""
        return sum(len(group) for group in self.groups)

    def weigh(self, frames: Floats) -> Floats:
        """How much the error of each coefficient counts in the search (n × hop), from the true ``frames``."""
        power = frames * frames
        level = power.mean(axis=1, keepdims=True) + FLOOR**2
        spectrum = (power @ _near(self.hop) + FLOOR**2) / level
        weights: Floats = spectrum ** np.float32(-self.tilt) * level ** np.float32(-self.quiet)
        return weights

    def expected(self, history: Floats) -> Floats:
        """What a frame (hop) will be like, from the wave decoded before it (HISTORY)."""
        made, row = continued(history, 2 * self.hop)
        frame: Floats = basis(self.hop) @ made * self.trust[row]
        return frame

    def sizes(self, number: int, past: Floats, coded: Floats) -> Floats:
        """How large each coefficient of what is left before group ``number`` will be (n × hop).

        ``past`` is what ``seen_past`` gives, ``coded`` (n × hop) what the books before have said.
        """
        raw = self.looks[number](past, self._seen(coded)) - np.float32(2.5)
        sizes: Floats = np.exp(np.minimum(np.maximum(raw, _LEAST), _MOST))
        return sizes

    def filtered(self, past: Floats, coded: Floats) -> Floats:
        """The frames (n × hop) with every coefficient's size corrected."""
        out: Floats = coded * np.exp(np.tanh(self.filter(past, self._seen(coded))))
        return out

    def seen_past(self, frames: Floats) -> Floats:
        """What the networks see of the frames before (n × PAST × hop): n × 3·hop."""
        power = frames * frames
        logs = np.log(power + FLOOR**2)
        recent = np.log((power[:, -2] + power[:, -1]) @ _near(self.hop) * np.float32(0.5) + FLOOR**2)
        return _level(np.concatenate([logs[:, -1], logs.mean(axis=1), recent], axis=1))

    def _seen(self, coded: Floats) -> Floats:
        """What they see of what is coded so far (n × hop): n × 2·hop."""
        return _level(np.log((coded * coded) @ _twice(self.hop) + FLOOR**2))


def _level(logs: Floats) -> Floats:
    return logs * np.float32(0.25) + np.float32(1)


def _silu(values: Floats) -> Floats:
    # By the hyperbolic tangent, which overflows nowhere.
    half = values * np.float32(0.5)
    out: Floats = half * np.tanh(half) + half
    return out


@cache
def _near(size: int) -> Floats:
    """The matrix that takes the mean over five neighbours; the edges repeat."""
    near = np.clip(np.arange(size)[:, None] + np.arange(-2, 3), 0, size - 1)
    matrix = np.zeros((size, size), np.float32)
    np.add.at(matrix, (near, np.arange(size)[:, None]), np.float32(0.2))
    return matrix


@cache
def _twice(size: int) -> Floats:
    """The matrix that leaves coefficients as they are, and takes the mean over five beside that."""
    return np.concatenate([np.eye(size, dtype=np.float32), _near(size)], axis=1)


def _books(arrays: dict[str, Floats], name: str) -> tuple[Book, ...]:
    """The books of a group, which are stored as 8-bit numbers with a scale for every entry."""
    return tuple(Book.of(book) for book in arrays[f"{name}.vectors"] * arrays[f"{name}.scales"][..., None])


@cache
def load() -> TokenWeights:
    """The weights that come with the project; a ``ModelError`` when they are not there."""
    return read(weights_file.FOLDER / "token.safetensors")


def read(path: Path) -> TokenWeights:
    """The weights in the file at ``path``; a ``ModelError`` when it is missing, or not one of this mode."""
    stored, metadata = weights_file.read(path)
    try:
        shape = json.loads(metadata["shape"])
        hop, bands = shape["hop"], shape["bands"]
        arrays = {name: array.astype(np.float32) for name, array in stored.items()}
        groups = tuple(_books(arrays, f"books.{number}") for number in range(len(shape["groups"])))
        looks = tuple(Look.of(arrays, f"looks.{number}", hop) for number in range(len(groups)))
        gains, last, trust = _books(arrays, "gains"), Look.of(arrays, "filter", hop), arrays["trust"]
        if len(gains) * hop != PACKET or gains[0].vectors.shape[1] != len(members(hop, bands)):
            raise ValueError(
                f"books of gains for other than {PACKET // hop} frames of {len(members(hop, bands))} bands"
            )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{path} holds no weights of the mode token: {type(error).__name__} {error}") from error
    digest = 0
    for name in sorted(stored):
        digest = crc32(np.ascontiguousarray(stored[name]).tobytes(), digest)
    facts = {"shape": shape, **metadata}
    return TokenWeights(hop, shape["tilt"], shape["quiet"], bands, groups, gains, looks, last, trust, digest, facts)
