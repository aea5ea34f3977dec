"""Where a data set is published: a local folder or a data set repository on the Hub.

Publishing is repeatable. A shard that is there already, byte for byte, is left alone; another shard under the same name is
somebody else's data and is not overwritten unless ``replace`` asks for it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from duplexforge.errors import ConfigError, Retry, RetryLater
from duplexforge.records import FileEntry
from duplexforge.storage import file_entry
from duplexforge.uploading.card import CARD
from duplexforge.uploading.shard import Beat, Shard

Card = Callable[[], str]
_CARD_ROUNDS = 20


class TargetRefused(ConfigError):
    """The target will refuse every shard: a wrong token, no such repository, a folder of somebody else. Stops the worker."""

    retry = Retry.HALT


class Target(Protocol):
    """A place for shards. ``card`` renders the card from the ledger as it is now, and is called again when others write."""

    name: str

    def publish(self, shard: Shard, card: Card, beat: Beat) -> str | None:
        """Put tar, parquet and card there, all or nothing visible to readers; the commit's id where there is one.

        Raises TargetRefused when no shard would be taken, RetryLater when this was not the time.
        """

    def refresh(self, card: Card) -> None:
        """Bring the card up to date with the ledger."""

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/``, names relative to the data set."""


def occupied(name: str, where: str) -> TargetRefused:
    """The error of a place that holds another shard under our name."""
    return TargetRefused(
        f"{where} holds another {name}: publish to a data set of its own, or publish this batch again with replace",
        reason="occupied",
    )


class LocalTarget:
    """A folder. Every file is written beside its place, flushed to the disk and moved there in one step."""

    def __init__(self, folder: Path, *, replace: bool = False) -> None:
        self.folder, self.replace = folder, replace
        self.name = "folder"

    def publish(self, shard: Shard, card: Card, beat: Beat) -> str | None:
        """Write tar and parquet, then the card: readers find shards through the card's patterns or not at all."""
        record = shard.record
        with _disk(self.folder):
            self._place(shard.tar, f"{record.shard}.tar", record.sha256, keep=not self.replace)
            beat("tar written", 0.9)
            self._place(shard.parquet, f"{record.shard}.parquet", record.parquet_sha256, keep=False)
        self.refresh(card)
        return None

    def refresh(self, card: Card) -> None:
        """Write the card until the ledger did not change while it was written: then whoever writes last wrote it all."""
        with _disk(self.folder):
            for _ in range(_CARD_ROUNDS):
                text = card()
                self._write(self.folder / CARD, text.encode())
                if card() == text:
                    return
        raise RetryLater(f"the ledger changes faster than {CARD} can be written", reason="busy")

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/``, with the checksum of what is on the disk now."""
        for path in sorted((self.folder / "data").rglob("*")):
            if path.is_file():
                yield file_entry(path, path.relative_to(self.folder).as_posix())

    def _place(self, source: Path, name: str, sha256: str, *, keep: bool) -> None:
        path = self.folder / name
        if path.exists():
            if file_entry(path, name).sha256 == sha256:
                return
            if keep:
                raise occupied(name, "the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        try:
            with source.open("rb") as reader, part.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                _settle(writer.fileno())
            part.replace(path)
        except FileNotFoundError:
            # Another uploader of the same batch was faster and has tidied up; its file has our bytes.
            if not (path.exists() and file_entry(path, name).sha256 == sha256):
                raise
        finally:
            part.unlink(missing_ok=True)
        for left in path.parent.glob(f".{path.name}.*.part"):  # of uploaders that were killed
            left.unlink(missing_ok=True)

    def _write(self, path: Path, body: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        try:
            with part.open("wb") as writer:
                writer.write(body)
                _settle(writer.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")


def _settle(descriptor: int) -> None:
    # Without this a power cut may leave the new name with no bytes behind it, and the ledger saying that it is there.
    os.fsync(descriptor)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError) as error:
        raise TargetRefused(f"cannot write the data set to {folder}: {error.strerror}") from error
    except OSError as error:
        raise RetryLater(f"could not write the data set to {folder}: {error.strerror or error}", reason="machine") from error


# Kept at the end: the Hub's module needs the names above, and callers find both targets here.
from duplexforge.uploading.hub import HubTarget  # noqa: E402

__all__ = ["Card", "HubTarget", "LocalTarget", "Target", "TargetRefused", "occupied"]
