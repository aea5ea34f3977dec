"""Audio files of this machine as tasks: one file, a folder with all below it, or a glob pattern.

The id is the hash of the content: a moved file is the same episode and two copies are one. Nothing is decoded here: an
empty or broken file becomes a task too, so that it fails where failures are seen and counted.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from duplexforge.downloading.identity import source_word
from duplexforge.downloading.notes import SeedReport
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import AUDIO_EXTENSIONS, audio_extension
from duplexforge.records import DownloadTask

# Taken when named one by one (the audio is extracted); in a folder they are as likely to be something else.
MEDIA_EXTENSIONS = (
    "3gp", "aif", "aiff", "amr", "avi", "caf", "m4b", "mka", "mkv", "mov", "mp4", "mpeg", "mpg", "oga", "ts",
)  # fmt: skip
_CHUNK = 64


def local_files(text: str, notes: SeedReport) -> Iterator[Path]:
    """The audio files that ``text`` names. UsageError when it names none."""
    path = Path(text).expanduser()
    if path.is_dir():
        found = _below(path, notes)
    elif path.exists():
        if not path.is_file():
            raise UsageError(f"{text} is neither a file nor a folder")
        found = iter([path])
    else:
        found = _matching(path, text, notes)
    first = next(found, None)
    if first is None:
        kinds = ", ".join(AUDIO_EXTENSIONS)
        raise UsageError(f"no audio files in {text}: put some there, or name another folder (taken are {kinds})")
    return itertools.chain([first], found)


def _below(folder: Path, notes: SeedReport) -> Iterator[Path]:
    """Audio files below ``folder`` in the order of their names; links to folders are not followed (they can loop)."""

    def unreadable(error: OSError) -> None:
        notes.refuse(printable(error.filename or folder), f"cannot be read: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from _audio_only((Path(parent, name) for name in sorted(names)), notes)


def _matching(path: Path, text: str, notes: SeedReport) -> Iterator[Path]:
    if not glob.has_magic(text):
        raise UsageError(f"no such file or folder: {text}")
    names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    if not names:
        raise UsageError(f"no file matches {text}: quote the pattern so that the shell leaves it alone")
    return _audio_only((Path(name) for name in names), notes)


def _audio_only(paths: Iterable[Path], notes: SeedReport) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            notes.skipped["(folder)"] += 1
        elif audio_extension(path.name) is None:
            notes.skipped[path.suffix.lower()[:16] or "(no extension)"] += 1
        else:
            yield path


def local_tasks(
    paths: Iterable[Path], *, language: str, licence: str | None, source: str | None, notes: SeedReport
) -> Iterator[DownloadTask]:
    """A task per file; a file that cannot be read is refused and the others go on."""
    remaining = iter(paths)
    with ThreadPoolExecutor(max_workers=4) as pool:
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            for path, digest in zip(chunk, pool.map(_digest, chunk), strict=True):
                if isinstance(digest, OSError):
                    notes.refuse(printable(path), f"cannot be read: {digest.strerror or digest}")
                    continue
                where = path.absolute()
                episode = local_id(digest)
                yield DownloadTask(
                    id=episode,
                    episode_id=episode,
                    url=where.as_uri(),
                    language=language,
                    source=source_word(source or printable(where.parent.name), "local"),
                    licence=licence,
                    title=printable(path.name),
                )


def _digest(path: Path) -> str | OSError:
    try:
        # A pipe or device would be read for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return OSError(0, "not a regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error


def local_id(sha256: str) -> str:
    """The episode id of a file with this content."""
    return f"file-{sha256[:16]}"


def printable(name: str | os.PathLike[str]) -> str:
    """A file name as text: bytes that are no UTF-8 become the replacement character, so that JSON can hold them."""
    return os.fsencode(name).decode("utf-8", "replace")


def path_of(url: str) -> Path:
    """The file that a ``file:`` URL names; InputError(``refused``) when it is not one of this machine."""
    parts = urlsplit(url)
    # Bytes, not text: a name need not be UTF-8.
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise InputError("the file URL does not name a file of this machine", reason="refused")
    return Path(path)
