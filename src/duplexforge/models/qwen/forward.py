"""The thinker over whole interleaved sequences: what training, evaluation and the step by chunks agree on.

Positions are given and never left to the model, which remembers offsets of the call before. A sequence of text and sound
alone has plain ones: 0, 1, 2, …, the same for time, height and width, counted over what is no padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["hidden", "logits", "positions"]


def positions(mask: Tensor) -> Tensor:
    """Positions int64[3, B, T] for ``mask`` int64[B, T], which is 0 on padding; there the position is of no matter."""
    return (mask.long().cumsum(dim=-1) - 1).clamp_min(0).expand(3, -1, -1)


def hidden(thinker: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states [B, T, width] of a collated ``batch`` (:class:`duplexforge.loading.collator.Collator`)."""
    answer = thinker.model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        input_features=batch["input_features"].to(thinker.dtype),
        feature_attention_mask=batch["feature_attention_mask"],
        position_ids=positions(batch["attention_mask"]),
        use_cache=False,
    )
    states: Tensor = answer.last_hidden_state
    return states


def logits(thinker: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits [B, T, vocabulary]: at each place those of the token after it."""
    found: Tensor = thinker.lm_head(hidden(thinker, batch))
    return found
