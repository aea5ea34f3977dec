"""Checkpoints of a run: written whole or not at all, the last few kept, the newest one that is whole found again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import torch

from duplexforge import log
from duplexforge.errors import InputError

_NAME = re.compile(r"step-(\d{9})\.pt")
_SUM = "sum"
_log = log.get("train")


class Far(Protocol):
    """Checkpoints somewhere else than on this disk."""

    def steps(self) -> list[int]:
        """The steps of all that are there."""
        ...

    def fetch(self, step: int, path: Path) -> None:
        """Bring one to ``path``; InputError when it is not whole."""
        ...


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return folder / f"step-{step:09d}.pt"


def save(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``state`` as the checkpoint after ``step`` steps, then remove all but the last ``keep``.

    The file gets its name only when every byte of it is on disk, so that a name always means a whole checkpoint. The
    numbers in it are checked by a sum of their own: disks lie, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = path_of(folder, step)
    temporary = target.with_suffix(f".{os.getpid()}.part")
    try:
        torch.save(state | {_SUM: digest(state)}, temporary)
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(folder)
    for old in found(folder)[:-keep]:
        path_of(folder, old).unlink(missing_ok=True)
    return target


def found(folder: Path) -> list[int]:
    """The steps of all checkpoints in ``folder``, the oldest first."""
    names = [_NAME.fullmatch(path.name) for path in folder.glob("step-*.pt")] if folder.is_dir() else []
    return sorted(int(name[1]) for name in names if name)


def load(path: Path, device: str) -> dict[str, Any]:
    """The state in ``path``, numbers and plain values only: nothing in the file can run. InputError when it is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint {path}") from error
    except Exception as error:  # what a damaged file raises is torch's affair: zip, pickle and runtime errors
        raise InputError(f"{path} is no whole checkpoint: {type(error).__name__}") from error
    if state.pop(_SUM, None) != digest(state):
        raise InputError(f"{path} is no whole checkpoint: its sum is not that of its contents")
    return state


def newest(folder: Path, device: str, far: Far | None = None) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, or None; a damaged one is named in the log and passed over.

    One that lies ``far`` is fetched when there is none of its step or later here. A store that does not answer ends the
    search with its error: an older checkpoint would throw work away.
    """
    here = [(step, True) for step in found(folder)]
    for step, is_here in sorted([*here, *((step, False) for step in (far.steps() if far else ()))], reverse=True):
        path = path_of(folder, step)
        try:
            if far and not is_here:
                folder.mkdir(parents=True, exist_ok=True)
                far.fetch(step, path)
            return path, load(path, device)
        except InputError as error:
            _log.warning("a checkpoint is damaged, the one before it is taken", reason=str(error))
    return None


def fresh(folder: Path) -> None:
    """Make room for a new run where an old one was: its checkpoints go, so that no later resume mixes them."""
    if folder.is_dir():
        shutil.rmtree(folder)


def digest(state: Any) -> int:
    """A sum over every tensor and number of ``state``: equal states have equal sums."""
    total = 0
    for name, value in sorted(state.items(), key=lambda item: str(item[0])):
        if isinstance(value, dict):
            body = digest(value).to_bytes(4, "big")
        elif isinstance(value, torch.Tensor):
            body = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        elif isinstance(value, list | tuple):
            body = digest(dict(enumerate(value))).to_bytes(4, "big")
        else:
            body = repr(value).encode()
        total = crc32(body, crc32(str(name).encode(), total))
    return total


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
