"""The speech-to-speech model without torch: its two steps in numpy, from the weights file alone.

What it says is what ``network.TorchSteps`` says, to 1e-4 of a logit. It is what serves where torch is not installed, and on one
core it is the faster of the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from duplexforge.errors import UsageError
from duplexforge.models.s2s.plain_arrays import checked
from duplexforge.models.s2s.plain_decoder import PlainDecoder
from duplexforge.models.s2s.plain_encoder import PlainEncoder
from duplexforge.models.s2s.plain_parts import Product
from duplexforge.models.s2s.weights import Weights

__all__ = ["PlainSteps"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class PlainSteps:
    """The model's steps over the state of ``slots``, for :class:`duplexforge.models.s2s.talk.Talk`.

    Only the slots of a mask are worked on; the others' rows of what is returned are zeros. A ModelError when ``weights``
    are not of their shape.
    """

    def __init__(self, weights: Weights, slots: int) -> None:
        if slots < 1:
            raise UsageError(f"a model wants at least one slot, not {slots}")
        arrays = checked(weights)
        self.shape, self.slots = weights.shape, slots
        self.speakers: Floats = arrays["decoder.speakers.weight"]
        self.emotions: Floats = arrays["decoder.emotions.weight"]
        self._encoder = PlainEncoder(arrays, self.shape, slots)
        self._decoder = PlainDecoder(arrays, self.shape, slots)
        self._turn = Product(arrays["turn.weight"], arrays["turn.bias"])
        self._heard, self._at = np.zeros(slots, np.int64), np.zeros(slots, np.int64)

    def hear(self, frames: Floats, mask: Mask) -> Floats:
        """Take in one chunk (slots × chunk × 320) for the slots of ``mask``; probability of the turn's end (slots)."""
        found = np.zeros(self.slots, np.float32)
        slots = np.flatnonzero(mask)
        if len(slots):
            heard = self._heard[slots]
            vectors = self._encoder.step(frames[slots], slots, heard)
            self._decoder.remember(vectors, slots, heard)
            self._heard[slots] = heard + self.shape.chunk
            # By the hyperbolic tangent, which cannot run over.
            found[slots] = 0.5 + 0.5 * np.tanh(0.5 * self._turn(vectors[:, -1])[:, 0])
        return found

    def begin(self, mask: Mask, speaker: Floats, emotion: Floats) -> None:
        """Let the slots of ``mask`` begin an answer in the voices and emotions (slots × width, as vectors)."""
        slots = np.flatnonzero(mask)
        self._decoder.begin(slots, speaker[slots] + emotion[slots])
        self._at[slots] = 0

    def speak(self, text: Ints, audio: Ints, mask: Mask) -> tuple[Floats, Floats]:
        """One step of the slots of ``mask``: logits (slots × vocabulary; slots × books × entries)."""
        shape = self.shape
        said = np.zeros((self.slots, shape.vocabulary), np.float32)
        sound = np.zeros((self.slots, shape.books, shape.entries), np.float32)
        slots = np.flatnonzero(mask)
        if len(slots):
            at = np.minimum(self._at[slots], shape.steps - 1)
            found = self._decoder.step(text[slots], audio[slots], slots, at=at, known=self._heard[slots])
            said[slots], sound[slots] = found
            self._at[slots] += 1
        return said, sound

    def reset(self, mask: Mask) -> None:
        """Start the slots of ``mask`` afresh: nothing heard, nothing said."""
        slots = np.flatnonzero(mask)
        self._encoder.reset(slots)
        self._heard[slots] = self._at[slots] = 0
