"""Broken-off downloads, kept on this machine so that the next attempt goes on where they ended.

Only bytes that came with a strong validator are kept: an ETag that is not weak, or a Last-Modified that is old enough
to tell versions apart. With ``If-Range`` the server then sends the rest of that very file or the whole of another, so
two files are never mixed. A partial belongs to one attempt at a time: taking it moves it away.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

_DAY = 86_400.0
# A server's clock of whole seconds cannot tell two versions within one.
_SETTLED = 60.0
_PART = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass
class Partial:
    """A file that is being received at ``path``. ``validator`` None: it cannot be gone on with."""

    path: Path
    validator: str | None = None
    total: int | None = None

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def request_headers(self) -> dict[str, str]:
        """What asks for the rest of it: nothing when it must come whole."""
        if self.validator is None or self.size == 0:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}

    def forget(self) -> None:
        """From the start."""
        self.path.unlink(missing_ok=True)
        self.validator = self.total = None

    def continues(self, headers: Mapping[str, str]) -> bool:
        """Whether an answer 206 with these headers is the rest of this file."""
        part = _PART.fullmatch(headers.get("Content-Range", "").strip())
        if part is None or int(part[1]) != self.size or _encoded(headers):
            return False
        total = None if part[3] == "*" else int(part[3])
        if self.total is not None and total is not None and total != self.total:
            return False
        self.total = self.total or total
        # The validator that this answer carries may be of the other kind; only a contradiction counts.
        told = (headers.get("ETag"), headers.get("Last-Modified"))
        mine = told[0] if (self.validator or "").startswith('"') else told[1]
        return mine is None or mine == self.validator

    def begins(self, headers: Mapping[str, str]) -> None:
        """An answer 200 with these headers begins the file."""
        self.forget()
        length = headers.get("Content-Length", "")
        if not _encoded(headers):
            self.validator = validator_of(headers)
            self.total = int(length) if length.isdigit() else None


def validator_of(headers: Mapping[str, str]) -> str | None:
    """The strong validator of an answer, or None."""
    etag = headers.get("ETag", "").strip()
    if len(etag) >= 2 and etag.startswith('"') and etag.endswith('"'):
        return etag
    changed, date = headers.get("Last-Modified", "").strip(), headers.get("Date", "").strip()
    try:
        age = parsedate_to_datetime(date).timestamp() - parsedate_to_datetime(changed).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return changed if age >= _SETTLED else None


def _encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


class Partials:
    """The folder of partial files of one machine: at most ``most`` of them, none older than a day. None keeps nothing."""

    def __init__(self, folder: Path | None, most: int) -> None:
        self._folder = folder if most > 0 and folder is not None and _own_folder(folder) else None
        self._most = most

    def take(self, url: str, path: Path) -> Partial:
        """What is here of ``url``, moved to ``path``; an empty one when there is nothing."""
        found = Partial(path)
        found.forget()
        if self._folder is None:
            return found
        for notes in sorted(self._folder.glob(f"{_digest(url)}-*.json")):
            found = _taken(notes, path, _digest(url))
            if found.validator is not None:
                break
        return found

    def keep(self, url: str, partial: Partial) -> None:
        """Keep a broken-off file for the next attempt; a disk that refuses costs no more than that."""
        if self._folder is None or partial.validator is None or partial.size == 0:
            return
        # The version is in the name: of two attempts that keep at once neither gets the other's notes for its bytes.
        name = f"{_digest(url)}-{_digest(partial.validator)[:16]}"
        said = {"url": _digest(url), "validator": partial.validator, "total": partial.total, "size": partial.size}
        with suppress(OSError):
            # The notes first: a file without them is removed, one with notes of another size is not used.
            (self._folder / f"{name}.json").write_text(json.dumps(said), "utf-8")
            partial.path.replace(self._folder / f"{name}.part")
            self._prune(self._folder)

    def _prune(self, folder: Path) -> None:
        ages = sorted(((path.stat().st_mtime, path) for path in folder.glob("*.part")), reverse=True)
        for place, (changed, path) in enumerate(ages):
            if place >= self._most or time.time() - changed > _DAY:
                path.unlink(missing_ok=True)
        # Another worker may be between its notes and its file; it loses no more than the resumption.
        for notes in folder.glob("*.json"):
            if not notes.with_suffix(".part").exists():
                notes.unlink(missing_ok=True)


def _taken(notes: Path, path: Path, url: str) -> Partial:
    """The file that ``notes`` describe, moved to ``path``; an empty one when they do not fit it."""
    found = Partial(path)
    try:
        said = json.loads(notes.read_text("utf-8"))
        # Moving is what makes it ours: another attempt finds nothing from here on.
        notes.with_suffix(".part").replace(path)
        notes.unlink(missing_ok=True)
        if said["url"] == url and path.stat().st_size == said["size"]:
            found.validator, found.total = str(said["validator"]), said.get("total")
            return found
    except (OSError, ValueError, KeyError, TypeError):
        # Notes that a crash or a hand has spoilt: the file comes whole, which is all that is lost.
        notes.unlink(missing_ok=True)
    found.forget()
    return found


def _own_folder(folder: Path) -> bool:
    """Make the folder; False when it is not ours: in a place for all users another may have made it first."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _digest(url: str) -> str:
    # Hashed: an address may be longer than a file name, and its query a secret.
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]
