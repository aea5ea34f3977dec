"""Trains Qwen3-Omni's thinker to listen and speak at once: adapters on its attention, on a duplex data set.

The model hears each chunk of the user and is asked for what the agent says in it: silence or text. Silence may weigh less
in the loss, as most chunks are silent. The weights of a step's labels are summed over all its parts and processes first,
so that a step is the same however it is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from duplexforge import log
from duplexforge.loading.collator import Collator
from duplexforge.loading.dataset import DuplexDataset
from duplexforge.models.qwen import opening
from duplexforge.training import lora_model, lora_scores
from duplexforge.training.lora_data import Ahead, Windows, collated, open_split, strangers
from duplexforge.training.lora_tables import tables
from duplexforge.training.recipe import Recipe
from duplexforge.training.trainers import Part, Place

__all__ = ["LoraTrainer"]

LORA = "lora"
Batch = dict[str, Any]
_log = log.get("train")


class LoraTrainer:
    """The trainer ``lora``."""

    def __init__(self, recipe: Recipe, place: Place) -> None:
        self._recipe, self._place = recipe, place
        self._shape, self._losses = tables(recipe)
        self._data = open_split(recipe.data.folder, "train")
        self._held: dict[str, DuplexDataset] = {}
        if not recipe.loop.overfit:
            self._held = {split: open_split(recipe.data.folder, split) for split in self._shape.evaluate}
            for data in self._held.values():
                strangers(data)
        self._total = 1.0

    # -- the verbs -----------------------------------------------------------------------------------------------------

    def build(self) -> Sequence[Part]:
        """The frozen thinker with fresh adapters; only these are the part."""
        fmt, shape, place = self._data.format, self._shape, self._place
        base = shape.base or fmt.model
        folder = opening.model_folder(base, shape.revision or (None if shape.base else fmt.revision))
        commit = opening.commit_of(folder)
        sharded = shape.shard and place.size > 1
        # A card need not hold a model that is to be spread: it comes to it layer by layer.
        device = "cpu" if sharded else place.device
        thinker = opening.load_thinker(folder, device=device, precision=shape.weights, four_bit=shape.four_bit)
        opening.check_format(folder, thinker, fmt)
        # Loading drew random numbers, by a library's leave; the adapters' start is to be the seed's alone.
        torch.manual_seed(self._recipe.seed)
        self._peft = lora_model.adapted(thinker, shape, fmt, base=base, revision=commit or shape.revision)
        if self._recipe.loop.gradient_checkpointing:
            thinker.activation_checkpointing_enable({"use_reentrant": False})
        self._learner = lora_model.Learner(thinker)
        if sharded:
            lora_model.shard(self._learner, place)
        adapters = lora_model.Adapters(self._learner)
        adapters.train()
        self._windows(thinker.config.audio_token_id)
        if commit and not shape.revision and shape.base:
            _log.warning("model.revision pins no commit: the model may be another one tomorrow", commit=commit)
        _log.info("adapters on a frozen model", base=base, commit=commit, **_counts(self._learner))
        return [Part(LORA, adapters, together=True)]

    def start(self) -> None:
        """Adapters start as nothing: the model is at first what it was."""

    def steps_per_epoch(self) -> int:
        """Steps in which each window comes once."""
        return self._recipe.loop.steps_per_epoch or self._train.per_epoch()

    def phases(self, epoch: int) -> Sequence[str]:  # noqa: ARG002 - the same in each
        """One."""
        return (LORA,)

    def batches(self, step: int) -> Sequence[Batch]:
        """Collated windows of this process, in parts."""
        parts = [self._on_device(batch) for batch in self._ahead(step)]
        weight = torch.stack([batch["loss_weights"][:, 1:].sum() for batch in parts]).sum().double()
        if self._place.size > 1:
            dist.all_reduce(weight)
        # The loop averages over parts and processes; this undoes it, as they do not weigh alike.
        self._total = max(float(weight), 1e-6) / (len(parts) * self._place.size)
        return parts

    def step(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, float]]:  # noqa: ARG002
        """The weighted loss of one part of the batch."""
        losses, _ = self._learner(batch)
        labels = batch["labels"][:, 1:]
        loss = (losses * batch["loss_weights"][:, 1:][labels != -100]).sum() / self._total
        silent = labels[labels != -100] == self._data.format.silence_token_id
        quiet = float((losses.detach() * silent).sum()) * self._losses.silence_weight / self._total
        return loss, {"loss/text": float(loss.detach()) - quiet, "loss/silence": quiet}

    def settle(self, step: int) -> bool:  # noqa: ARG002
        """Nothing is moved by hand."""
        return False

    def evaluate(self) -> Mapping[str, float]:
        """Figures of each split, read by all processes together; the score is minus the first one's loss."""
        found: dict[str, float] = {}
        if self._recipe.loop.overfit:
            parts = self.batches(0)
            total = torch.stack([self._sums(batch, *self._learner(batch)) for batch in parts]).sum(dim=0)
            found = lora_scores.figures("train", self._added(total), self._losses.silence_weight)
        for split, data in self._held.items():
            found |= lora_scores.figures(split, self._added(self._heard(data)), self._losses.silence_weight)
        first = "train" if self._recipe.loop.overfit else self._shape.evaluate[0]
        return {"score": -found[f"{first}/loss"], **found}

    def export(self, folder: Path) -> Sequence[Path]:
        """The adapter, as peft reads it."""
        return lora_model.export(self._peft, self._data.format, folder)

    # -- their parts ---------------------------------------------------------------------------------------------------

    def _windows(self, audio_token_id: int) -> None:
        self._collator = Collator(
            self._data.format,
            audio_token_id=audio_token_id,
            max_chunks=self._shape.max_chunks,
            silence_weight=self._losses.silence_weight,
        )
        loop = self._recipe.loop
        self._train = Windows(
            self._data, self._collator, self._place, self._recipe.seed, loop.batch_size, loop.accumulate
        )
        self._ahead = Ahead(self._train.read)

    def _heard(self, data: DuplexDataset) -> Tensor:
        """Sums over this process's share of the windows of ``data`` that are evaluated."""
        count = min(len(data), self._shape.evaluate_windows)
        chosen = [int(at) for at in np.linspace(0, len(data) - 1, count)]
        mine = chosen[self._place.rank :: self._place.size]
        total = torch.zeros(len(lora_scores.NAMES), dtype=torch.float64, device=self._place.device)
        for turn in range(-(-count // self._place.size)):
            # A process without a window of its own goes along all the same: sharded weights want every one of them.
            window = mine[turn] if turn < len(mine) else chosen[0]
            batch = self._on_device(collated(self._collator, [data[window]]))
            sums = self._sums(batch, *self._learner(batch))
            if turn < len(mine):
                total += sums
        return total

    def _added(self, total: Tensor) -> Tensor:
        if self._place.size > 1:
            dist.all_reduce(total)
        return total

    def _sums(self, batch: Batch, losses: Tensor, said: Tensor) -> Tensor:
        return lora_scores.sums(batch, losses, said, self._data.format.silence_token_id)

    def _on_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self._place.device) for name, tensor in batch.items()}


def _counts(learner: Any) -> dict[str, int]:
    """How many numbers learn, how many do not, and how many of both this process holds."""
    parameters = list(learner.parameters())
    learnt = sum(one.numel() for one in parameters if one.requires_grad)
    held = sum((one.to_local() if hasattr(one, "to_local") else one).numel() for one in parameters)
    return {"learnt": learnt, "frozen": sum(one.numel() for one in parameters) - learnt, "held": held}
