"""Windows of a duplex data set as batches, in an order that (seed, step) alone decide, read ahead by a thread.

A step's windows are those at its place in an endless row of permutations, so that a run which was broken off goes on with
the very windows that it would have seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge import log
from duplexforge.errors import ConfigError
from duplexforge.loading.collator import Collator
from duplexforge.loading.dataset import DuplexDataset, Item, easy_load
from duplexforge.loading.torch_dataset import tensors
from duplexforge.training.trainers import Place

__all__ = ["INPUTS", "Windows", "open_split", "strangers"]

INPUTS = ("input_ids", "attention_mask", "labels", "loss_weights", "input_features", "feature_attention_mask")
"""Of a collated batch, what goes to the device; the agent's sound is not asked for by the thinker."""
_log = log.get("train")


def open_split(folder: Path, split: str) -> DuplexDataset:
    """A split of the data set at ``folder``; ConfigError when it has no windows."""
    # A path knows no "//": what was a store's or the Hub's address in the recipe becomes one again.
    where = re.sub(r"^(s3|hf):/+", r"\1://", str(folder)).replace("file:/", "/", 1)
    data = easy_load(where, split)
    if not len(data):
        raise ConfigError(f"the split {split} of {folder} has no windows")
    return data


def strangers(data: DuplexDataset) -> bool:
    """Whether no speaker of this split is one of the training split's; said in the log when one is."""
    totals = data.manifest.totals
    known = {*totals["train"].speakers} & {*totals[data.split].speakers} if "train" in totals else set()
    if known and data.split != "train":
        _log.warning("a held-out split has speakers of the training split", split=data.split, speakers=sorted(known))
    return not known


@dataclass(frozen=True)
class Windows:
    """The training split, and this process's share of each step of ``size`` windows in ``parts`` parts."""

    data: DuplexDataset
    collator: Collator
    place: Place
    seed: int
    size: int
    parts: int

    def __post_init__(self) -> None:
        share = self.size // self.place.size
        if share * self.place.size != self.size or share % self.parts:
            raise ConfigError(
                f"a batch of {self.size} cannot be shared evenly by {self.place.size} processes in {self.parts} parts"
            )

    def per_epoch(self) -> int:
        """Steps in which each window comes once, but for a rest smaller than a step."""
        return max(1, len(self.data) // self.size)

    def of(self, step: int) -> list[int]:
        """Numbers of the windows of ``step``, of all processes."""
        count = len(self.data)
        first = step * self.size
        return [int(self._order(at // count)[at % count]) for at in range(first, first + self.size)]

    def read(self, step: int) -> list[dict[str, Any]]:
        """This process's share of ``step``, collated, in parts."""
        mine = self.of(step)[self.place.rank :: self.place.size]
        length = len(mine) // self.parts
        return [
            collated(self.collator, [self.data[number] for number in mine[at : at + length]])
            for at in range(0, len(mine), length)
        ]

    def _order(self, epoch: int) -> Any:
        return _permutation(len(self.data), self.seed, epoch)


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> Any:
    return np.random.default_rng([seed, epoch]).permutation(count)


def collated(collator: Collator, items: Sequence[Item]) -> dict[str, Any]:
    """A batch of ``items`` in tensors, with what the thinker and the loss take."""
    batch = tensors(collator(items))
    return {name: batch[name] for name in INPUTS}


class Ahead:
    """Reads the step after the one that is asked for, so that no GPU waits for FLAC."""

    def __init__(self, read: Callable[[int], list[dict[str, Any]]]) -> None:
        self._read = read
        # One thread: a data set's files are read by nobody else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._coming: dict[int, Future[list[dict[str, Any]]]] = {}

    def __call__(self, step: int) -> list[dict[str, Any]]:
        """What ``step`` reads."""
        for number in (step, step + 1):
            if number not in self._coming:
                self._coming[number] = self._thread.submit(self._read, number)
        for number in [one for one in self._coming if one not in (step, step + 1)]:
            self._coming.pop(number).cancel()
        return self._coming[step].result()
