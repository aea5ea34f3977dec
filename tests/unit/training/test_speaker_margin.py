"""The margin: what it asks beyond being on the right side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

pytestmark = pytest.mark.heavy


def directions(margin: float) -> Any:
    """Three speakers along the first three axes."""
    import torch

    from duplexforge.models.speakers import SIZE
    from duplexforge.training.speaker_margin import Directions

    found = Directions(3, 10.0, margin)
    with torch.no_grad():
        found.weight.copy_(torch.eye(SIZE)[:3] * 5)
    return found


def voices(*angles: float, axis: int = 1) -> Any:
    """Voices between the first and another axis, so many radians from the first."""
    import torch

    from duplexforge.models.speakers import SIZE

    found = torch.zeros(len(angles), SIZE)
    found[:, 0], found[:, axis] = torch.cos(torch.tensor(angles)), torch.sin(torch.tensor(angles))
    return found


def test_without_a_margin_it_is_softmax_over_cosines() -> None:
    import torch

    heard, numbers = voices(0.3, 1.2), torch.tensor([0, 2])
    loss, right = directions(0.0).loss(heard, numbers)
    wanted = torch.nn.functional.cross_entropy(10.0 * heard[:, :3], numbers)
    torch.testing.assert_close(loss, wanted)
    assert right.tolist() == [True, False]


def test_a_margin_is_an_angle() -> None:
    import torch

    numbers = torch.tensor([0])
    asked = directions(0.4)
    heard = voices(0.3)
    logits = 10.0 * heard[:, :3].clone()
    logits[0, 0] = 10.0 * torch.cos(torch.tensor(0.7))
    torch.testing.assert_close(asked.loss(heard, numbers)[0], torch.nn.functional.cross_entropy(logits, numbers))
    # Half of the margin, and none.
    logits[0, 0] = 10.0 * torch.cos(torch.tensor(0.5))
    torch.testing.assert_close(asked.loss(heard, numbers, 0.5)[0], torch.nn.functional.cross_entropy(logits, numbers))
    torch.testing.assert_close(asked.loss(heard, numbers, 0.0)[0], directions(0.0).loss(heard, numbers)[0])


def test_further_off_is_always_worse() -> None:
    import torch

    asked = directions(0.5)
    angles = torch.linspace(0, 3.14159, 60).tolist()
    # From the first axis by way of nobody's towards its opposite, where the angle with its margin is more than a half turn.
    with torch.no_grad():
        losses = [float(asked.loss(voices(angle, axis=7), torch.tensor([0]))[0]) for angle in angles]
    assert all(one < other for one, other in pairwise(losses))


def test_gradients_are_finite_where_voice_and_direction_are_one() -> None:
    import torch

    asked = directions(0.3)
    heard = voices(0.0, 3.14159265).requires_grad_()
    asked.loss(heard, torch.tensor([0, 0]))[0].backward()
    assert torch.isfinite(heard.grad).all()
    assert torch.isfinite(asked.weight.grad).all()
