"""Figures on held-out windows: loss and accuracy of text and of silence, and when the model would take the floor.

All are teacher-forced: the model hears the window, has said what the agent said, and is asked for the next token. The first
token of each chunk decides who has the floor. Sums add up over windows and processes, so nothing depends on who read what.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["NAMES", "figures", "sums"]

NAMES = (
    "text_loss", "text", "text_right", "silence_loss", "silence", "silence_right",
    "starts", "started", "waits", "barged", "stops", "stopped",
)  # fmt: skip
"""Of :func:`sums`: losses and counts of text and silence tokens, then chunks in which the agent starts to speak (and the
model would), waits (and it would speak), falls silent after speaking (and it would)."""


def sums(batch: Mapping[str, Tensor], losses: Tensor, said: Tensor, silence: int) -> Tensor:
    """float64[12] after :data:`NAMES`, of a batch and what the learner makes of it."""
    labels = batch["labels"][:, 1:]
    asked = labels != -100
    wanted = labels[asked]
    silent = wanted == silence
    right = said == wanted
    text = [(losses * ~silent).sum(), (~silent).sum(), (right & ~silent).sum()]
    quiet = [(losses * silent).sum(), silent.sum(), (right & silent).sum()]
    # What follows sound is a chunk's first token.
    first = asked & (batch["labels"][:, :-1] == -100)
    row = first.nonzero()[:, 0]
    speaks = labels[first] != silence
    would = said[first[asked]] != silence
    before = torch.zeros_like(speaks)
    # Each row starts in silence; its chunks stand one after the other.
    before[1:] = speaks[:-1] & (row[1:] == row[:-1])
    floor = []
    for chunks, answer in ((speaks & ~before, would), (~speaks & ~before, would), (~speaks & before, ~would)):
        floor += [chunks.sum(), (chunks & answer).sum()]
    return torch.stack([one.double() for one in (*text, *quiet, *floor)])


def figures(split: str, total: Tensor, silence_weight: float) -> dict[str, float]:
    """Figures of ``split`` by name; one that has nothing to be measured on is left out.

    ``loss`` weighs silence as training does. ``takeover`` is the share of chunks in which the agent starts to speak and
    the model would, ``false_takeover`` of those in which it waits and the model would speak, ``yield`` of those in which
    it falls silent and the model would.
    """
    found = dict(zip(NAMES, total.tolist(), strict=True))
    weight = found["text"] + silence_weight * found["silence"]
    shares = {
        "loss": (found["text_loss"] + silence_weight * found["silence_loss"], weight),
        "text_loss": (found["text_loss"], found["text"]),
        "silence_loss": (found["silence_loss"], found["silence"]),
        "text_accuracy": (found["text_right"], found["text"]),
        "silence_accuracy": (found["silence_right"], found["silence"]),
        "takeover": (found["started"], found["starts"]),
        "false_takeover": (found["barged"], found["waits"]),
        "yield": (found["stopped"], found["stops"]),
    }
    return {f"{split}/{name}": part / whole for name, (part, whole) in shares.items() if whole}
