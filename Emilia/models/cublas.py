"""CUDA 12's cuBLAS for CTranslate2, which opens ``libcublas.so.12`` by name at its first multiplication.

torch brings another CUDA version's, and the wheel that has the right one puts it where no loader looks. A library that
is loaded already is found by its name, wherever it came from.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from Emilia.errors import ModelMissing

__all__ = ["LIBRARIES", "load_cublas"]

# The first is needed by the second.
LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")


def _open(path: str) -> object:
    return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def load_cublas(folders: Sequence[Path] | None = None, load: Callable[[str], object] = _open) -> str:
    """Load the libraries from ``folders`` (None: those of the wheel ``nvidia-cublas-cu12``), else by the loader's own
    search, and return what the last one was loaded by; raises ``ModelMissing``.
    """
    found = ""
    for name in LIBRARIES:
        paths = [
            str(folder / name) for folder in (_wheel() if folders is None else folders) if (folder / name).is_file()
        ]
        found = paths[0] if paths else name
        try:
            load(found)
        except OSError as error:
            cure = f"install nvidia-cublas-cu12, or put CUDA 12's libraries on LD_LIBRARY_PATH ({error})."
            raise ModelMissing(name, cure) from error
    return found


def _wheel() -> list[Path]:
    try:
        spec = find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return []
    return [Path(folder) / "lib" for folder in (spec.submodule_search_locations or [])] if spec else []
