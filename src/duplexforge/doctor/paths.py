"""Folders that must be readable or writable. Whether one is writable is tried out, with a file that has no name."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from duplexforge.config import ProcessSettings
from duplexforge.doctor.finding import Finding
from duplexforge.errors import ConfigError
from duplexforge.processing import emilia

_FREE_GIB = 5


def package(settings: ProcessSettings) -> Finding:
    """The Emilia package: its folder, and that what workers read of it can be read."""
    cure = "point EMILIA_PATH at a folder 'Emilia' that this user can read"
    try:
        folder = emilia.folder(settings)
        for name in ("__init__.py", "config.json"):
            (folder / name).read_bytes()
        list((folder / "models").iterdir())
    except ConfigError as error:
        return Finding("Emilia", False, str(error), cure)
    except OSError as error:
        return Finding("Emilia", False, f"{error.filename} cannot be read: {error.strerror}", cure)
    return Finding("Emilia", True, str(folder))


def scratch(named: str | None) -> Finding:
    """SCRATCH_DIR (None: the system's place), made when it is not there: writable, and with room for an episode."""
    folder = Path(named) if named else Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder)
    except OSError as error:
        return Finding("scratch space", False, _sentence(folder, error), "point SCRATCH_DIR at a writable folder")
    free = shutil.disk_usage(folder).free / 2**30
    cure = "" if free >= _FREE_GIB else f"free some space, or point SCRATCH_DIR elsewhere ({_FREE_GIB} GiB or more)"
    return Finding("scratch space", free >= _FREE_GIB, f"{free:.0f} GiB free in {folder}", cure)


def publishing(folder: Path) -> Finding:
    """PUBLISH_DIR, or what it would be made in: writable. Nothing is made."""
    existing = next(place for place in (folder, *folder.parents) if _anything(place))
    try:
        _write(existing)
    except OSError as error:
        cure = "point PUBLISH_DIR at a writable folder, or set HF_REPO_ID"
        return Finding("publishing", False, _sentence(existing, error), cure)
    return Finding("publishing", True, f"into the folder {folder} (HF_REPO_ID is not set)")


def _anything(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # it may well be there: trying to write says what is wrong
    return True


def _write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")
        file.flush()


def _sentence(folder: Path, error: OSError) -> str:
    return f"{folder.absolute()} cannot be written: {error.strerror or error}"
