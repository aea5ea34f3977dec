"""Finds and loads the Emilia package: the only module that does.

The package lies in ``Emilia/`` at the repository root, or where ``EMILIA_PATH`` points. It is loaded from that folder
as the package ``Emilia`` without touching ``sys.path``, and refused when it speaks another API version.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from duplexforge.config import ProcessSettings
from duplexforge.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from Emilia import Pipeline

API_VERSION = 1
_ROOT = Path(__file__).resolve().parents[3]


def folder(settings: ProcessSettings) -> Path:
    """The folder of the package. ConfigError when it holds none."""
    found = Path(settings.emilia_path).expanduser() if settings.emilia_path else _ROOT / "Emilia"
    try:
        there = (found / "__init__.py").is_file()
    except PermissionError as error:
        raise ConfigError(f"the Emilia package in {found} may not be read: give this user read access to it") from error
    if not there:
        raise ConfigError(f"no Emilia package in {found}: point EMILIA_PATH at the folder 'Emilia' of the repository")
    return found.resolve()


def package(settings: ProcessSettings) -> Any:
    """The loaded package. ConfigError when its API version is not the one this program speaks."""
    where = folder(settings)
    module = sys.modules.get("Emilia")
    if module is None or Path(module.__file__ or "").resolve().parent != where:
        module = _load(where)
    version = getattr(module, "API_VERSION", None)
    if version != API_VERSION:
        raise ConfigError(
            f"the Emilia package in {where} speaks API version {version}, this program {API_VERSION}: "
            "update the older one"
        )
    return module


def _load(where: Path) -> ModuleType:
    for name in [name for name in sys.modules if name.split(".")[0] == "Emilia"]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "Emilia", where / "__init__.py", submodule_search_locations=[str(where)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["Emilia"] = module
    spec.loader.exec_module(module)
    return module


def overrides(settings: ProcessSettings) -> dict[str, object]:
    """The options of the preset that settings replace, as ``section.option``."""
    wanted = {
        "pipeline.episodes": settings.episodes_at_once,
        "transcribe.batch": settings.batch_size,
        "mdx.chunk": settings.separation_chunks,
        "separate.device": settings.separation_device,
        "score.device": settings.dnsmos_device,
        "onnx.memory_gb": settings.ort_cuda_mem_limit_gb,
        "onnx.memory_share": settings.ort_cuda_mem_limit_fraction,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def load_pipeline(settings: ProcessSettings, device: str = "cpu") -> Pipeline:
    """A pipeline of the configured preset with its models loaded. ModelError when a needed one is missing."""
    emilia = package(settings)
    try:
        config = emilia.load_config(None, preset=settings.emilia_preset, overrides=overrides(settings))
        pipeline: Pipeline = emilia.Pipeline(config, device=device)
        pipeline.load()
    except emilia.ModelMissing as error:
        raise ModelError(str(error)) from error
    except emilia.BadConfig as error:
        raise ConfigError(str(error)) from error
    return pipeline


def load_cublas(settings: ProcessSettings) -> str:
    """Load CUDA 12's cuBLAS as the recogniser does; where it was found. ModelError when it is nowhere."""
    emilia = package(settings)
    try:
        return str(importlib.import_module("Emilia.models.cublas").load_cublas())
    except emilia.ModelMissing as error:
        raise ModelError(str(error)) from error
