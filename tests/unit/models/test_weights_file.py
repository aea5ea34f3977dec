"""The safetensors reader and writer, against each other and, where it is installed, the library itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ModelError
from duplexforge.models import weights_file

ARRAYS = {
    "a": np.arange(12, dtype=np.int32).reshape(3, 4),
    "b": np.array([1.5, -2.5]),
    "c": np.zeros((0, 3), np.uint16),
    "d": np.array(7, np.int64),
    "e": np.array([[1, 2]], np.uint8),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights_file.write(path, ARRAYS, {"seed": "3"})
    found, metadata = weights_file.read(path)
    assert metadata == {"seed": "3"}
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.heavy
def test_the_library_reads_the_same(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "w.safetensors"
    weights_file.write(path, ARRAYS, {})
    found = load_file(path)
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        weights_file.read(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32"}}',
        b"[1, 2]",
        b'{"a": 3}',
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ModelError, match="no safetensors file"):
        weights_file.read(path)


def test_a_file_that_is_not_there_is_named_and_who_brings_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot read the weights .*w\.safetensors: No such file or directory$"):
        weights_file.read(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"none\.safetensors: .*; it comes with duplexforge: reinstall that$"):
        weights_file.read(weights_file.FOLDER / "none.safetensors")
