"""ONNX networks through onnxruntime, on a device named by us: one CPU thread, or one GPU with a bounded arena.

onnxruntime falls back to the CPU without a word when its CUDA part cannot be loaded, which would cost hours before
anybody looks. Here that is an error which names the missing library.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from Emilia.errors import ModelMissing
from Emilia.options import OnnxOptions

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "arena_limit"]

Array = npt.NDArray[Any]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_SWAP = "pip uninstall onnxruntime, then pip install --force-reinstall --no-deps onnxruntime-gpu"


class Network:
    """A network with one input and one output on ``device`` (``cpu``, ``cuda`` or ``cuda:1``).

    ``shape`` is its input's, with None where any size goes; ``half`` tells that it takes float16. Raises
    ``ModelMissing`` when ``path`` is absent or damaged, and when the device is a GPU that onnxruntime cannot use.
    """

    def __init__(self, path: Path, device: str, options: OnnxOptions) -> None:
        self.cuda = device.startswith("cuda")
        self.index = int(device.partition(":")[2] or 0)
        self._session = _opened(path, _providers(self.cuda, self.index, options))
        if self.cuda and _CUDA not in self._session.get_providers():
            raise ModelMissing(f"{path.name} on {device}", f"onnxruntime cannot use CUDA: {_obstacle()}.")
        (first,), (answer,) = self._session.get_inputs(), self._session.get_outputs()
        self.shape = tuple(size if isinstance(size, int) else None for size in first.shape)
        self.half = first.type == "tensor(float16)"
        self._answer = tuple(size if isinstance(size, int) else None for size in answer.shape)
        self._input, self._output = first.name, answer.name

    def run(self, batch: Array) -> Array:
        """The answer to ``batch`` as an array in ordinary memory."""
        answer: Array = self._session.run([self._output], {self._input: batch})[0]
        return answer

    def run_tensor(self, batch: torch.Tensor) -> torch.Tensor:
        """The answer to ``batch``, a contiguous tensor on this network's device, on that device: nothing is copied.

        Sizes of the answer that the file leaves open are those of the batch.
        """
        import torch

        shape = tuple(own or given for own, given in zip(self._answer, batch.shape, strict=True))
        answer = torch.empty(shape, dtype=batch.dtype, device=batch.device)
        where, kind = ("cuda", self.index) if self.cuda else ("cpu", 0), np.float16 if self.half else np.float32
        binding = self._session.io_binding()
        binding.bind_input(self._input, *where, kind, tuple(batch.shape), batch.data_ptr())
        binding.bind_output(self._output, *where, kind, shape, answer.data_ptr())
        if self.cuda:
            # torch and onnxruntime each have a stream of their own: neither may run ahead of the other's writing.
            torch.cuda.current_stream(batch.device).synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return answer


def _opened(path: Path, providers: list[Any]) -> Any:
    if not path.is_file():
        raise ModelMissing(path.name, f"run `python cache_models.py`; it puts the file at {path}.")
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph, InvalidProtobuf

    if len(providers) > 1 and _CUDA not in onnxruntime.get_available_providers():
        raise ModelMissing(f"{path.name} on a GPU", f"the installed onnxruntime is the CPU build: {_SWAP}.")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        # Named always: onnxruntime's own first choice may be a provider that sends audio elsewhere.
        return onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except (InvalidGraph, InvalidProtobuf) as error:
        raise ModelMissing(
            path.name, f"the file at {path} is damaged; `python cache_models.py` fetches it again."
        ) from error


def _providers(cuda: bool, index: int, options: OnnxOptions) -> list[Any]:
    if not cuda:
        return [_CPU]
    settings: dict[str, int | str] = {
        "device_id": index,
        # Searching all algorithms costs seconds for each new shape, and the last batch of an episode is a new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Doubling, the default, takes up to twice of what is needed from a card that torch uses too.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if limit := arena_limit(options, _card_bytes(index)):
        settings["gpu_mem_limit"] = limit
    return [(_CUDA, settings), _CPU]


def _card_bytes(index: int) -> int:
    """Memory of the card, 0 where it cannot be known."""
    try:
        # Imported before the session is opened, it also loads the CUDA libraries that onnxruntime then finds.
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.get_device_properties(index).total_memory) if torch.cuda.is_available() else 0


def arena_limit(options: OnnxOptions, card: int) -> int:
    """Bytes that the arena may take of a card with ``card`` bytes: the smaller of both limits, 0 for none."""
    limits = [options.memory_gb * 2**30, options.memory_share * card]
    return round(min((limit for limit in limits if limit > 0), default=0))


def _obstacle() -> str:
    """Why onnxruntime's CUDA part cannot be loaded, in the words of the dynamic loader."""
    spec = find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else Path()
    try:
        # The CUDA part needs symbols of the shared part, which onnxruntime loads first in the same way.
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return f"{error}; install what provides it, for the CUDA version of this onnxruntime-gpu"
    return "its libraries load, but no such GPU was found; nvidia-smi must list it"
