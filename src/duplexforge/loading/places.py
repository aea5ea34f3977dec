"""Where the files of a duplex data set come from: a folder, an object store or the Hub; a file is fetched when it is first used.

A place gives files as local paths, whatever it is, so that Arrow files can be mapped into memory. A fetched file is
compared with its checksum in the manifest once; then it stands in the cache under that checksum, for all processes.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.errors import ConfigError, StoreError
from duplexforge.loading.fetching import fetch
from duplexforge.loading.hub import HubFolder
from duplexforge.loading.kept import default_cache, differs, locked, missing
from duplexforge.loading.schema import MANIFEST
from duplexforge.records import FileEntry

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Place(Protocol):
    """A data set's folder, wherever it is. Small and picklable: worker processes get a copy of it."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...

    def manifest(self) -> bytes | None:
        """The bytes of ``manifest.json``, None when there is none."""
        ...

    def path(self, entry: FileEntry) -> Path:
        """A local file with the bytes of ``entry``, fetched and checked if need be; InputError when they are other bytes."""
        ...


def place_of(where: str | Path, *, revision: str | None = None, cache: str | Path | None = None) -> Place:
    """The place that ``where`` names: a folder, ``file://…``, ``s3://…``, ``hf://OWNER/NAME`` or ``OWNER/NAME`` on the Hub.

    A folder of that name goes before a repository. ConfigError when it is none of them.
    """
    text, folder = str(where), Path(where).expanduser()
    kept = Path(cache).expanduser() if cache else default_cache()
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "file":
        folder, separator = Path(rest), ""
    if separator and scheme == "s3":
        settings = config.load("status", store_url=text.rstrip("/"))[StoreSettings]
        return StoreFolder(settings, kept)
    if separator and scheme == "hf":
        return HubFolder.of(rest.removeprefix("datasets/"), revision, kept, own=cache is not None)
    if separator:
        raise ConfigError(f"{text!r} is not a folder, file://…, s3://BUCKET/PREFIX or hf://OWNER/NAME")
    if folder.is_dir():
        return Folder(folder)
    if isinstance(where, str) and _HUB_NAME.fullmatch(text):
        return HubFolder.of(text, revision, kept, own=cache is not None)
    raise ConfigError(f"there is no folder {folder}")


@dataclass
class Folder:
    """A folder of this machine. Sizes are compared and checksums are not: ``duplexforge duplex validate`` does that.

    ``inside`` is where the manifest says that the files lie, below the folder.
    """

    folder: Path
    inside: str = ""

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def manifest(self) -> bytes | None:
        """As a place does."""
        path = self.folder / MANIFEST
        body = path.read_bytes() if path.is_file() else None
        self.inside = _folder(body or b"")
        return body

    def path(self, entry: FileEntry) -> Path:
        """As a place does."""
        path = self.folder / self.inside / entry.name
        if not path.is_file():
            raise missing(self.name, entry)
        if path.stat().st_size != entry.size:
            raise differs(self.name, entry)
        return path


@dataclass
class StoreFolder:
    """A prefix of an object store; files are kept in ``cache`` under their checksums. ``folder`` is where the manifest
    says that they lie, below the prefix.
    """

    settings: StoreSettings
    cache: Path
    folder: str = ""

    @property
    def name(self) -> str:
        """The store's URL."""
        return self.settings.url

    def manifest(self) -> bytes | None:
        """As a place does."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MANIFEST
            try:
                fetch(self.settings, MANIFEST, path)
            except FileNotFoundError:
                return None
            body = path.read_bytes()
        self.folder = _folder(body)
        return body

    def path(self, entry: FileEntry) -> Path:
        """As a place does."""
        kept = self.cache / "files" / entry.sha256[:2] / f"{entry.sha256}{Path(entry.name).suffix}"
        if not _whole(kept, entry):
            with locked(kept):
                # Another process may have fetched it while this one waited.
                if not _whole(kept, entry):
                    self._fetch(entry, kept)
        return kept

    def _fetch(self, entry: FileEntry, kept: Path) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetched-") as folder:
                part = Path(folder) / kept.name
                if fetch(self.settings, self.folder + entry.name, part) != entry.sha256:
                    raise differs(self.name, entry)
                part.replace(kept)
        except FileNotFoundError as error:
            raise missing(self.name, entry) from error
        except OSError as error:
            raise StoreError(f"cannot keep {entry.name} in {self.cache}: {error.strerror}", reason="disk") from error


def _folder(manifest: bytes) -> str:
    """Where a data set's files lie below its manifest: ``duplex send`` puts those of each sender into a folder of its own."""
    try:
        found = json.loads(manifest)
    except ValueError:  # whoever reads the manifest says what is wrong with it
        return ""
    folder = found.get("folder") if isinstance(found, dict) else None
    return folder if isinstance(folder, str) else ""


def _whole(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size
