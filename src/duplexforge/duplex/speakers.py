"""Whose voice it is, as 192 numbers: speaker embeddings of a track, by an engine that is named.

``none`` measures nothing; the column is then null and the side is flagged, for zeros would look like a voice.
``onnx:<path>`` runs a speaker network on the CPU, one thread (so that numbers do not depend on the machine's cores).
``<path>.safetensors`` runs the weights that ``duplexforge train speakers`` exports, with numpy alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from duplexforge.duplex.corpus import Audio, Samples, Track, Utterance
from duplexforge.duplex.fbank import BANDS, HOP, RATE, WINDOW, Taper, fbank
from duplexforge.errors import ConfigError, ModelError
from duplexforge.loading.schema import EMBEDDING_SIZE
from duplexforge.models import speakers

__all__ = ["Embedder", "embed_track", "load_embedder", "voice_of"]

Embedding = npt.NDArray[np.float32]

# No network tells a voice by less than a second of it.
_LEAST_SECONDS = 1.0
_MOST_SECONDS = 60.0
# Samples that are all below the last of 16 bits are silence.
_SILENT = 1.0 / 32768.0
_OWN = ".safetensors"


class Embedder(Protocol):
    """An engine. ``name`` goes into the data set and names engine and weights, no place."""

    name: str

    def embed(self, samples_16k: Samples) -> Embedding | None:
        """float32[192] of unit length for 16 kHz speech in ±1; None when there is too little to hear."""
        ...


def load_embedder(name: str) -> Embedder:
    """The engine of that name: ``none``, ``onnx:<path>`` or ``<path>.safetensors``.

    ModelError when the file is absent or no network, ConfigError when it is another kind of network, when onnxruntime is
    not installed, and for any other name.
    """
    engine, _, path = name.partition(":")
    if engine == "none" and not path:
        return _None()
    if engine == "onnx" and path:
        return _Onnx(Path(path))
    if name.endswith(_OWN):
        return _Own(Path(name))
    raise ConfigError(
        f"{name!r} is no speaker engine: none, onnx:<path of a speaker network>, or <path>{_OWN} of train speakers"
    )


def embed_track(embedder: Embedder, track: Track) -> Embedding | None:
    """The voice of a track's speaker, heard where they speak; None when nobody measures it or too little is said."""
    return None if isinstance(embedder, _None) else embedder.embed(voice_of(track.audio, track.utterances))


def voice_of(audio: Audio, utterances: Iterable[Utterance], seconds: float = _MOST_SECONDS) -> Samples:
    """The samples at 16 kHz of the longest utterances, up to ``seconds`` of them, in order of time; no more is held."""
    spans = _longest(utterances, round(seconds * RATE))
    parts: list[Samples] = [np.zeros(0, np.float32)]
    start = 0
    for block in audio.blocks(RATE) if spans else ():
        end = start + len(block)
        # A copy: a slice would keep its whole block alive.
        parts += [block[max(a - start, 0) : b - start].copy() for a, b in spans if a < end and b > start]
        start = end
        if start >= spans[-1][1]:
            break
    return np.concatenate(parts)


def _longest(utterances: Iterable[Utterance], most: int) -> list[tuple[int, int]]:
    """Spans in samples that do not overlap, sorted; the last that fits is cut."""
    spans = [(round(one.start * RATE), round(one.end * RATE)) for one in utterances]
    spans.sort(key=lambda span: (span[0] - span[1], span))
    chosen: list[tuple[int, int]] = []
    for start, end in spans:
        if most <= 0:
            break
        if all(end <= other[0] or start >= other[1] for other in chosen):
            chosen.append((start, min(end, start + most)))
            most -= chosen[-1][1] - start
    return sorted(chosen)


class _None:
    """Measures nothing."""

    name = "none"

    def embed(self, samples_16k: Samples) -> Embedding | None:  # noqa: ARG002
        return None


class _Onnx:
    """A network from filter bank [1, frames, 80] to [1, 192], as WeSpeaker and 3D-Speaker export them.

    Both take the bank freed of its mean. They differ in scale and window: WeSpeaker's networks (input ``feats``) were
    trained on 16-bit numbers under Hamming windows, 3D-Speaker's (input ``feature``) on ±1 under Povey's.
    """

    def __init__(self, path: Path) -> None:
        self._session = _opened(path)
        (self._input, *others), (self._output, *_) = self._session.get_inputs(), self._session.get_outputs()
        small = self._input.name == "feature"
        self._scale = np.float32(1.0 if small else 32768.0)
        self._taper: Taper = "povey" if small else "hamming"
        if others:
            raise ConfigError(f"{path.name} is no speaker network: it has {len(others) + 1} inputs instead of one")
        self._check(path)
        self.name = f"onnx:{_told(path)}"

    def embed(self, samples_16k: Samples) -> Embedding | None:
        heard = _heard(samples_16k)
        if heard is None:
            return None
        features = fbank(heard * self._scale, self._taper)
        return _unit(self._run((features - features.mean(axis=0))[None])[0])

    def _run(self, features: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        answer: npt.NDArray[Any] = self._session.run([self._output.name], {self._input.name: features})[0]
        return answer

    def _check(self, path: Path) -> None:
        """Refuse by a trial what would otherwise fail, or mislead, at the first voice."""
        try:
            shape = self._run(np.zeros((1, 1 + (2 * RATE - WINDOW) // HOP, BANDS), np.float32)).shape
        except Exception as error:
            first = str(error).splitlines()[0][:200]
            raise ConfigError(f"{path.name} does not take a filter bank of [1, frames, {BANDS}]: {first}") from error
        if shape != (1, EMBEDDING_SIZE):
            raise ConfigError(f"{path.name} makes {list(shape)} of a voice, a data set holds [1, {EMBEDDING_SIZE}]")


class _Own:
    """The encoder of :mod:`duplexforge.models.speakers`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"there is no speaker encoder at {path}")
        self._encoder = speakers.read(path)
        self.name = f"speakers:{_told(path)}"

    def embed(self, samples_16k: Samples) -> Embedding | None:
        heard = _heard(samples_16k)
        return None if heard is None else _unit(self._encoder.embed(heard))


def _told(path: Path) -> str:
    """The weights at ``path`` by their name and what they are."""
    return f"{path.name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _heard(samples: Samples) -> Samples | None:
    """``samples`` with silence for what is no number; None when there is too little to tell a voice by."""
    heard = np.where(np.isfinite(samples), samples, np.float32(0.0))
    return None if len(heard) < _LEAST_SECONDS * RATE or np.abs(heard).max() < _SILENT else heard


def _unit(found: npt.NDArray[Any]) -> Embedding | None:
    """``found`` made 1 long. What a network makes of odd input may be no direction at all; then nothing was measured."""
    wide = found.astype(np.float64)
    length = float(np.linalg.norm(wide))
    return (wide / length).astype(np.float32) if np.isfinite(length) and length > 0 else None


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"there is no speaker network at {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("onnx: wants onnxruntime: pip install -c requirements.txt 'duplexforge[cpu]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        # Named always: onnxruntime's own first choice may be a provider that sends audio elsewhere.
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{path.name} is not an ONNX network that can be loaded") from error
