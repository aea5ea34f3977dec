"""Keys and values of the thinker's attention for a fixed number of slots, each a ring of its own.

Every key carries its position in itself (RoPE is applied before it is kept), so the order of cells is of no matter: a
session that outgrows its window writes over its oldest cells, and the mask says who sees whom. Sessions that started at
different times share one forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["SlotCache"]

# Cell 0 of every slot takes what fills up a row, and is seen by fillers alone.
_FILLER = -1


class SlotCache:
    """What ``past_key_values`` of the thinker's language model may be; give the mask of :meth:`begin` with it.

    A query at position p sees positions from p − ``window`` + 1 to p, and the first ``kept`` ones for good: attention that
    loses its first tokens falls apart (Xiao et al., 2023). ``block`` is the most tokens of one forward.
    """

    def __init__(self, text: Any, slots: int, *, window: int, kept: int, block: int, like: Tensor) -> None:
        heads = text.num_key_value_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self.window, self.kept, self._ring = window, kept, window + block
        cells = 1 + kept + self._ring
        shape = (slots, heads, cells, width)
        self._keys = [like.new_zeros(shape) for _ in range(text.num_hidden_layers)]
        self._values = [like.new_zeros(shape) for _ in range(text.num_hidden_layers)]
        self._places = torch.full((slots, cells), _FILLER, dtype=torch.int64, device=like.device)
        self._rows = self._cells = torch.zeros(0, dtype=torch.int64)
        self._used, self._whole = 0, False

    def reset(self, slot: int) -> None:
        """Forget what ``slot`` holds."""
        self._places[slot] = _FILLER

    def begin(self, rows: Sequence[int], positions: Tensor) -> Tensor:
        """Make room in ``rows`` for tokens at ``positions`` int64[rows, tokens], −1 filling up a row.

        Returns the mask [rows, 1, tokens, cells] to add to the scores of the forward that follows.
        """
        device = self._places.device
        self._rows = torch.as_tensor(rows, device=device)[:, None]
        self._whole = list(rows) == list(range(len(self._places)))
        late = 1 + self.kept + (positions - self.kept) % self._ring
        self._cells = torch.where(positions < self.kept, positions + 1, late)
        self._places[self._rows, self._cells] = positions
        # Cells fill from the first on, so what lies behind the furthest one in use need not be looked at.
        self._used = int((self._places >= 0).any(dim=0).nonzero().max()) + 1
        keys = self._places[self._rows[:, 0], : self._used][:, None, :]
        query = positions[:, :, None]
        near = (keys <= query) & ((keys > query - self.window) | (keys < self.kept)) & (keys >= 0)
        seen = torch.where(query < 0, keys < 0, near)
        kind = self._keys[0].dtype
        mask = torch.zeros(seen.shape, dtype=kind, device=device).masked_fill(~seen, torch.finfo(kind).min)
        return mask[:, None]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep [rows, heads, tokens, width] of a layer; all keys and values of these rows come back."""
        found = []
        for kept, new in ((self._keys[layer], keys), (self._values[layer], values)):
            kept[self._rows, :, self._cells] = new.transpose(1, 2)
            part = kept[:, :, : self._used]
            found.append(part if self._whole else part[self._rows[:, 0]])
        return found[0], found[1]

    def get_seq_length(self, *_: int) -> int:
        """Cells that a forward looks at."""
        return self._used
