"""Small models, and steps without a network, made on the spot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.vocabulary import END, PAD

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SMALL = Shape(
    width=16,
    heads=2,
    encoder_layers=2,
    decoder_layers=2,
    encoder_inner=24,
    decoder_inner=20,
    kernel=3,
    chunk=2,
    left=4,
    memory=12,
    steps=24,
    books=2,
    entries=8,
    vocabulary=12,
    speakers=2,
    emotions=3,
    lead=2,
)


def network(shape: Shape = SMALL, seed: int = 0) -> Any:
    """A network with weights large enough that everything in it matters."""
    import torch

    from duplexforge.models.s2s.network import Network

    # Products this small only wait for each other on several threads.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    made = Network(shape)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "style" in name or "bias" in name:
                parameter.normal_(0, 0.3)
    return made.eval()


class Scripted:
    """Steps that say ``pieces`` and then end after ``frames`` of audio; the books repeat what was heard first."""

    def __init__(self, shape: Shape, slots: int, pieces: tuple[int, ...] = (5, 6), frames: int = 3) -> None:
        self.shape, self.slots, self._pieces, self._frames = shape, slots, pieces, frames
        self.speakers = np.eye(shape.speakers, shape.width, dtype=np.float32)
        self.emotions = np.eye(shape.emotions, shape.width, dtype=np.float32)
        self.at = np.zeros(slots, np.int64)
        self.heard = np.zeros(slots, np.int64)
        self.first = np.zeros(slots, np.int64)
        self.taken: list[tuple[Ints, Ints]] = []

    def hear(self, frames: Floats, mask: Mask) -> Floats:
        self.first = np.where(mask & (self.heard == 0), frames[:, 0, 0].astype(np.int64), self.first)
        self.heard += np.where(mask, self.shape.chunk, 0)
        return (self.heard / 10).astype(np.float32)

    def begin(self, mask: Mask, speaker: Floats, emotion: Floats) -> None:
        self.at[mask] = 0

    def speak(self, text: Ints, audio: Ints, mask: Mask) -> tuple[Floats, Floats]:
        self.taken.append((text.copy(), audio.copy()))
        said = np.zeros((self.slots, self.shape.vocabulary), np.float32)
        sound = np.zeros((self.slots, self.shape.books, self.shape.entries), np.float32)
        for slot in np.flatnonzero(mask):
            step = int(self.at[slot])
            piece = self._pieces[step] if step < len(self._pieces) else PAD
            said[slot, END if step >= self._frames + self.shape.lead else piece] = 9
            sound[slot, :, int(self.first[slot])] = 9
        self.at += mask
        return said, sound

    def reset(self, mask: Mask) -> None:
        self.heard[mask] = self.at[mask] = self.first[mask] = 0
