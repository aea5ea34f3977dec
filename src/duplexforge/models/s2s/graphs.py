"""CUDA graphs: a step of fixed shapes, recorded once and replayed, which saves launching each of its kernels.

A step of a small model is hundreds of kernels of microseconds each; what takes time is handing them over one by one. Made for
GPUs, and refused elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from duplexforge.errors import ConfigError

__all__ = ["Captured"]

Function = Callable[..., tuple[Tensor, ...]]
_WARM = 3


class Captured:
    """``function`` of tensors on a GPU, replayed with the values of each call. What it returns is overwritten by the next."""

    def __init__(self, function: Function, *examples: Tensor) -> None:
        if not examples or not all(one.is_cuda for one in examples):
            raise ConfigError("CUDA graphs want a GPU and everything on it")
        self._inputs = tuple(one.clone() for one in examples)
        # Libraries allocate on their first calls, which a recording must not see.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = function(*self._inputs)

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        """What ``function`` would return for ``values``, of the shapes that it was recorded with."""
        for kept, value in zip(self._inputs, values, strict=True):
            kept.copy_(value)
        self._graph.replay()
        return self._outputs
