"""Reads and writes weights, those that come with the project and others: the safetensors format, with numpy alone.

A file is eight bytes of length, a JSON header that names each array with its type, shape and place, and the raw arrays.
Nothing in it can run, unlike a pickle, and no more of it is trusted than the header says and the file holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duplexforge.errors import ModelError

FOLDER = Path(__file__).parent / "weights"

_TYPES = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "U16": "<u2",
    "U8": "u1",
    "I8": "i1",
}
_LONGEST_HEADER = 1 << 20

Arrays = dict[str, npt.NDArray[Any]]


def read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of the file at ``path`` and its metadata; a ``ModelError`` when it is missing or no such file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the weights {path}: {error.strerror}{_cure(path)}") from error
    try:
        length = int.from_bytes(data[:8], "little")
        if not 0 < length <= min(_LONGEST_HEADER, len(data) - 8):
            raise ValueError("bad header length")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        return {name: _array(entry, body) for name, entry in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}") from error


def _cure(path: Path) -> str:
    return "; it comes with duplexforge: reinstall that" if path.parent == FOLDER else ""


def _array(entry: dict[str, Any], body: memoryview) -> npt.NDArray[Any]:
    start, end = entry["data_offsets"]
    flat = np.frombuffer(body[start:end], dtype=_TYPES[entry["dtype"]])
    return flat.reshape(entry["shape"])


def write(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write ``arrays`` and ``metadata`` to ``path``, in the order of their names."""
    names = {kind: name for name, kind in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    chunks: list[bytes] = []
    place = 0
    for name in sorted(arrays):
        chunk = np.ascontiguousarray(arrays[name])
        raw = chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).tobytes()
        kind = names[chunk.dtype.newbyteorder("<").str.replace("|", "")]
        header[name] = {"dtype": kind, "shape": list(np.shape(arrays[name])), "data_offsets": [place, place + len(raw)]}
        chunks.append(raw)
        place += len(raw)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))
