"""Sends folders to an object store so that they are there whole or not at all, and fetches them again.

The files go first, under a key that no other sender uses; the record that names them, with size and checksum, is created
if absent and last. So a sender that was killed leaves files that nobody reads, of two senders one is believed, and what
one of them writes can never alter what the other has committed.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from duplexforge.errors import InputError, UsageError
from duplexforge.layout import Layout, safe_name
from duplexforge.loading.schema import MANIFEST, DuplexManifest
from duplexforge.records import FileEntry, FolderRecord, now, parse
from duplexforge.storage import Store, file_entry

__all__ = ["fetch", "fetch_training", "names_in", "send", "send_duplex", "send_training"]

_AT_ONCE = 8


def send(
    store: Store,
    files: Mapping[str, Path],
    folder: str,
    key: str,
    *,
    step: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> FolderRecord | None:
    """Send ``files`` (by their names) below ``folder``, then commit them at ``key``; None when another one had done so.

    ``folder`` must be nobody else's. What was sent is removed when another sender was first. Raises StoreError.
    """
    entries = _entries(files)
    _upload(store, files, folder)
    record = FolderRecord(folder=folder, files=entries, step=step, facts=dict(facts or {}), committed_at=now())
    # The folder carries a nonce, so the bytes tell whose record it is even when an answer was lost.
    if store.put_if_absent(key, record.to_bytes()):
        return record
    store.delete([folder + name for name in files])
    return None


def _entries(files: Mapping[str, Path]) -> list[FileEntry]:
    return [file_entry(path, name) for name, path in sorted(files.items())]


def _upload(store: Store, files: Mapping[str, Path], folder: str) -> None:
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(lambda name: store.upload(files[name], folder + name), files))


def fetch(store: Store, folder: str, entries: Iterable[FileEntry], target: Path) -> None:
    """Fetch the files below ``folder`` into the folder ``target``, each under its name only when it is whole.

    InputError when one is missing or is not what its entry says: nobody can make it whole again. StoreError when the
    store did not answer: it may be later.
    """

    def one(entry: FileEntry) -> None:
        path = target / entry.name
        if not path.resolve().is_relative_to(target.resolve()):
            raise InputError(f"{folder} names a file outside itself: {entry.name}", reason="bad_record")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            if store.download(folder + entry.name, part) != entry.sha256:
                raise InputError(f"{folder}{entry.name} is not what was sent: its checksum differs", reason="damaged")
            part.replace(path)
        except FileNotFoundError as error:
            raise InputError(f"{folder}{entry.name} is not in the store", reason="input_missing") from error
        finally:
            part.unlink(missing_ok=True)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(one, entries))


# -- training folders ----------------------------------------------------------------------------------------------------


def send_training(store: Store, layout: Layout, folder: Path, name: str) -> FolderRecord:
    """Send a training folder as ``name``. The same files again are no error; others under a name that is taken are."""
    files = names_in(folder)
    if not files:
        raise UsageError(f"there is nothing in {folder}")
    key = layout.training_record(_checked(name))
    if (known := _known(store, key)) is None:
        sent = send(store, files, layout.training_files(name, uuid.uuid4().hex[:12]), key)
        known = sent or _known(store, key)
        assert known is not None
    if known.files != _entries(files):
        raise UsageError(f"{store.url} has another training folder {name}: choose another name")
    return known


def fetch_training(store: Store, layout: Layout, name: str, out: Path) -> FolderRecord:
    """Fetch the training folder ``name``: ``out`` appears when it is whole, and one that is there is left as it is.

    UsageError when there is none of that name.
    """
    record = _known(store, layout.training_record(_checked(name)))
    if record is None:
        raise UsageError(f"{store.url} has no training folder {name}: duplexforge data send makes one")
    if out.is_dir() and any(out.iterdir()):
        if lacking := [one.name for one in record.files if not _is_there(out / one.name, one)]:
            raise UsageError(f"{out} holds something else than {name} ({lacking[0]}): choose another --out")
        return record
    if out.is_mount():
        raise UsageError(f"{out} is a volume: name a folder in it, which can appear at once")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fetch(store, record.folder, record.files, Path(scratch) / "whole")
        (Path(scratch) / "whole").replace(out)
    return record


def _is_there(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size


def _known(store: Store, key: str) -> FolderRecord | None:
    body = store.find(key)
    return None if body is None else parse(FolderRecord, body, key)


def _checked(name: str) -> str:
    try:
        return safe_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def names_in(folder: Path) -> dict[str, Path]:
    """The files below ``folder`` by their names in it; UsageError when there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    paths: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


# -- duplex data sets ----------------------------------------------------------------------------------------------------


def send_duplex(store: Store, layout: Layout, folder: Path, name: str) -> bool:
    """Send a duplex data set as ``duplex/<name>/``; False when the same one was there. UsageError when it is another.

    Its own ``manifest.json`` is the commit, with the folder of the files beside what it says; readers follow it.
    """
    files = names_in(folder)
    if MANIFEST not in files:
        raise UsageError(f"{folder} has no {MANIFEST}: duplexforge duplex build makes a data set")
    manifest = parse(DuplexManifest, files.pop(MANIFEST).read_bytes(), str(folder / MANIFEST))
    prefix, mine = layout.duplex_set(_checked(name)), f"{uuid.uuid4().hex[:12]}/"
    if store.head(prefix + MANIFEST) is None:
        if _entries(files) != sorted(manifest.files, key=lambda entry: entry.name):
            raise InputError(f"{folder} is not what its {MANIFEST} says: duplexforge duplex validate tells more")
        _upload(store, files, prefix + mine)
        body = manifest.model_copy(update={"folder": mine}).to_bytes()
        if store.put_if_absent(prefix + MANIFEST, body):
            return True
        store.delete([prefix + mine + one for one in files])
    there = parse(DuplexManifest, store.get(prefix + MANIFEST), prefix + MANIFEST)
    if there.files != manifest.files:
        raise UsageError(f"{store.url} has another data set {name}: choose another name")
    return False
