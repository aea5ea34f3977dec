"""CUDA 12's cuBLAS for CTranslate2, which opens ``libcublas.so.12`` by name at its first multiplication.

torch brings another CUDA version's, and the wheel that has the right one puts it where no loader looks. A library that
is loaded already is found by its name, wherever it came from.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

from Emilia.errors import ModelMissing

__all__ = ["load_cublas"]

# The first is needed by the second.
_LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")


def load_cublas() -> None:
    """Load the libraries from the wheel ``nvidia-cublas-cu12``, else by the loader's own search; raises
    ``ModelMissing``.
    """
    try:
        spec = find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        spec = None
    folders = [Path(folder) / "lib" for folder in (spec.submodule_search_locations or [])] if spec else []
    for name in _LIBRARIES:
        paths = [str(folder / name) for folder in folders if (folder / name).is_file()]
        try:
            ctypes.CDLL(paths[0] if paths else name, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            cure = "install nvidia-cublas-cu12, or put CUDA 12's libraries on the path of the dynamic loader."
            raise ModelMissing(name, cure) from error
