"""The models that the pipeline can use: where each comes from, what its files must be, and whether they are here.

Pure data out of ``config.json`` (key ``models``) and questions about files on this machine; ``cache_models.py`` does the
fetching. A model comes from the Hub (``repo`` at the commit ``revision``), from an address (``url``, the folder that its
files are below), or inside an installed Python package (``package``), which is looked at second where another source is
named too. ``when`` says which options make a configuration need it.

A file is what the registry says by SHA-256; where the registry does not know, it is what ``models.lock.json`` in the
models' folder recorded when it was first fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from Emilia.config import DEFAULT, Config
from Emilia.errors import BadConfig
from Emilia.models.weights import FOLDER

__all__ = [
    "FOLDER", "LOCK", "Fault", "File", "Model", "expected", "faults", "load_registry", "needed", "packaged", "place",
    "read_lock", "write_lock",
]  # fmt: skip

LOCK = "models.lock.json"


class File(NamedTuple):
    """One file of a model; ``sha256`` (64 hex digits) and ``size`` (bytes) are None where nobody stated them yet."""

    name: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Model:
    """One model. ``folder`` is where its files belong, below the models' folder; ``gated`` has the pages on which a
    person must accept conditions first.
    """

    name: str
    what: str
    stage: str
    licence: str
    files: tuple[File, ...]
    when: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    folder: str = ""
    repo: str = ""
    revision: str = ""
    url: str = ""
    package: str = ""
    gated: tuple[str, ...] = ()

    @property
    def pinned(self) -> bool:
        """Whether the registry alone says which bytes are right."""
        return all(file.sha256 for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


class Fault(NamedTuple):
    """What is wrong with one file: ``kind`` is ``missing``, ``damaged`` or ``unreadable``."""

    path: Path
    kind: str
    sentence: str


Lock = dict[str, dict[str, Any]]
"""By model: its ``revision`` and, by file name, ``sha256`` and ``size`` as they were fetched."""


def load_registry(path: Path | None = None) -> dict[str, Model]:
    """All models of a configuration file (None: the packaged one) by name; raises ``BadConfig``."""
    file = path or DEFAULT
    try:
        return {name: _model(name, entry) for name, entry in json.loads(file.read_text())["models"].items()}
    except OSError as error:
        raise BadConfig(f"The configuration {file} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"The configuration {file} has no usable list of models ({error}).") from error


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    files = tuple(File(file, **facts) for file, facts in entry["files"].items())
    when = {option: tuple(values) for option, values in entry["when"].items()}
    outside = [part for part in (entry["folder"], *entry["files"]) if ".." in Path(part).parts or part.startswith("/")]
    if outside or not files or not (entry.get("repo") or entry.get("url") or entry.get("package")):
        raise ValueError(f"{name}: no files, no source, or a path that leaves the folder")
    return Model(name, **{**entry, "files": files, "when": when, "gated": tuple(entry.get("gated", ()))})


def needed(models: Iterable[Model], config: Config) -> list[Model]:
    """Those of ``models`` that ``config`` cannot do without, in their order."""
    return [model for model in models if all(_option(config, name) in values for name, values in model.when.items())]


def _option(config: Config, name: str) -> object:
    section, _, option = name.partition(".")
    return getattr(getattr(config, section), option)


def place(model: Model, file: File, folder: Path) -> Path:
    """Where ``file`` belongs below the models' folder."""
    return folder / model.folder / file.name


def packaged(model: Model, file: File) -> Path | None:
    """The copy of ``file`` inside an installed package, or None. The package is looked for, never imported."""
    name, _, inside = model.package.partition("/")
    spec = find_spec(name) if name else None
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(root) / inside / file.name).is_file():
            return found
    return None


def expected(model: Model, file: File, lock: Lock) -> File:
    """``file`` as it must be: what the registry states, else what the lock recorded for the same revision."""
    entry = lock.get(model.name, {})
    known = entry.get("files", {}).get(file.name)
    if file.sha256 or not known or (model.revision and entry.get("revision") != model.revision):
        return file
    return File(file.name, known["sha256"], known["size"])


def faults(model: Model, folder: Path, lock: Lock) -> list[Fault]:
    """What is wrong with the files of ``model`` below ``folder`` or in its package; every byte is read and hashed."""
    found = []
    for file in model.files:
        path = place(model, file, folder)
        if _absent(path):
            path = packaged(model, file) or path
        if fault := _fault(path, expected(model, file, lock)):
            found.append(fault)
    return found


def _absent(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    # A link to nowhere or a closed folder is somebody's mistake, which the package's copy must not hide.
    return False


def _fault(path: Path, file: File) -> Fault | None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            return Fault(path, "unreadable", f"{path} is a folder, a file belongs there")
        if file.size is not None and size != file.size:
            return Fault(path, "damaged", f"{path} has {size} bytes instead of {file.size}")
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        if path.is_symlink():
            return Fault(path, "unreadable", f"{path} is a link to {path.readlink()}, which does not exist")
        return Fault(path, "missing", f"{path} is missing")
    except OSError as error:
        return Fault(path, "unreadable", f"{path} cannot be read: {error.strerror}")
    if file.sha256 and found != file.sha256:
        return Fault(path, "damaged", f"{path} is not the published file: its SHA-256 begins with {found[:12]}")
    return None


def read_lock(folder: Path) -> Lock:
    """What was recorded in ``folder``; empty when nothing was; raises ``BadConfig`` for a record nobody can read."""
    path = folder / LOCK
    try:
        models = json.loads(path.read_text())["models"]
        return {name: {"files": {**entry["files"]}, "revision": entry["revision"]} for name, entry in models.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"{path} is not a record of fetched models: delete it and fetch again.") from error


def write_lock(folder: Path, lock: Lock) -> None:
    """Replace the record in ``folder`` in one step."""
    part = folder / f"{LOCK}.part"
    part.write_text(json.dumps({"version": 1, "models": lock}, indent=1, sort_keys=True) + "\n")
    part.replace(folder / LOCK)
