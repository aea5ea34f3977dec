"""CUDA errors in the words of the three libraries, and batches that survive one shortage of memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from Emilia.errors import BadAudio, DeviceLost
from Emilia.models.cuda import at_the_edge, in_batches, is_out_of_memory, is_sticky, watched

OUT_OF_MEMORY: list[Exception] = [
    RuntimeError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1.02 GiB is "
        "free. Including non-PyTorch memory, this process has 22.66 GiB memory in use."
    ),
    RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA failed with error out of memory"),
    RuntimeException(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'Conv_0' "
        "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
        "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 2830172160"
    ),
    RuntimeException(
        "Non-zero status code returned while running FusedConv node. Status Message: bfc_arena.cc:342 Available memory of "
        "1048576 is smaller than requested bytes of 25165824"
    ),
    Fail(
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; file=cuda_allocator.cc ; line=47 ; expr=cudaMalloc(&p, n);"
    ),
]
STICKY: list[Exception] = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA failed with error an illegal memory access was encountered"),
    RuntimeError("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED"),
    Fail(
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a ; expr=cudaStreamSynchronize(s)"
    ),
    Fail("CUDA failure 999: unknown error ; GPU=0 ; hostname=a ; file=cuda_call.cc ; line=121"),
]
NEITHER: list[Exception] = [
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ValueError("empty"),
    OSError("out of memory"),
    BadAudio("corrupt", "illegal memory access.mp3 holds nothing that can be decoded."),
    DeviceLost("The GPU cannot be used any more: unspecified launch failure"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_sticky(error)


@pytest.mark.parametrize("error", STICKY)
def test_sticky(error: Exception) -> None:
    assert is_sticky(error)
    assert not is_out_of_memory(error)
    with pytest.raises(DeviceLost) as caught, watched():
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", NEITHER)
def test_neither(error: Exception) -> None:
    assert not is_sticky(error)
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as caught, watched():
        raise error
    assert caught.value is error


def test_leaving_is_no_error_of_the_card() -> None:
    assert not is_sticky(KeyboardInterrupt("device-side assert triggered"))


@pytest.mark.heavy
def test_the_exceptions_of_torch() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert is_sticky(torch.AcceleratorError("CUDA error: device-side assert triggered"))


class Card:
    """Runs batches up to ``room`` items; a larger one is out of memory."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, part: Sequence[int]) -> list[int]:
        self.sizes.append(len(part))
        if len(part) > self.room:
            raise RuntimeError("CUDA failed with error out of memory")
        return [2 * item for item in part]


@given(st.integers(0, 40), st.integers(1, 9))
def test_every_item_once_and_in_order(count: int, batch: int) -> None:
    card = Card(100)
    found = list(in_batches(iter(range(count)), batch, card))
    assert [item for part, _ in found for item in part] == list(range(count))
    assert [value for _, values in found for value in values] == [2 * item for item in range(count)]
    assert card.sizes == [len(range(count)[first : first + batch]) for first in range(0, count, batch)]


@given(st.integers(1, 40), st.integers(2, 9))
def test_one_shortage_halves_for_good_and_loses_nothing(count: int, batch: int) -> None:
    card = Card((batch + 1) // 2)
    found = list(in_batches(range(count), batch, card))
    assert [value for _, values in found for value in values] == [2 * item for item in range(count)]
    assert sum(size > card.room for size in card.sizes) == (min(count, batch) > card.room)
    assert all(size <= card.room for size in card.sizes[1:])


@pytest.mark.parametrize(("batch", "sizes"), [(8, [8, 4]), (1, [1])])
def test_a_second_shortage_is_the_callers(batch: int, sizes: list[int]) -> None:
    card = Card(0)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(in_batches(range(8), batch, card))
    assert card.sizes == sizes


def test_a_sticky_error_in_a_batch_is_not_tried_again() -> None:
    calls: list[int] = []

    def broken(part: Sequence[int]) -> None:
        calls.append(len(part))
        raise STICKY[0]

    with pytest.raises(DeviceLost, match="illegal memory access"):
        list(in_batches(range(8), 4, broken))
    assert calls == [4]


def test_what_did_not_fit_is_let_go_before_the_next_try() -> None:
    """A traceback that is still held would keep the tensors of the failed call on the card."""
    import weakref

    class Tensor:
        pass

    alive: list[weakref.ref[Tensor]] = []

    def run(part: Sequence[int]) -> None:
        assert not [one for one in alive if one() is not None]
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        if len(part) > 1:
            raise RuntimeError("CUDA failed with error out of memory")

    assert len(list(in_batches(range(2), 2, run))) == 2


def test_at_the_edge_every_error_of_the_card_has_a_type() -> None:
    with pytest.raises(MemoryError, match="no room for it: CUDA out of memory"), at_the_edge():
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    with pytest.raises(DeviceLost, match="illegal memory access"), at_the_edge():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(ValueError, match="else"), at_the_edge():
        raise ValueError("something else")
