"""The places where a data set is published: a local folder (here) or a repository on the Hub (``hub``)."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from duplexforge.errors import ConfigError, RetryLater
from duplexforge.records import FileEntry
from duplexforge.storage import file_entry
from duplexforge.uploading.card import CARD
from duplexforge.uploading.hub import HubTarget
from duplexforge.uploading.shard import Beat, Shard
from duplexforge.uploading.target import Card, Sent, occupied, silent

__all__ = ["HubTarget", "LocalTarget"]

_CARD_ROUNDS = 20


class LocalTarget:
    """A folder. Every file is written beside its place, flushed to the disk and moved there in one step."""

    def __init__(self, folder: Path, *, replace: bool = False) -> None:
        self.folder, self.replace = folder, replace
        self.name = "folder"

    def send(self, shard: Shard, beat: Beat) -> Sent:
        """Write tar and parquet."""
        record = shard.record
        with _disk(self.folder):
            self._place(shard.tar, f"{record.shard}.tar", record.sha256, keep=not self.replace)
            beat("tar written", 0.9)
            # The parquet file only repeats what the tar says; another version of the library may write it differently.
            self._place(shard.parquet, f"{record.shard}.parquet", record.parquet_sha256, keep=False)
        return Sent(record)

    def commit(self, group: Sequence[Sent], card: Card, beat: Beat) -> str | None:
        """Write the card. There is no commit, so None."""
        beat(f"card of {len(group)} shards", 0.95)
        self.refresh(card)
        return None

    def card(self) -> str | None:
        """The text of the card in the folder."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def refresh(self, card: Card, beat: Beat = silent) -> None:
        """Write the card until the ledger did not change while it was written: then the last writer wrote all of it."""
        with _disk(self.folder):
            for _ in range(_CARD_ROUNDS):
                beat("card", 0.95)
                files = card()
                for name, body in files.items():
                    _write(self.folder / name, BytesIO(body))
                if card() == files:
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
        try:
            with source.open("rb") as body:
                _write(path, body)
        except FileNotFoundError:
            # Another uploader of the same batch was faster and has tidied up; its file has our bytes.
            if not (path.exists() and file_entry(path, name).sha256 == sha256):
                raise
        for left in path.parent.glob(f".{path.name}.*.part"):  # of uploaders that were killed
            left.unlink(missing_ok=True)


def _write(path: Path, body: BinaryIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as writer:
            shutil.copyfileobj(body, writer, 1 << 20)
            writer.flush()
            # Without this a power cut may leave the new name without bytes, and the ledger saying that they are there.
            os.fsync(writer.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"cannot write the data set to {folder}: {error.strerror}", reason="denied") from error
    except OSError as error:
        message = f"could not write the data set to {folder}: {error.strerror or error}"
        raise RetryLater(message, reason="machine") from error
