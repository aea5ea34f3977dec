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

from duplexforge.errors import RetryLater
from duplexforge.training.trainers import Place


@contextmanager
def joined() -> Iterator[Place]:
    """The place of this process: alone, or one of those that torchrun started, until the block ends."""
    cuda = torch.cuda.is_available()
    if not launched():
        yield Place(device="cuda:0" if cuda else "cpu")
        return
    with _others():
        dist.init_process_group("nccl" if cuda else "gloo")
    rank = dist.get_rank()
    device = f"cuda:{rank % torch.cuda.device_count()}" if cuda else "cpu"
    if cuda:
        # Plain objects travel by way of the current device, which would be the first one in every process.
        torch.cuda.set_device(device)
    try:
        yield Place(rank, dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Whether torchrun has started this process, be it the only one."""
    return bool(dist.is_torchelastic_launched())


@contextmanager
def _others() -> Iterator[None]:
    """What the library raises when another process is gone, which is no fault of this one: it goes on in the next attempt."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]
        raise RetryLater(f"the other processes of this run cannot be reached: {told}", reason="peer_gone") from error


def average_gradients(parameters: Iterable[nn.Parameter], size: int) -> None:
    """Replace every gradient by the mean over all processes; one that a process lacks counts as zeros."""
    if size == 1:
        return
    owned = [parameter for parameter in parameters if parameter.requires_grad]
    grads = [one.grad if one.grad is not None else torch.zeros_like(one) for one in owned]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    with _others():
        dist.all_reduce(flat)
    flat /= size
    for parameter, part in zip(owned, flat.split([one.numel() for one in owned]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


def take_first(module: nn.Module, size: int) -> None:
    """Give every process the weights and buffers of the first."""
    if size == 1:
        return
    with _others():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)


def any_says(said: bool, size: int, device: str) -> bool:
    """Whether any process says so: all must agree on the step after which they stop."""
    if size == 1:
        return said
    flag = torch.tensor([float(said)], device=device)
    with _others():
        dist.all_reduce(flag)
    return bool(flag.item() > 0)


def first_says(value: Any, size: int) -> Any:
    """What the first process says, on all of them."""
    if size == 1:
        return value
    box = [value]
    with _others():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def wait_for_all(size: int) -> None:
    """Come back when every process has come this far."""
    if size > 1:
        with _others():
            dist.barrier()
