"""The model's steps by onnxruntime, from a folder of exported graphs; torch is not needed.

The caches are this side's arrays, which the graphs read where they lie: a step gives back only what is new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ModelError, UsageError
from duplexforge.models.s2s import onnx_names as names
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.vocabulary import Vocabulary

__all__ = ["OnnxSteps"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class OnnxSteps:
    """The steps over the state of ``slots``, for :class:`duplexforge.models.s2s.talk.Talk`.

    Only the slots of a mask are worked on; the others' rows of what is returned are zeros. A ModelError when ``folder``
    holds no graphs or onnxruntime is missing.
    """

    def __init__(self, folder: Path, slots: int, *, threads: int = 1) -> None:
        if slots < 1:
            raise UsageError(f"a model wants at least one slot, not {slots}")
        tables = files.read(_there(folder / names.TABLES))
        self.shape, self.slots = tables.shape, slots
        self.vocabulary: Vocabulary = tables.vocabulary
        self._text, self._audio, self.speakers, self.emotions = (tables.arrays[name] for name in names.TABLE_NAMES)
        self._offsets = np.arange(self.shape.books) * (self.shape.entries + 1)
        self._hear, self._begin, self._speak = (
            _session(_there(folder / name), threads) for name in (names.HEAR, names.BEGIN, names.SPEAK)
        )
        self._heard, self._at = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        shape, size = self.shape, self.shape.width // self.shape.heads
        past = (shape.encoder_layers, slots, shape.heads, shape.left, size)
        sounds = (shape.encoder_layers, slots, shape.width, shape.kernel - 1)
        self._past = tuple(np.zeros(one, np.float32) for one in (past, past, sounds))
        self._styles = np.zeros((shape.decoder_layers, slots, 2 * shape.width), np.float32)
        layers = (shape.decoder_layers, slots, shape.heads)
        self._own_keys, self._own_values = (
            np.zeros((*layers, *one), np.float32) for one in ((size, shape.steps), (shape.steps, size))
        )
        self._memory_keys, self._memory_values = (
            np.zeros((*layers, *one), np.float32) for one in ((size, shape.memory), (shape.memory, size))
        )

    def hear(self, frames: Floats, mask: Mask) -> Floats:
        """Take in one chunk (slots × chunk × 320) for the slots of ``mask``; probability of the turn's end (slots)."""
        found = np.zeros(self.slots, np.float32)
        slots = np.flatnonzero(mask)
        if not len(slots):
            return found
        keys, values, sounds = (_rows(one, slots, axis=1) for one in self._past)
        heard, chunk = self._heard[slots], self.shape.chunk
        given = {"frames": frames[slots], "keys": keys, "values": values, "sounds": sounds, "heard": heard}
        turn, *after, seen, told = self._hear.run(list(names.HEARD), given)
        for kept, new in zip(self._past, after, strict=True):
            kept[:, slots] = new
        for row, slot in enumerate(slots):
            # A ring: cross-attention knows no order but what the vectors tell.
            first = heard[row] % self.shape.memory
            self._memory_keys[:, slot, ..., first : first + chunk] = seen[:, row]
            self._memory_values[:, slot, :, first : first + chunk] = told[:, row]
        self._heard[slots] = heard + chunk
        found[slots] = 0.5 + 0.5 * np.tanh(0.5 * turn)
        return found

    def begin(self, mask: Mask, speaker: Floats, emotion: Floats) -> None:
        """Let the slots of ``mask`` begin an answer in the voices and emotions (slots × width, as vectors)."""
        slots = np.flatnonzero(mask)
        if len(slots):
            given = {"speaker": speaker[slots], "emotion": emotion[slots]}
            self._styles[:, slots] = self._begin.run(list(names.STYLES), given)[0]
            self._at[slots] = 0

    def speak(self, text: Ints, audio: Ints, mask: Mask) -> tuple[Floats, Floats]:
        """One step of the slots of ``mask``: logits (slots × vocabulary; slots × books × entries)."""
        shape = self.shape
        said = np.zeros((self.slots, shape.vocabulary), np.float32)
        sound = np.zeros((self.slots, shape.books, shape.entries), np.float32)
        slots = np.flatnonzero(mask)
        if not len(slots):
            return said, sound
        at = np.minimum(self._at[slots], shape.steps - 1)
        entered = self._text[text[slots]] + self._audio[audio[slots] + self._offsets].sum(axis=1)
        given = {"entered": entered, "at": at, "known": self._heard[slots]}
        given["styles"] = _rows(self._styles, slots, axis=1)
        caches = (self._own_keys, self._own_values, self._memory_keys, self._memory_values)
        layered = (cache[layer] for layer in range(shape.decoder_layers) for cache in caches)
        given |= {
            name: _rows(cache, slots, axis=0) for name, cache in zip(names.cache_names(shape), layered, strict=True)
        }
        said[slots], sound[slots], keys, values = self._speak.run(list(names.SPOKEN), given)
        # An index on either side of a slice puts the slots first.
        self._own_keys[:, slots, :, :, at] = keys.swapaxes(0, 1)
        self._own_values[:, slots, :, at] = values.swapaxes(0, 1)
        self._at[slots] += 1
        return said, sound

    def reset(self, mask: Mask) -> None:
        """Start the slots of ``mask`` afresh: nothing heard, nothing said."""
        slots = np.flatnonzero(mask)
        for kept in (*self._past, self._memory_keys, self._memory_values):
            kept[:, slots] = 0
        self._heard[slots] = self._at[slots] = 0


def _rows(array: Floats, slots: Ints, *, axis: int) -> Floats:
    """The rows of ``slots``: the array itself when they are all of it, since caches are large."""
    return array if len(slots) == array.shape[axis] else np.take(array, slots, axis=axis)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(
            f"there is no {path.name} in {path.parent}: duplexforge train export-onnx writes such a folder"
        )
    return path


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("the engine onnx wants onnxruntime: pip install duplexforge[cpu]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # what broken files raise is the library's affair
        raise ModelError(f"{path} is no graph that onnxruntime can run: {type(error).__name__}") from error
