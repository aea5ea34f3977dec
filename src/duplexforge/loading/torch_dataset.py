"""torch's two kinds of data set over a duplex data set, and batches as tensors: the only module of loading with torch.

:class:`TorchDataset` is for those who bring a sampler. :class:`TorchStream` shuffles, shares the work among ranks and
worker processes, and goes on where a run was stopped; its order is a function of (seed, epoch) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from duplexforge.errors import ConfigError
from duplexforge.framing import Ints
from duplexforge.loading.collator import Batch, Collator
from duplexforge.loading.dataset import DuplexDataset, Item

__all__ = ["TorchCollator", "TorchDataset", "TorchStream", "tensors"]


def tensors(values: Item | Batch) -> dict[str, Any]:
    """The same dictionary with torch's tensors in place of numpy's arrays (sharing their memory); the rest as it is."""
    return {name: torch.from_numpy(one) if isinstance(one, np.ndarray) else one for name, one in values.items()}


class TorchCollator(Collator):
    """:class:`Collator` with tensors: the ``collate_fn`` of a ``DataLoader``."""

    def __call__(self, items: Sequence[Item]) -> Batch:
        """As the collator does, in tensors."""
        return tensors(super().__call__(items))


class TorchDataset(Dataset[dict[str, Any]]):  # type: ignore[misc] # torch is no part of what mypy sees
    """Map style: items by index, in tensors."""

    def __init__(self, data: DuplexDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return tensors(self.data[index])


class TorchStream(IterableDataset[dict[str, Any]]):  # type: ignore[misc] # as above
    """Iterable style: one rank's share of an epoch, in an order that only (seed, epoch) decide.

    Items go round the ``world`` ranks one by one; with ``even`` each gets equally many and up to ``world - 1`` items are
    left out of the epoch (others in the next). ``batch`` is the batch size of the ``DataLoader``: its workers then take
    whole batches in turn, so that the batches are the same with any number of workers. The place in the epoch lies in
    shared memory: workers that persist see a new epoch too.
    """

    def __init__(
        self,
        data: DuplexDataset,
        *,
        seed: int = 0,
        shuffle: bool = True,
        batch: int = 1,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
    ) -> None:
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} is not one of {world} ranks")
        if batch < 1:
            raise ConfigError(f"a batch has at least one item, not {batch}")
        self.data, self.seed, self.shuffle = data, seed, shuffle
        self.batch, self.rank, self.world, self.even = batch, rank, world, even
        # Epoch, and how many items of its order all ranks together have behind them.
        self._at = torch.zeros(2, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that iteration goes through."""
        return int(self._at[0])

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self._at[0], self._at[1] = epoch, 0

    def __len__(self) -> int:
        """Items that are left of this rank's share of the epoch."""
        rest = len(self.data) - int(self._at[1])
        return rest // self.world if self.even else len(range(self.rank, rest, self.world))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        share, worker = self._share(), get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for first in range(number * self.batch, len(share), workers * self.batch):
            for index in share[first : first + self.batch]:
                yield tensors(self.data[int(index)])

    def state_dict(self, taken: int) -> dict[str, Any]:
        """What is to be kept to go on later, after ``taken`` items of this iteration.

        Only the training loop knows that number: workers read ahead of it. Each rank is to have taken as many.
        """
        if not 0 <= taken <= len(self):
            raise ConfigError(f"{taken} items cannot have been taken of {len(self)}")
        # All ranks together cannot have gone further than the end.
        behind = min(int(self._at[1]) + taken * self.world, len(self.data))
        return {"epoch": self.epoch, "behind": behind, "seed": self.seed, "shuffle": self.shuffle, "data": self._name()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run stopped, perhaps with another number of ranks or workers.

        ConfigError when it ran over other data or in another order.
        """
        mine = {"seed": self.seed, "shuffle": self.shuffle, "data": self._name()}
        if differ := [name for name, value in mine.items() if state.get(name) != value]:
            raise ConfigError(f"the kept place in the data belongs to another run: {', '.join(differ)} differ")
        self._at[0], self._at[1] = state["epoch"], state["behind"]

    def _share(self) -> Ints:
        rest = self._order()[int(self._at[1]) :]
        if self.even:
            rest = rest[: len(rest) // self.world * self.world]
        return rest[self.rank :: self.world]

    def _order(self) -> Ints:
        if not self.shuffle:
            return np.arange(len(self.data), dtype=np.int64)
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.data)).astype(np.int64)

    def _name(self) -> str:
        """A name of the very data, wherever a copy lies."""
        told = [self.data.split, *sorted(f"{one.name} {one.sha256}" for one in self.data.manifest.files)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
