"""Encoder and decoder as one network, over whole turns for training and chunk by chunk, step by step for serving.

``hear`` and ``speak`` take everything as tensors of fixed shape and give everything back: they can be exported, captured in a
CUDA graph and run over slots that started at different times. :class:`TorchSteps` holds that state for a loop
(:mod:`duplexforge.models.s2s.talk`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from duplexforge.models.s2s.decoder import Decoder, Memory, Said
from duplexforge.models.s2s.encoder import Encoder, Past
from duplexforge.models.s2s.graphs import Captured
from duplexforge.models.s2s.shape import Shape

__all__ = ["Network", "Outcome", "TorchSteps"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Outcome(NamedTuple):
    """What the network makes of whole turns."""

    text: Tensor
    """Logits, batch × steps × vocabulary."""
    said: Tensor
    """The decoder's vectors, batch × steps × width; ``decoder.sounds`` makes the audio's logits of them."""
    turn: Tensor
    """Logits, batch × frames: whether the user has ended and an answer is due."""
    heard: Tensor
    """The encoder's vectors, batch × frames × width."""


class Network(nn.Module):  # type: ignore[misc]
    """The whole model."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.decoder = Encoder(shape, dropout), Decoder(shape, dropout)
        self.turn = nn.Linear(shape.width, 1)

    def forward(
        self, frames: Tensor, text: Tensor, audio: Tensor, *, speaker: Tensor, emotion: Tensor, seen: Tensor
    ) -> Outcome:
        """Whole turns: the user's ``frames`` (batch × frames × 320), and ``text`` and ``audio`` as said one step before.

        ``speaker`` and ``emotion`` are numbers (int64[batch]); ``seen`` is as in ``Decoder.forward``.
        """
        heard = self.encoder(frames)
        styles = self.decoder.styles(self.decoder.speakers(speaker), self.decoder.emotions(emotion))
        said = self.decoder(text, audio, styles, heard, seen)
        return Outcome(self.decoder.say(said), said, self.turn(heard)[..., 0], heard)

    def hear(self, frames: Tensor, past: Past, memory: Memory) -> tuple[Tensor, Past, Memory]:
        """One chunk of every slot (slots × chunk × 320): logits of the turn's end (slots), and the states after it."""
        heard, past = self.encoder.step(frames, past)
        return self.turn(heard[:, -1])[:, 0], past, self.decoder.remember(heard, memory)

    def speak(
        self, text: Tensor, audio: Tensor, at: Tensor, *, styles: Tensor, said: Said, memory: Memory
    ) -> tuple[Tensor, Tensor, Said]:
        """One step of every slot; see ``Decoder.step``."""
        return self.decoder.step(text, audio, at, styles=styles, said=said, memory=memory)


class TorchSteps:
    """The network's two steps over the state of ``slots``, for :class:`duplexforge.models.s2s.talk.Talk`.

    With ``graphs``, on a GPU, a step of the decoder is recorded once and replayed.
    """

    def __init__(self, network: Network, slots: int, *, graphs: bool = False) -> None:
        self._network, self.shape, self.slots = network.eval(), network.shape, slots
        self._device = next(network.parameters()).device
        self.speakers: Floats = network.decoder.speakers.weight.detach().float().cpu().numpy()
        self.emotions: Floats = network.decoder.emotions.weight.detach().float().cpu().numpy()
        self._past = network.encoder.fresh(slots, self._device)
        self._said, self._memory = network.decoder.fresh(slots, self._device)
        self._at = torch.zeros(slots, dtype=torch.int64, device=self._device)
        sizes = (self.shape.decoder_layers, slots, 2 * self.shape.width)
        self._styles = torch.zeros(sizes, device=self._device)
        self._captured: Captured | None = None
        if graphs:
            row = torch.zeros(slots, self.shape.books, dtype=torch.int64, device=self._device)
            state = (self._styles, *self._said, *self._memory)
            with torch.inference_mode():
                self._captured = Captured(self._flat, row[:, 0], row, self._at, *state)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def hear(self, frames: Floats, mask: Mask) -> Floats:
        """Take in one chunk (slots × chunk × 320) for the slots of ``mask``; probability of the turn's end (slots)."""
        logits, past, memory = self._network.hear(self._tensor(frames), self._past, self._memory)
        chosen = self._tensor(mask)
        self._past = Past(*_where(chosen, past, self._past))
        self._memory = Memory(*_where(chosen, memory, self._memory))
        found: Floats = torch.sigmoid(logits).cpu().numpy()
        return found

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def begin(self, mask: Mask, speaker: Floats, emotion: Floats) -> None:
        """Let the slots of ``mask`` begin an answer in the voices and emotions (slots × width, as vectors)."""
        chosen = self._tensor(mask)
        styles = self._network.decoder.styles(self._tensor(speaker), self._tensor(emotion))
        self._styles = torch.where(chosen[:, None], styles, self._styles)
        # The cache needs no clearing: a step sees no place that its own answer has not written.
        self._at = torch.where(chosen, 0, self._at)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def speak(self, text: Ints, audio: Ints, mask: Mask) -> tuple[Floats, Floats]:
        """One step of the slots of ``mask``: logits (slots × vocabulary; slots × books × entries)."""
        chosen = self._tensor(mask)
        at = self._at.clamp_max(self.shape.steps - 1)
        step = self._captured or self._flat
        given = (self._tensor(text), self._tensor(audio), at, self._styles, *self._said, *self._memory)
        said, sound, *after = step(*given)
        self._said = Said(*_where(chosen, tuple(after), self._said))
        self._at = self._at + chosen
        return said.cpu().numpy(), sound.cpu().numpy()

    def _flat(self, text: Tensor, audio: Tensor, at: Tensor, styles: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The decoder's step with tensors alone on both sides."""
        said, memory = Said(*state[:2]), Memory(*state[2:])
        found, sound, after = self._network.speak(text, audio, at, styles=styles, said=said, memory=memory)
        return (found, sound, *after)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def reset(self, mask: Mask) -> None:
        """Start the slots of ``mask`` afresh: nothing heard, nothing said."""
        chosen = self._tensor(mask)
        said, memory = self._network.decoder.fresh(self.slots, self._device)
        self._past = Past(*_where(chosen, self._network.encoder.fresh(self.slots, self._device), self._past))
        self._said, self._memory = (
            Said(*_where(chosen, said, self._said)),
            Memory(*_where(chosen, memory, self._memory)),
        )
        self._at = torch.where(chosen, 0, self._at)

    def _tensor(self, values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(self._device)


def _where(mask: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> list[Tensor]:
    """``new`` for the slots of ``mask``, ``old`` for the others; slots are the second axis, or the only one."""
    return [
        torch.where(mask.view(-1, *[1] * (one.dim() - 2)) if one.dim() > 1 else mask, one, other)
        for one, other in zip(new, old, strict=True)
    ]
