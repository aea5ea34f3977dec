"""Figures of a duplex model against the same in plain loops."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.heavy

SILENCE, TEXT = 7, 3

# A row: per chunk whether the agent speaks, and what the model would say to each of its tokens.
CHUNKS = st.lists(
    st.tuples(st.booleans(), st.sampled_from((SILENCE, TEXT, 4)), st.sampled_from((SILENCE, TEXT))), max_size=8
)


def batch_of(rows: list[list[tuple[bool, int, int]]]) -> tuple[dict[str, Any], Any, Any]:
    """The labels of ``rows``, losses that number the places, and what the model says."""
    import torch

    labels, said = [], []
    for row in rows:
        line: list[int] = []
        for speaks, first, second in row:
            line += [-100] * 4 + ([TEXT, SILENCE] if speaks else [SILENCE])
            said += [first, second] if speaks else [first]
        labels.append(line)
    longest = max(1, *(len(line) for line in labels))
    padded = torch.tensor([line + [-100] * (longest - len(line)) for line in labels])
    return {"labels": padded}, torch.arange(len(said), dtype=torch.float32), torch.tensor(said, dtype=torch.int64)


def plain(rows: list[list[tuple[bool, int, int]]]) -> dict[str, float]:
    """The sums, chunk by chunk."""
    from duplexforge.training.lora_scores import NAMES

    found = dict.fromkeys(NAMES, 0.0)
    number = 0
    for row in rows:
        before = False
        for speaks, first, second in row:
            for wanted, answer in zip([TEXT, SILENCE] if speaks else [SILENCE], (first, second), strict=False):
                kind = "text" if wanted == TEXT else "silence"
                found[kind] += 1
                found[f"{kind}_loss"] += number
                found[f"{kind}_right"] += answer == wanted
                number += 1
            if speaks and not before:
                found["starts"] += 1
                found["started"] += first != SILENCE
            elif not speaks and not before:
                found["waits"] += 1
                found["barged"] += first != SILENCE
            elif not speaks:
                found["stops"] += 1
                found["stopped"] += first == SILENCE
            before = speaks
    return found


@given(st.lists(CHUNKS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_sums_are_those_of_plain_loops(rows: list[list[tuple[bool, int, int]]]) -> None:
    from duplexforge.training.lora_scores import NAMES, sums

    batch, losses, said = batch_of(rows)
    found = dict(zip(NAMES, sums(batch, losses, said, SILENCE).tolist(), strict=True))
    assert found == plain(rows)


def test_figures_are_shares_and_what_has_no_case_is_left_out() -> None:
    from duplexforge.training.lora_scores import figures, sums

    # Waits (and would barge in), starts (and would), goes on, stops (and would not).
    row = [(False, TEXT, SILENCE), (True, TEXT, SILENCE), (True, SILENCE, TEXT), (False, TEXT, SILENCE)]
    batch, _, said = batch_of([row])
    import torch

    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    told = figures("validation", sums(batch, losses, said, SILENCE), 0.5)
    assert told == pytest.approx(
        {
            # Text 2 and 4; silence 1, 3, 5 and 6, at half its weight.
            "validation/loss": (6 + 0.5 * 15) / (2 + 0.5 * 4),
            "validation/text_loss": 3.0,
            "validation/silence_loss": 15 / 4,
            "validation/text_accuracy": 0.5,
            "validation/silence_accuracy": 0.25,
            "validation/takeover": 1.0,
            "validation/false_takeover": 1.0,
            "validation/yield": 0.0,
        }
    )
    quiet, _, said = batch_of([[(False, SILENCE, SILENCE)] * 3])
    told = figures("test", sums(quiet, torch.zeros(3), said, SILENCE), 1.0)
    assert set(told) == {"test/loss", "test/silence_loss", "test/silence_accuracy", "test/false_takeover"}
