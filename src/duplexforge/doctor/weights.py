"""The models that the preset needs: each by name, read to the last byte, with the way to get what is not right."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplexforge.config import ProcessSettings
from duplexforge.doctor.finding import Finding
from duplexforge.errors import ConfigError
from duplexforge.processing import emilia
from duplexforge.processing.model_files import megabytes

if TYPE_CHECKING:
    from Emilia.registry import Fault, Model


def of_preset(settings: ProcessSettings, folder: Path | None = None) -> list[Finding]:
    """One finding for each model that the configured preset cannot do without.

    ``folder`` is where models lie (None: in the Emilia package). Raises ConfigError for an Emilia package,
    configuration or record of fetched models that cannot be used.
    """
    config = configured(settings)
    package = emilia.package(settings)
    registry: Any = import_module(f"{package.__name__}.registry")
    where = folder or registry.FOLDER
    try:
        lock = registry.read_lock(where)
        models = registry.needed(registry.load_registry().values(), config)
    except package.BadConfig as error:
        raise ConfigError(str(error)) from error
    return [_finding(model, registry.faults(model, where, lock), where) for model in models]


def configured(settings: ProcessSettings) -> Any:
    """The configuration of the preset as the workers read it; raises ConfigError."""
    package = emilia.package(settings)
    try:
        return package.load_config(None, preset=settings.emilia_preset, overrides=emilia.overrides(settings))
    except package.BadConfig as error:
        raise ConfigError(str(error)) from error


def _finding(model: Model, faults: list[Fault], where: Path) -> Finding:
    check = f"model: {model.name}"
    if not faults:
        return Finding(check, True, megabytes(model.size) if model.pinned else "with its package")
    seen = faults[0].sentence
    if len(faults) > 1:
        kinds = " or ".join(dict.fromkeys(fault.kind for fault in faults))
        seen = f"{len(faults)} of {len(model.files)} files in {where / model.folder} are {kinds}"
    closed = [fault for fault in faults if fault.kind == "unreadable"]
    if closed:
        return Finding(check, False, seen, f"let this user read {closed[0].path}, or remove what stands in its place")
    if not model.repo and not model.url:
        package = model.package.partition("/")[0].replace("_", "-")
        return Finding(check, False, seen, f"pip install -c requirements.txt {package}")
    command = f"python cache_models.py --models {model.name}"
    if model.gated:
        pages = " and ".join(model.gated)
        command = f"accept the conditions on {pages}, set HF_TOKEN to a token that may read it, then {command}"
    return Finding(check, False, seen, command)
