"""The folder of a build: what may be cleared in it, where unfinished files lie, and what a full disk means."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duplexforge import log
from duplexforge.errors import ConfigError, RetryLater, UsageError
from duplexforge.loading.schema import FORMAT, MANIFEST, REPORT, SHARDS, SPLITS, STORAGE

# Unfinished files lie in a folder of this name, with something random behind it; it never outlives a finished build.
_WORK = ".building-"
_OURS = frozenset({FORMAT, MANIFEST, REPORT, SHARDS, STORAGE, *SPLITS})
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check(out: Path, *, overwrite: bool) -> None:
    """UsageError when a data set must not be built into ``out``.

    That is so when it has a finished one (unless ``overwrite``), or files of which no build can be the owner: what an
    earlier build left unfinished is cleared, but never anything else.
    """
    check_no_file(out)
    with _told(out):
        if (out / MANIFEST).exists() and not overwrite:
            raise UsageError(f"{out} holds a finished data set: take another folder or --overwrite")
        strange = sorted(path.name for path in _entries(out) if not _is_ours(path))
    if strange:
        raise UsageError(f"{out} holds other things ({', '.join(strange[:3])}): take an empty folder")


def check_no_file(out: Path) -> None:
    """UsageError when ``out`` cannot be a folder."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")


def _entries(out: Path) -> list[Path]:
    return list(out.iterdir()) if out.is_dir() else []


def _is_ours(path: Path) -> bool:
    return path.name in _OURS or path.name.startswith(_WORK)


@contextmanager
def cleared(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Clear ``out``, the manifest first, and give a folder in it for unfinished files, which is gone afterwards.

    What :func:`check` says is asked again: another build may have finished there meanwhile.

    RetryLater when there is no space left (``disk_full``) or another build writes there (``in_use``), ConfigError when the
    folder cannot be written.
    """
    with _told(out), _alone(out):
        check(out, overwrite=overwrite)
        (out / MANIFEST).unlink(missing_ok=True)
        for path in filter(_is_ours, _entries(out)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        with _work(out) as work:
            yield work


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder for unfinished files in ``out``, which is made; it is gone afterwards. Errors as of :func:`cleared`."""
    with _told(out), _alone(out), _work(out) as work:
        yield work


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=out, ignore_cleanup_errors=True) as work:
        yield Path(work)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Make ``out`` and keep it to this process; the system lets go of it when the process ends, however it does."""
    out.mkdir(parents=True, exist_ok=True)
    held = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetryLater(
                f"another build is writing to {out}: wait for its end or take another folder", reason="in_use"
            ) from error
        except OSError as error:
            # Some network file systems know no locks: then nobody is kept out.
            log.get("duplex").warning("the folder cannot be locked", folder=str(out), error=error.strerror)
        yield
    finally:
        os.close(held)


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """What the system says of files below ``out``, as an error of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RetryLater(
                f"there is no space left for {out}: make room, then build again", reason="disk_full"
            ) from error
        raise ConfigError(f"cannot write to {out}: {error.strerror or error}") from error


def write_whole(path: Path, body: bytes, work: Path) -> None:
    """Write a file that is there whole or not at all; ``work`` is on the same disk."""
    part = work / path.name
    part.write_bytes(body)
    part.replace(path)
