"""Reads pairs of question and answer (``duplexforge data dialogues``), and what the model hears and says of them.

The pairs' files name audio beside them. What is slow about a pair, its features and the codec's tokens, is made once and
kept in ``.s2s`` in the same folder, under a name that follows from the pairs and the codec: other pairs or another codec
find nothing there and make their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from duplexforge import log
from duplexforge.errors import InputError
from duplexforge.models.s2s.features import RATE, log_mel

__all__ = ["SPLITS", "Pair", "Prepared", "Speaks", "Word", "prepared", "read_pairs"]

SPLITS = ("train", "validation")
_KEPT = ".s2s"
# Counts up when features are made in another way, so that no kept ones of the old way are found.
_VERSION = 1
_log = log.get("train")

Floats = npt.NDArray[np.float32]


class Speaks(Protocol):
    """What is wanted of the codec."""

    books: int
    entries: int
    weights: int

    def tokens(self, wave: Floats) -> npt.NDArray[np.int16]:
        """Tokens (frames × books, 25 Hz) of a wave at 16 kHz."""
        ...


class Word(BaseModel):
    """A word of an answer and when it is said (seconds)."""

    model_config = ConfigDict(frozen=True)

    word: str
    start: float = Field(ge=0, allow_inf_nan=False)
    end: float = Field(ge=0, allow_inf_nan=False)


class Pair(BaseModel):
    """One line of dialogue: somebody asks, one of the voices answers."""

    model_config = ConfigDict(frozen=True)

    input_path: str
    target_path: str
    speaker_id: int = Field(ge=0)
    emotion_id: int = Field(ge=0)
    language: str = "unknown"
    intent: str = ""
    question: str = ""
    """What is asked; without it the pair teaches no letters."""
    answer: str = ""
    words: tuple[Word, ...] = ()
    """The answer's words in time; without them the text is said as early as it can be."""

    held_out: str = ""
    """What of the pair training has not: the wording, the voice that asks, both."""

    @property
    def timed(self) -> list[tuple[float, str]]:
        """Each word of the answer with the second at which it begins."""
        if self.words:
            return [(word.start, part) for word in self.words for part in word.word.split()]
        return [(0.0, part) for part in self.answer.split()]


_PAIRS: TypeAdapter[list[Pair]] = TypeAdapter(list[Pair])


def read_pairs(folder: Path, split: str) -> list[Pair]:
    """The pairs of ``split``; InputError when there are none or one is not whole, with its place."""
    path = folder / f"{split}_pairs.json"
    try:
        pairs = _PAIRS.validate_json(path.read_bytes())
    except OSError as error:
        reason = error.strerror
        raise InputError(f"cannot read {path}: {reason}; duplexforge data dialogues makes such a folder") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path}, pair {place}: {first['msg']}") from error
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return pairs


@dataclass(frozen=True)
class Prepared:
    """What is kept: rows of features (10 ms × 80, logarithms) and tokens (40 ms × books) of every file by its path."""

    features: npt.NDArray[np.float16]
    tokens: npt.NDArray[np.int16]
    inputs: dict[str, tuple[int, int]]
    targets: dict[str, tuple[int, int]]

    def heard(self, pair: Pair) -> Floats:
        """The question's logarithms (n × 80)."""
        start, end = self.inputs[pair.input_path]
        return self.features[start:end].astype(np.float32)

    def said(self, pair: Pair) -> npt.NDArray[np.int16]:
        """The answer's tokens (frames × books)."""
        start, end = self.targets[pair.target_path]
        found: npt.NDArray[np.int16] = self.tokens[start:end]
        return found


def prepared(folder: Path, pairs: Sequence[Pair], codec: Speaks) -> Prepared:
    """The features and tokens of ``pairs``, from what is kept in ``folder`` or made now and kept."""
    place = folder / _KEPT / _name(pairs, codec)
    if not (place / "index.json").is_file():
        _make(folder, place, pairs, codec)
    index = json.loads((place / "index.json").read_bytes())
    features, tokens = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("features", "tokens"))
    inputs, targets = (
        {path: (span[0], span[1]) for path, span in index[name].items()} for name in ("inputs", "targets")
    )
    return Prepared(features, tokens, inputs, targets)


def _name(pairs: Sequence[Pair], codec: Speaks) -> str:
    paths = sorted({(pair.input_path, pair.target_path) for pair in pairs})
    # How the codec tells a fixed noise is its fingerprint: other books, other tokens.
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    said = np.asarray(codec.tokens(noise), np.int16)
    text = json.dumps([_VERSION, paths, said.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make(folder: Path, place: Path, pairs: Sequence[Pair], codec: Speaks) -> None:
    inputs, targets = (sorted({getattr(pair, name) for pair in pairs}) for name in ("input_path", "target_path"))
    _log.info("features and tokens are made once", questions=len(inputs), answers=len(targets), kept=str(place))
    temporary = place.with_suffix(f".{os.getpid()}.part")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        features, spans = _rows(folder, inputs, lambda wave: log_mel(wave).astype(np.float16))
        tokens, others = _rows(folder, targets, lambda wave: np.asarray(codec.tokens(wave), np.int16))
        np.save(temporary / "features.npy", features)
        np.save(temporary / "tokens.npy", tokens)
        (temporary / "index.json").write_text(json.dumps({"inputs": spans, "targets": others}), encoding="utf-8")
        try:
            temporary.rename(place)
        except OSError:
            # Another process of the same run was faster, with the same content.
            if not (place / "index.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rows(
    folder: Path, paths: Sequence[str], made: Callable[[Floats], npt.NDArray[Any]]
) -> tuple[npt.NDArray[Any], dict[str, tuple[int, int]]]:
    """What ``made`` gives for every file, end to end, and where each one's rows are. Equal files are looked at once."""
    rows: list[npt.NDArray[Any]] = []
    spans: dict[str, tuple[int, int]] = {}
    seen: dict[str, tuple[int, int]] = {}
    at = 0
    for path in paths:
        data = _bytes(folder, path)
        known = hashlib.sha256(data).hexdigest()
        if known not in seen:
            rows.append(made(_wave(folder / path)))
            seen[known] = (at, at + len(rows[-1]))
            at += len(rows[-1])
        spans[path] = seen[known]
    return np.concatenate(rows), spans


def _bytes(folder: Path, path: str) -> bytes:
    inside = (folder / path).resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise InputError(f"{path} leads out of {folder}")
    try:
        return inside.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {folder / path}, which a pair names: {error.strerror}") from error


def _wave(path: Path) -> Floats:
    import soundfile as sf

    try:
        wave, rate = sf.read(path, dtype="float32")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is no audio that can be read: {error}") from error
    if rate != RATE or wave.ndim != 1 or len(wave) < RATE // 25:
        raise InputError(f"{path} is not mono at {RATE} Hz or shorter than 40 ms")
    found: Floats = wave
    return found
