"""What a speech-to-speech model says about itself, and the clock that training and serving share.

Everything runs at 25 Hz. The user's frames come in chunks of ``chunk``; a *tick* takes one in. At some tick it is decided that
the turn is the model's (by a caller, or by the model's own ``turn`` output). From there the decoder says one *step* for
every 40 ms of its answer. All ``burst`` steps that the first whole audio frame wants are said in the tick of the decision,
since nobody waits for a clock to begin; then ``chunk`` steps a tick. A step sees the user's frames that were heard
by its tick, and :meth:`Shape.heard` is that rule, for the mask of training as for the loop that serves. A turn handed over
whole is the case in which no more frames come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ConfigError

__all__ = ["Shape"]


@dataclass(frozen=True)
class Shape:
    """Sizes of one model. It travels with the weights."""

    width: int = 256
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 4
    encoder_inner: int = 512
    """Width inside the encoder's feed-forward parts, of which a layer has two."""
    decoder_inner: int = 704
    kernel: int = 9
    """Frames that the encoder's convolutions see, their own included."""
    chunk: int = 2
    """Frames of the user that are taken in at once; they see each other."""
    left: int = 64
    """Frames before its chunk that the encoder's attention sees, in each layer."""
    memory: int = 256
    """The user's last frames that the decoder can see."""
    steps: int = 256
    """Most steps of an answer: the length of the static cache."""
    books: int = 4
    entries: int = 1024
    vocabulary: int = 512
    speakers: int = 4
    emotions: int = 9
    lead: int = 3
    """Steps by which the text goes ahead of the sound that it names."""

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConfigError(f"a width of {self.width} cannot be shared by {self.heads} heads in pairs")
        if min(self.chunk, self.lead, self.kernel, self.heads) < 1 or self.books < 2:
            raise ConfigError("chunk, lead, kernel and heads must be at least 1, books at least 2")
        if self.left % self.chunk or self.memory % self.chunk:
            raise ConfigError("left and memory must be whole chunks")

    @property
    def wait(self) -> int:
        """Steps before the one with which the first audio frame is whole."""
        return self.lead + self.books - 1

    @property
    def burst(self) -> int:
        """Steps in the tick of the decision."""
        return self.wait + self.chunk

    @property
    def none(self) -> int:
        """The entry that stands for no sound yet or no more; it is heard by the decoder, never said."""
        return self.entries

    def heard(self, decided: int, steps: int) -> npt.NDArray[np.int64]:
        """Frames of the user that have come by each of ``steps`` steps, when ``decided`` had come at the decision."""
        late = np.maximum(np.arange(steps) - self.burst, -1)
        return decided + self.chunk * (late // self.chunk + 1)
