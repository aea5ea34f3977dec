"""A speaker network of three operations as an ONNX file: the real signature, and answers that a test can compute itself.

It projects the mean energy of each band (squared features, averaged over time) to as many numbers as wanted. Written field
by field, by the numbers in ONNX's ``onnx.proto``, so that no further package is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def weights(width: int = 192, bands: int = 80, seed: int = 3) -> Floats:
    """The projection [bands, width]."""
    return np.random.default_rng(seed).standard_normal((bands, width)).astype(np.float32)


def speaker_network(
    path: Path,
    *,
    width: int = 192,
    bands: int = 80,
    name: str = "feats",
    zero: bool = False,
    second: bool = False,
) -> Path:
    """Write a network from ``name`` [1, frames, bands] to ``embs`` [1, width].

    With ``zero`` it answers nothing but zeros; with ``second`` it wants another input besides.
    """
    projection = weights(width, bands) * (0 if zero else 1)
    nodes = [
        _node("Mul", [name, name], "squared"),
        _node("ReduceMean", ["squared"], "mean", [_list("axes", [1]), _number("keepdims", 0)]),
        _node("MatMul", ["mean", "w"], "embs"),
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"speaker") + _field(5, _tensor("w", projection))
    graph += _field(11, _value(name, [1, "frames", bands])) + _field(12, _value("embs", [1, width]))
    graph += _field(11, _value("lengths", [1])) if second else b""
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 17)))
    return path


def _node(operation: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    return named + _field(4, operation.encode()) + b"".join(_field(5, one) for one in attributes)


def _list(name: str, values: Sequence[int]) -> bytes:
    return _field(1, name.encode()) + b"".join(_field(8, value) for value in values) + _field(20, 7)


def _number(name: str, value: int) -> bytes:
    return _field(1, name.encode()) + _field(3, value) + _field(20, 2)


def _tensor(name: str, values: Floats) -> bytes:
    sizes = b"".join(_field(1, size) for size in values.shape)
    return sizes + _field(2, 1) + _field(8, name.encode()) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sizes = [_field(2, size.encode()) if isinstance(size, str) else _field(1, size) for size in shape]
    tensor = _field(1, 1) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
