"""MDX networks of one operation as ONNX files: the real signature, and answers that a test can compute by itself.

The files are written field by field, by the numbers in ONNX's ``onnx.proto``, so that no further package is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.floating]

_FLOAT, _HALF = 1, 10


def identity(path: Path, *, dim_f: int = 3072, dim_t: int = 256, half: bool = False) -> Path:
    """Answers what it is asked."""
    return _write(path, _node("Identity", ["input"]), {}, (dim_f, dim_t), _HALF if half else _FLOAT)


def scaled(path: Path, weights: Weights, *, dim_f: int = 3072, dim_t: int = 256) -> Path:
    """Multiplies by ``weights``, of a shape that fits [batch, 4, dim_f, dim_t]: a mask over the bins, for instance."""
    return _write(path, _node("Mul", ["input", "w"]), {"w": weights}, (dim_f, dim_t))


def smeared(path: Path, kernel: Weights, bias: Weights, *, dim_f: int = 3072, dim_t: int = 256) -> Path:
    """Convolves along time with ``kernel`` [4, taps] (a row for each channel) and adds ``bias`` [4]."""
    taps = kernel.shape[1]
    attributes = [
        _integers("group", [4], single=True),
        _integers("kernel_shape", [1, taps]),
        _integers("pads", [0, taps // 2, 0, taps // 2]),
    ]
    node = _node("Conv", ["input", "w", "b"], attributes)
    return _write(path, node, {"w": kernel.reshape(4, 1, 1, taps), "b": bias}, (dim_f, dim_t))


def _write(path: Path, node: bytes, weights: dict[str, Weights], shape: tuple[int, int], kind: int = _FLOAT) -> Path:
    graph = _field(1, node) + _field(2, b"mdx")
    graph += b"".join(_field(5, _tensor(name, values)) for name, values in weights.items())
    graph += _field(11, _value("input", shape, kind)) + _field(12, _value("output", shape, kind))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 17)))
    return path


def _node(operation: str, inputs: Sequence[str], attributes: Sequence[bytes] = ()) -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, b"output")
    return named + _field(4, operation.encode()) + b"".join(_field(5, one) for one in attributes)


def _integers(name: str, values: Sequence[int], *, single: bool = False) -> bytes:
    field, kind = (3, 2) if single else (8, 7)
    return _field(1, name.encode()) + b"".join(_field(field, value) for value in values) + _field(20, kind)


def _tensor(name: str, values: Weights) -> bytes:
    sizes = b"".join(_field(1, size) for size in values.shape)
    return sizes + _field(2, _FLOAT) + _field(8, name.encode()) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: tuple[int, int], kind: int) -> bytes:
    sizes = [_field(2, b"batch"), *(_field(1, size) for size in (4, *shape))]
    tensor = _field(1, kind) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
