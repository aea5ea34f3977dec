"""Several processes on one run, as ``torchrun`` starts them: gloo on processors, NCCL on GPUs.

Gradients are averaged by hand after the parts of an accumulated step, one message for all of them. The wrapper that torch
has for it hides the module behind its own ``forward``, which a step of several phases (discriminator, then generator) does
not go through; for models of this size its overlap of computing and sending is worth nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from duplexforge.training.trainers import Place


@contextmanager
def joined() -> Iterator[Place]:
    """The place of this process: alone, or one of those that torchrun started, until the block ends."""
    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched():
        yield Place(device="cuda:0" if cuda else "cpu")
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    rank = dist.get_rank()
    device = f"cuda:{rank % torch.cuda.device_count()}" if cuda else "cpu"
    try:
        yield Place(rank, dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter], size: int) -> None:
    """Replace every gradient by the mean over all processes; one that a process lacks counts as zeros."""
    if size == 1:
        return
    owned = [parameter for parameter in parameters if parameter.requires_grad]
    grads = [one.grad if one.grad is not None else torch.zeros_like(one) for one in owned]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    dist.all_reduce(flat)
    flat /= size
    for parameter, part in zip(owned, flat.split([one.numel() for one in owned]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def take_first(module: nn.Module, size: int) -> None:
    """Give every process the weights and buffers of the first."""
    if size > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)


def any_says(said: bool, size: int, device: str) -> bool:
    """Whether any process says so: all must agree on the step after which they stop."""
    if size == 1:
        return said
    flag = torch.tensor([float(said)], device=device)
    dist.all_reduce(flag)
    return bool(flag.item() > 0)


def first_says(value: Any, size: int) -> Any:
    """What the first process says, on all of them."""
    if size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
