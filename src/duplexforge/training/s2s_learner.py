"""What is learned at a step of the speech-to-speech model: the losses, and the head that only training has.

The encoder is taught the question's characters by CTC beside the answer: a few hundred answers alone say too little about what
was heard, and a paraphrase that was never heard shares its characters with those that were. Source: Graves et al., 2006.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from duplexforge.models.s2s.network import Network, Outcome
from duplexforge.models.s2s.vocabulary import PAD
from duplexforge.training.recipe import Table
from duplexforge.training.s2s_batches import IGNORED, Batch

__all__ = ["Learner", "Losses"]


class Losses(Table):
    """``[losses]``: the weight of each loss."""

    text: float = Field(default=1.0, ge=0)
    pad: float = Field(default=0.2, ge=0)
    """What a step without text counts, against one with."""
    audio: float = Field(default=1.0, ge=0)
    books: tuple[float, ...] = ()
    """Weight of each book; none given: all alike."""
    audio_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the steps, drawn anew each time, whose audio is asked: logits of all books are a third of the work."""
    letters: float = Field(default=1.0, ge=0)
    turn: float = Field(default=0.1, ge=0)
    listen_steps: int = Field(default=0, ge=0)
    """First steps in which the encoder alone learns, from the question's characters: half the work of a step."""


class Learner(nn.Module):  # type: ignore[misc]
    """The network and the head over characters."""

    def __init__(self, network: Network, letters: int, losses: Losses) -> None:
        super().__init__()
        self.network, self._losses = network, losses
        self.letters = nn.Linear(network.shape.width, letters)
        books = torch.tensor(losses.books or (1.0,) * network.shape.books)
        self.register_buffer("books", books / books.sum(), persistent=False)

    def listen(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The losses of the encoder alone."""
        heard = self.network.encoder(batch.frames[:, : int(batch.frame_counts.max())])
        turn = self.network.turn(heard)[..., 0]
        return self._summed(self._heard(heard, turn, batch))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """All losses, and figures of the batch: shares of steps at which the likeliest was the right one."""
        outcome = self.run(batch)
        asked = (batch.audio_labels != IGNORED).any(dim=-1)
        if self.training and self._losses.audio_share < 1:
            asked &= torch.rand(asked.shape, device=asked.device) < self._losses.audio_share
        sounds, labels = self.network.decoder.sounds(outcome.said[asked]).float(), batch.audio_labels[asked]
        parts = self._heard(outcome.heard, outcome.turn, batch)
        parts |= {"text": self._text(outcome, batch), "audio": self._audio(sounds, labels)}
        total, figures = self._summed(parts)
        return total, figures | _hits(outcome.text, batch.text_labels, sounds, labels)

    def run(self, batch: Batch) -> Outcome:
        """What the network makes of ``batch``."""
        found: Outcome = self.network(
            batch.frames, batch.text, batch.audio, speaker=batch.speaker, emotion=batch.emotion, seen=batch.seen
        )
        return found

    def _heard(self, heard: Tensor, turn: Tensor, batch: Batch) -> dict[str, Tensor]:
        counts = batch.letter_counts.clamp_max(heard.shape[1])
        logs = F.log_softmax(self.letters(heard).float(), dim=-1).transpose(0, 1)
        ctc = F.ctc_loss(logs, batch.letters, batch.frame_counts, counts, reduction="none", zero_infinity=True)
        asked = batch.turns[:, : turn.shape[1]]
        wanted = asked != IGNORED
        turns = F.binary_cross_entropy_with_logits(turn.float()[wanted], asked[wanted])
        return {
            "letters": self._losses.letters * (ctc / counts.clamp_min(1) * (counts > 0)).mean(),
            "turn": self._losses.turn * turns,
        }

    def _text(self, outcome: Outcome, batch: Batch) -> Tensor:
        labels = batch.text_labels.flatten()
        each = F.cross_entropy(outcome.text.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="none")
        weights = torch.where(labels == PAD, self._losses.pad, 1.0) * (labels != IGNORED)
        found: Tensor = self._losses.text * (each * weights).sum() / weights.sum().clamp_min(1e-6)
        return found

    def _audio(self, sounds: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (steps × books × entries) against labels (steps × books), by the books' weights."""
        each = F.cross_entropy(sounds.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        wanted = labels != IGNORED
        books = each.view_as(labels).sum(dim=0) / wanted.sum(dim=0).clamp_min(1)
        return self._losses.audio * (books * self.books).sum()

    @staticmethod
    def _summed(parts: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return torch.stack(list(parts.values())).sum(), {
            f"loss/{name}": float(one.detach()) for name, one in parts.items()
        }


def _hits(text: Tensor, labels: Tensor, sounds: Tensor, audio: Tensor) -> dict[str, float]:
    with torch.no_grad():
        asked = (labels != IGNORED) & (labels != PAD)
        found = {"hits/text": float((text.argmax(-1) == labels)[asked].float().mean())}
        right, wanted = sounds.argmax(-1) == audio, audio != IGNORED
        for book in range(right.shape[-1]):
            found[f"hits/book{book}"] = float(right[:, book][wanted[:, book]].float().mean())
        return found
