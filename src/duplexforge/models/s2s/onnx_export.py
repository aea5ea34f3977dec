"""Writes a model as ONNX graphs, in 32 bits or with its matrices in 8. Needs torch and onnx; what is written needs neither."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge.errors import ModelError, UsageError
from duplexforge.models.s2s import onnx_names as names
from duplexforge.models.s2s import weights as files

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Exported", "export"]

_OPSET = 17


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    int8: bool
    files: Mapping[str, int]
    """Bytes by name."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"folder": str(self.folder), "int8": self.int8, "files": dict(self.files)}

    def to_text(self) -> str:
        """One line."""
        total = sum(self.files.values()) / 1e6
        return f"{self.folder}: {len(self.files)} files, {total:.1f} MB, {'8-bit matrices' if self.int8 else '32 bits'}"


def export(weights: files.Weights, folder: Path, *, int8: bool = False) -> Exported:
    """Write ``weights`` as graphs to the new ``folder``; ``int8`` keeps the matrices in 8 bits, the rest in 32.

    Nothing is left behind when it fails. Raises UsageError when the folder is taken, ModelError when torch, onnx or (for
    ``int8``) onnxruntime is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: name a new folder")
    _want(["torch", "onnx", *(["onnxruntime"] if int8 else [])])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
        whole = Path(made) / "graphs"
        whole.mkdir()
        _write(weights, whole)
        if int8:
            for name in (names.HEAR, names.BEGIN, names.SPEAK):
                _quantise(whole / name)
        tables = {name: weights.arrays[name] for name in names.TABLE_NAMES}
        files.write(whole / names.TABLES, files.Weights(weights.shape, weights.vocabulary, tables, weights.facts))
        if folder.exists():
            folder.rmdir()
        shutil.move(whole, folder)
    return Exported(folder, int8, {path.name: path.stat().st_size for path in sorted(folder.iterdir())})


def _want(packages: Sequence[str]) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ModelError(f"exporting wants {' and '.join(missing)}: pip install torch, then duplexforge[heavy,cpu]")


def _write(weights: files.Weights, folder: Path) -> None:
    from duplexforge.models.s2s import onnx_graphs as graphs
    from duplexforge.models.s2s.loading import network_of

    network, shape = network_of(weights).requires_grad_(False), weights.shape
    # Two slots: a single one would look like an axis of its own right.
    hear = graphs.hear_inputs(shape, network, 2)
    stacked = {"keys": 1, "values": 1, "sounds": 1, "styles": 1}
    heard = dict.fromkeys(names.HEARD, 1) | {"turn": 0}
    spoken = {"said": 0, "sound": 0, "new_keys": 1, "new_values": 1}
    _graph(graphs.Hear(network), hear, folder / names.HEAR, axes={name: stacked.get(name, 0) for name in hear} | heard)
    begin = graphs.begin_inputs(shape, 2)
    _graph(graphs.Begin(network), begin, folder / names.BEGIN, axes=dict.fromkeys(begin, 0) | {"styles": 1})
    speak = graphs.speak_inputs(shape, 2)
    axes = {name: stacked.get(name, 0) for name in speak} | spoken
    _graph(graphs.Speak(network), speak, folder / names.SPEAK, axes=axes)


def _graph(module: nn.Module, inputs: Mapping[str, Tensor], path: Path, *, axes: Mapping[str, int]) -> None:
    """``module`` as a graph at ``path``; ``axes`` tell which axis of each input and output is that of the slots."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that follows the calls is going out of use; the other one wants a package more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[name for name in axes if name not in inputs],
            dynamic_axes={name: {axis: "slots"} for name, axis in axes.items()},
            opset_version=_OPSET,
            dynamo=False,
        )


def _parted(path: Path) -> None:
    """Give every layer of the graph at ``path`` weights of its own.

    The exporter keeps equal ones (zeros, in a layer that never learned) once and points to them, and what makes 8 bits of them
    would turn them round for the first layer alone.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    kept = {one.name: one for one in graph.initializer}
    pointers = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in kept]
    for node in pointers:
        copy = graph.initializer.add()
        copy.CopyFrom(kept[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)
    onnx.save(model, path)


def _quantise(path: Path) -> None:
    """Keep the matrices of the graph at ``path`` in 8 bits, a scale a column; vectors are made 8 bits when it runs."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    _parted(path)
    whole = path.with_suffix(".whole")
    path.rename(whole)
    # It advises, at every call, a preparation that changes nothing in graphs of known shapes.
    logging.getLogger().addFilter(quiet := lambda record: "pre-processing" not in record.getMessage())
    try:
        # Without signs, an eighth slower: products with signed weights can run over on processors that lack VNNI.
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        logging.getLogger().removeFilter(quiet)
    whole.unlink()
