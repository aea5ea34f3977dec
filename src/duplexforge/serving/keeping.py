"""Keeps memories between conversations: one safetensors file each, with the words as JSON in its header and the vectors behind.

One file is replaced in one move, so that words and vectors never belong to two conversations; nothing in it can run, unlike a
pickle. Its name is made of the owner's digest and the session's name: nobody finds another's memory by naming it, and no name
leads out of the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from duplexforge.errors import ModelError, UsageError
from duplexforge.models import weights_file
from duplexforge.serving.context import MOST_PREFERENCES, MOST_TEXT, MOST_VECTOR, SIZE, Memory, Turn

__all__ = ["VERSION", "forget", "keep", "recall"]

VERSION = 1
MOST_FILES = 10_000
"""Memories that a folder holds; the one that was not used for longest goes."""
_MOST_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORDS = [one.name for one in fields(Turn) if one.name not in ("vector", "topic", "sentiment")]


def keep(folder: Path, owner: str, name: str, memory: Memory) -> None:
    """Write the memory of session ``name``. UsageError for a name that is none; OSError when the disk refuses."""
    path = _place(folder, owner, name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    turns = [{word: getattr(turn, word) for word in _WORDS} for turn in memory.turns]
    for turn in turns:
        turn.update({word: text[:MOST_TEXT] for word, text in turn.items() if isinstance(text, str)})
    text = json.dumps({"version": VERSION, "turns": turns, "preferences": memory.preferences})
    arrays = {str(number): turn.vector for number, turn in enumerate(memory.turns) if turn.vector is not None}
    fresh = not path.exists()
    handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
    os.close(handle)
    try:
        weights_file.write(Path(part), arrays, {"session": text})
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    if fresh:
        _thin(folder)


def recall(folder: Path, owner: str, name: str) -> Memory | None:
    """The memory of session ``name``, None when there is none that this version can read. UsageError for a bad name."""
    path = _place(folder, owner, name)
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        arrays, facts = weights_file.read(path)
        found = json.loads(facts["session"])
        if found["version"] != VERSION:
            return None
        turns = [_turn(one, arrays.get(str(number))) for number, one in enumerate(found["turns"][-SIZE:])]
        chosen = {str(key): str(value)[:MOST_TEXT] for key, value in found["preferences"].items()}
        return Memory(turns, dict(list(chosen.items())[:MOST_PREFERENCES]))
    except (OSError, ModelError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget(folder: Path, owner: str, name: str) -> bool:
    """Delete the memory of session ``name``; whether there was one."""
    try:
        _place(folder, owner, name).unlink()
    except FileNotFoundError:
        return False
    return True


def _place(folder: Path, owner: str, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError("a session's name has 1 to 64 letters, digits, '.', '_' and '-', none of the marks first")
    digest = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return folder / f"{digest}-{name}.safetensors"


def _turn(words: dict[str, Any], vector: Any) -> Turn:
    turn = Turn(**{word: words[word] for word in _WORDS})
    if not isinstance(turn.answer, str) or not isinstance(turn.broken, bool):
        raise TypeError("a turn of other kinds")
    usable = vector is not None and vector.ndim == 1 and vector.size <= MOST_VECTOR and np.isfinite(vector).all()
    return Turn(**{word: getattr(turn, word) for word in _WORDS}, vector=vector.astype(np.float32) if usable else None)


def _thin(folder: Path) -> None:
    """Delete the oldest files beyond the bound."""
    found = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(folder) if entry.name.endswith(".safetensors")]
    for _, path in sorted(found)[: max(len(found) - MOST_FILES, 0)]:
        Path(path).unlink(missing_ok=True)
