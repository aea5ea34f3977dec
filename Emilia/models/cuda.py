"""Errors of the GPU: which a smaller batch cures, which end the process, and running batches accordingly.

torch, onnxruntime and ctranslate2 agree on no exception type, so their texts are compared. Source of the texts: CUDA's
own error strings (``cudaGetErrorString``), which all three quote, cuBLAS's and cuDNN's status names, and onnxruntime's
arena. CUDA's manual marks the errors taken as sticky here with "the process must be terminated and relaunched".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from Emilia.errors import DeviceLost, EmiliaError

__all__ = ["at_the_edge", "in_batches", "is_out_of_memory", "is_sticky", "watched"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MEMORY = (
    "out of memory",
    "failed to allocate memory for requested buffer",
    "is smaller than requested bytes",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cufft_alloc_failed",
)
_STICKY = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "hardware stack error",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
    "cuda error: unknown error",
    "cuda failed with error unknown error",
    "cuda failure 999",
    "cublas_status_execution_failed",
    "cublas_status_internal_error",
    "cudnn_status_execution_failed",
    "cufft_exec_failed",
    "gpu is lost",
    "fallen off the bus",
    "no cuda-capable device",
    "driver shutting down",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True when the card had no room; the context is whole and a smaller batch may fit."""
    return _says(error, _MEMORY)


def is_sticky(error: BaseException) -> bool:
    """True when the CUDA context is broken: every later call in this process would fail too, or lie."""
    # A library that ran out of memory may report the failed call as well; a smaller batch is worth a try.
    return _says(error, _STICKY) and not is_out_of_memory(error)


def _says(error: BaseException, texts: Sequence[str]) -> bool:
    if isinstance(error, EmiliaError | OSError) or not isinstance(error, Exception):
        return False
    # A file's name may say anything, which is why our own errors and the system's are out before texts are compared.
    said = str(error).lower()
    return any(text in said for text in texts)


@contextmanager
def watched() -> Iterator[None]:
    """Turns a sticky CUDA error inside the block into :class:`Emilia.errors.DeviceLost`; lets all others through."""
    try:
        yield
    except Exception as error:
        if is_sticky(error):
            raise DeviceLost(f"The GPU cannot be used any more: {_first_line(error)}") from error
        raise


@contextmanager
def at_the_edge() -> Iterator[None]:
    """For the boundary of the pipeline: what is left of CUDA's errors becomes ``DeviceLost`` or ``MemoryError``."""
    try:
        with watched():
            yield
    except Exception as error:
        if is_out_of_memory(error) and not isinstance(error, MemoryError):
            raise MemoryError(f"the GPU has no room for it: {_first_line(error)}") from error
        raise


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_batches(
    items: Iterable[Item], batch: int, run: Callable[[Sequence[Item]], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """``run`` over ``items``, ``batch`` at a time: yields each batch with its result, in order; ``items`` may be a
    generator.

    The first time that the card runs out of memory, the batch is done again in halves and all later ones are half as
    large; the second time, or for a batch of one, the error is the caller's. Raises ``DeviceLost`` for a sticky error.
    """
    source, size, halved = iter(items), max(1, batch), False
    while pending := list(islice(source, size)):
        while pending:
            part = pending[:size]
            failed = False
            try:
                with watched():
                    result = run(part)
            except Exception as error:
                if halved or len(part) == 1 or not is_out_of_memory(error):
                    raise
                failed = True
            # Outside the handler: until it is left, the traceback holds the tensors that did not fit.
            if failed:
                halved, size = True, (len(part) + 1) // 2
                _free()
                continue
            yield part, result
            pending = pending[size:]


def _free() -> None:
    """Give what torch keeps for reuse back to the card, where torch is in use at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
