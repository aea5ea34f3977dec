"""The cache of fetched files: one fetch for all processes of a machine, and the memory of what was compared already."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from duplexforge.errors import ConfigError, InputError
from duplexforge.records import FileEntry
from duplexforge.storage import file_entry


def default_cache() -> Path:
    """Where fetched files are kept when the caller names no other place."""
    return Path.home() / ".cache" / "duplexforge"


def differs(name: str, entry: FileEntry) -> InputError:
    """The error of a file that is not the one in the manifest."""
    return InputError(
        f"{entry.name} of {name} is not the file that its manifest names (size or checksum): build or copy it again",
        reason="checksum",
    )


def missing(name: str, entry: FileEntry) -> InputError:
    """The error of a file that is in the manifest and nowhere else."""
    return InputError(f"{name} has no {entry.name}, which its manifest names", reason="missing_file")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep ``path`` to this process; others wait. ConfigError when nothing can be written beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"cannot write to {path.parent} ({error.strerror}): name another folder with cache="
        ) from error
    with lock:
        # The lock goes with its process, so a killed one holds up nobody.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compare(path: Path, entry: FileEntry, name: str, cache: Path) -> None:
    """InputError when ``path`` is not ``entry``. What was found good is noted in ``cache``: hashing takes a second a GB."""
    real = path.resolve()
    state = real.stat()
    note, seen = cache / "checked" / entry.sha256, f"{state.st_size} {state.st_mtime_ns}\n"
    with suppress(OSError):
        if note.read_text() == seen:
            return
    found = file_entry(real, entry.name)
    if (found.size, found.sha256) != (entry.size, entry.sha256):
        raise differs(name, entry)
    with suppress(OSError):  # no place for a note: it is hashed again another time
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(seen)
